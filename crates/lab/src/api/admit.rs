//! What an object goes through before it is stored: names, metadata, the rules and defaults of its kind.

use super::{
    error::{ApiError, Cause, Result},
    kinds::Kind,
    object::{Key, key_of, list, text},
    random, services,
    store::Store,
    time,
};
use serde_json::{Value, json};

/// Whose object it is, hence which rules hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// A client's: status is not written through the main resource, the namespace must exist.
    Client,
    /// The lab's own: status is kept, the namespace is made when missing.
    Inside,
    /// A deliberately bad object: nothing is checked or filled in but metadata.
    Forced,
}

/// Fills in `apiVersion`, `kind` and the identity from the URL and checks that the object does not claim another one.
pub fn identify(kind: Kind, namespace: &str, name: Option<&str>, value: &mut Value) -> Result<()> {
    let info = kind.info();
    if !value.is_object() {
        return Err(ApiError::bad_request("the body is not a JSON object"));
    }
    for (field, want) in [("apiVersion", info.api_version()), ("kind", info.kind.to_owned())] {
        match value[field].as_str() {
            None | Some("") => value[field] = want.into(),
            Some(have) if have == want => {}
            Some(have) => {
                let message = format!("{field} {have:?} does not match the expected {want:?}");
                return Err(ApiError::bad_request(message));
            }
        }
    }
    if !value["metadata"].is_object() {
        value["metadata"] = json!({});
    }
    let (have_namespace, have_name) = key_of(value);
    if !have_namespace.is_empty() && have_namespace != namespace {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(ApiError::bad_request(why));
    }
    if let Some(name) = name.filter(|n| !have_name.is_empty() && *n != have_name) {
        let why = format!("the name of the object ({have_name}) does not match the name on the URL ({name})");
        return Err(ApiError::bad_request(why));
    }
    if info.namespaced {
        value["metadata"]["namespace"] = namespace.into();
    }
    if let Some(name) = name {
        value["metadata"]["name"] = name.into();
    }
    Ok(())
}

/// Metadata of a new object.
pub fn new_metadata(kind: Kind, value: &mut Value) -> Result<()> {
    let prefix = text(value, "/metadata/generateName").to_owned();
    if text(value, "/metadata/name").is_empty() && !prefix.is_empty() {
        value["metadata"]["name"] = format!("{prefix}{}", random::suffix()).into();
    }
    let name = text(value, "/metadata/name").to_owned();
    if name.is_empty() {
        let cause = Cause::required("metadata.name", "name or generateName is required");
        return Err(ApiError::invalid(kind, "", &[cause]));
    }
    value["metadata"]["uid"] = random::uid().into();
    value["metadata"]["creationTimestamp"] = time::now_stamp().into();
    if kind.info().generation {
        value["metadata"]["generation"] = 1.into();
    }
    forget_managed_fields(value);
    Ok(())
}

/// Metadata that an update cannot change.
pub fn kept_metadata(old: &Value, value: &mut Value) {
    for field in ["uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"]
    {
        match old["metadata"].get(field) {
            Some(kept) => value["metadata"][field] = kept.clone(),
            None => remove(&mut value["metadata"], field),
        }
    }
    forget_managed_fields(value);
}

/// Ownership of fields is not kept: server-side apply is create or merge here.
fn forget_managed_fields(value: &mut Value) {
    remove(&mut value["metadata"], "managedFields");
}

/// Removes a field of a JSON object.
pub fn remove(value: &mut Value, field: &str) {
    if let Some(map) = value.as_object_mut() {
        map.remove(field);
    }
}

/// The rules and defaults of the kind. `old` is the stored state on an update.
pub fn admit(kind: Kind, old: Option<&Value>, value: &mut Value, store: &mut Store) -> Result<()> {
    let (namespace, name) = key_of(value);
    let (me, name): (Key, String) = ((namespace.into(), name.into()), name.to_owned());
    let mut causes = check_name(kind, &name);
    causes.extend(check_labels(value));
    if causes.is_empty() {
        let specific = match kind {
            Kind::Service => services::admit(old, value, &me, &mut store.alloc).err().unwrap_or_default(),
            Kind::EndpointSlice => super::slice_rules::admit(old, value),
            Kind::Pod => default_pod(value),
            Kind::Namespace => default_phase(value, "Active"),
            Kind::Node | Kind::ConfigMap | Kind::Event | Kind::ServiceCidr => Vec::new(),
        };
        causes.extend(specific);
    }
    if causes.is_empty() { Ok(()) } else { Err(ApiError::invalid(kind, &name, &causes)) }
}

fn check_name(kind: Kind, name: &str) -> Vec<Cause> {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let dots = !matches!(kind, Kind::Service | Kind::Namespace);
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || (dots && c == '.');
    let longest = if dots { 253 } else { 63 };
    let starts_with_digit = kind == Kind::Service && name.starts_with(|c: char| c.is_ascii_digit());
    let good = name.len() <= longest
        && name.chars().all(legal)
        && edge(name.chars().next())
        && edge(name.chars().last());
    if good && !starts_with_digit {
        return Vec::new();
    }
    let why = match kind {
        Kind::Service => {
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', \
             start with an alphabetic character, and end with an alphanumeric character"
        }
        Kind::Namespace => {
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', \
             and must start and end with an alphanumeric character"
        }
        _ => {
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
             and must start and end with an alphanumeric character"
        }
    };
    vec![Cause::invalid("metadata.name", &name.into(), why)]
}

fn check_labels(value: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for field in ["labels", "annotations"] {
        let Some(map) = value["metadata"].get(field).filter(|m| !m.is_null()) else { continue };
        let strings = map.as_object().is_some_and(|m| m.values().all(Value::is_string));
        if !strings {
            causes.push(Cause::invalid(format!("metadata.{field}"), map, "must be an object of strings"));
        }
    }
    causes
}

fn default_phase(value: &mut Value, phase: &str) -> Vec<Cause> {
    if text(value, "/status/phase").is_empty() {
        value["status"]["phase"] = phase.into();
    }
    Vec::new()
}

fn default_pod(pod: &mut Value) -> Vec<Cause> {
    if list(pod, "/spec/containers").is_empty() {
        return vec![Cause::required("spec.containers", "")];
    }
    for (field, value) in
        [("restartPolicy", "Always"), ("dnsPolicy", "ClusterFirst"), ("schedulerName", "default-scheduler")]
    {
        if pod["spec"].get(field).is_none_or(Value::is_null) {
            pod["spec"][field] = value.into();
        }
    }
    let containers = pod["spec"].get_mut("containers").and_then(Value::as_array_mut);
    for container in containers.into_iter().flatten() {
        for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            if port.is_object() && port.get("protocol").is_none() {
                port["protocol"] = "TCP".into();
            }
        }
    }
    default_phase(pod, "Pending")
}
