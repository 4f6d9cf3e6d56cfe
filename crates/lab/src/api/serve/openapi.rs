//! Just enough OpenAPI for `kubectl apply` and `create`: they ask whether the server checks fields itself
//! (`fieldValidation`), and leave out their own check when it says so. No schemas: `kubectl explain` finds nothing.

use super::{
    answer::{self, Answer},
    openapi_v2,
};
use crate::api::kinds::{KINDS, KindInfo};
use hyper::{header::ACCEPT, http::request::Parts};
use serde_json::{Map, Value, json};

/// The document below `/openapi`.
pub fn document(parts: &[&str], head: &Parts) -> Option<Answer> {
    match parts {
        ["v2"] => {
            let accept = head.headers.get(ACCEPT).and_then(|a| a.to_str().ok()).unwrap_or_default();
            let protobuf = accept.contains("proto-openapi");
            Some(if protobuf { openapi_v2::protobuf() } else { answer::json(200, &v2()) })
        }
        ["v3"] => Some(answer::json(200, &index())),
        ["v3", "api", "v1"] => Some(answer::json(200, &v3("", "v1"))),
        ["v3", "apis", group, version]
            if KINDS.iter().any(|k| k.group == *group && k.version == *version) =>
        {
            Some(answer::json(200, &v3(group, version)))
        }
        _ => None,
    }
}

/// The path of one object of a kind.
pub fn path(kind: &KindInfo) -> String {
    let root = if kind.group.is_empty() { "/api/v1".into() } else { format!("/apis/{}", kind.api_version()) };
    let namespace = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
    format!("{root}{namespace}/{}/{{name}}", kind.plural)
}

fn info() -> Value {
    json!({"title": "Kubernetes", "version": "shunt-lab"})
}

fn index() -> Value {
    let entry =
        |root: String| (root.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{root}?hash=1")}));
    let root =
        |k: &KindInfo| if k.group.is_empty() { "api/v1".into() } else { format!("apis/{}", k.api_version()) };
    let paths: Map<String, Value> = KINDS.iter().map(|k| entry(root(k))).collect();
    json!({"paths": paths})
}

/// One version of one group.
fn v3(group: &str, version: &str) -> Value {
    let kinds = KINDS.iter().filter(|k| k.group == group && k.version == version);
    let paths: Map<String, Value> =
        kinds.map(|k| (path(k), operations(k, json!({"schema": {"type": "string"}})))).collect();
    json!({"openapi": "3.0.0", "info": info(), "paths": paths, "components": {}})
}

fn v2() -> Value {
    let paths: Map<String, Value> =
        KINDS.iter().map(|k| (path(k), operations(k, json!({"type": "string"})))).collect();
    json!({"swagger": "2.0", "info": info(), "paths": paths, "definitions": {}})
}

/// The patch operation, which is where clients look for the parameter.
fn operations(kind: &KindInfo, ty: Value) -> Value {
    let mut parameter = json!({"name": "fieldValidation", "in": "query"});
    for (key, value) in ty.as_object().into_iter().flatten() {
        parameter[key] = value.clone();
    }
    let operation = |action: &str| {
        json!({"parameters": [parameter], "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {"group": kind.group, "version": kind.version, "kind": kind.kind}})
    };
    json!({"patch": operation("patch"), "post": operation("post"), "put": operation("put")})
}
