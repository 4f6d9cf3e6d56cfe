//! Discovery: which groups, versions and resources there are. Always in the plain form; clients that ask for the
//! aggregated one accept it.

use crate::api::kinds::{KINDS, KindInfo};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The document at a path below the root, when there is one.
pub fn document(parts: &[&str], version: (u32, u32)) -> Option<Value> {
    match parts {
        ["version"] => Some(version_info(version)),
        ["api"] => Some(json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})),
        ["apis"] => {
            let groups: Vec<Value> = groups().into_iter().map(group).collect();
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        ["api", "v1"] => resources("", "v1"),
        ["apis", name] => {
            let mut document = group(groups().into_iter().find(|g| g == name)?);
            document["kind"] = "APIGroup".into();
            document["apiVersion"] = "v1".into();
            Some(document)
        }
        ["apis", group, version] => resources(group, version),
        _ => None,
    }
}

/// Named groups, in order.
fn groups() -> BTreeSet<&'static str> {
    KINDS.iter().map(|k| k.group).filter(|g| !g.is_empty()).collect()
}

fn group(name: &str) -> Value {
    let version = json!({"groupVersion": format!("{name}/v1"), "version": "v1"});
    json!({"name": name, "versions": [version], "preferredVersion": version})
}

fn resources(group: &str, version: &str) -> Option<Value> {
    let kinds: Vec<&KindInfo> = KINDS.iter().filter(|k| k.group == group && k.version == version).collect();
    let group_version = kinds.first()?.api_version();
    let mut list: Vec<Value> = Vec::new();
    for kind in kinds {
        let mut resource = json!({
            "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind,
            "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
            "shortNames": kind.short,
        });
        if kind.all {
            resource["categories"] = json!(["all"]);
        }
        list.push(resource);
        if kind.status {
            list.push(json!({"name": format!("{}/status", kind.plural), "singularName": "",
                "namespaced": kind.namespaced, "kind": kind.kind, "verbs": ["get", "patch", "update"]}));
        }
    }
    Some(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list}),
    )
}

fn version_info((major, minor): (u32, u32)) -> Value {
    json!({
        "major": major.to_string(), "minor": minor.to_string(), "gitVersion": format!("v{major}.{minor}.0+shunt-lab"),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none",
        "compiler": "rustc", "platform": "linux/amd64",
    })
}
