//! Strategic merge patch: lists merge by merge keys, `$` directives replace, delete and order.

use crate::api::{admit::remove, kinds::Kind};
use serde_json::{Map, Value};

/// How a list merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    /// As one value.
    Atomic,
    /// As a set of plain values.
    Set,
    /// By fields of its items; the first one is the key, the others tell apart items with the same key.
    Keyed(&'static [&'static str]),
}

/// How the list at `path` (list indices left out) of an object of `kind` merges.
///
/// Service ports and container ports are told apart by protocol also: with the port alone, as the Go types say it,
/// DNS on TCP and UDP would collapse into one.
fn strategy(kind: Kind, path: &[&str]) -> List {
    match (kind, path) {
        (_, ["metadata", "finalizers"]) | (Kind::Node, ["spec", "podCIDRs"]) => List::Set,
        (_, ["metadata", "ownerReferences"]) => List::Keyed(&["uid"]),
        (_, ["status", "conditions"]) => List::Keyed(&["type"]),
        (Kind::Service, ["spec", "ports"]) => List::Keyed(&["port", "protocol"]),
        (Kind::Node, ["spec", "taints"]) => List::Keyed(&["key", "effect"]),
        (Kind::Node, ["status", "addresses"]) => List::Keyed(&["type", "address"]),
        (Kind::Pod, ["spec", "containers" | "initContainers" | "ephemeralContainers", rest @ ..]) => {
            match rest {
                [] | ["env"] => List::Keyed(&["name"]),
                ["ports"] => List::Keyed(&["containerPort", "protocol"]),
                ["volumeMounts"] => List::Keyed(&["mountPath"]),
                _ => List::Atomic,
            }
        }
        (Kind::Pod, ["spec", "volumes" | "imagePullSecrets"]) => List::Keyed(&["name"]),
        (Kind::Pod, ["status", "podIPs" | "hostIPs"] | ["spec", "hostAliases"]) => List::Keyed(&["ip"]),
        _ => List::Atomic,
    }
}

/// Changes `value`, an object of `kind`.
pub fn merge(kind: Kind, value: &mut Value, patch: &Value) {
    merge_value(kind, &mut Vec::new(), value, patch);
}

/// Server-side apply: the keys of list items have their defaults there.
pub fn apply(kind: Kind, value: &mut Value, patch: &Value) {
    let mut patch = patch.clone();
    if kind == Kind::Service {
        let ports = patch.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten().filter(|p| p.is_object() && p.get("protocol").is_none()) {
            port["protocol"] = "TCP".into();
        }
    }
    merge(kind, value, &patch);
}

fn merge_value<'p>(kind: Kind, path: &mut Vec<&'p str>, value: &mut Value, patch: &'p Value) {
    match patch {
        Value::Object(fields) => merge_map(kind, path, value, fields),
        Value::Array(items) => merge_list(kind, path, value, items),
        plain => *value = plain.clone(),
    }
}

fn merge_map<'p>(kind: Kind, path: &mut Vec<&'p str>, value: &mut Value, patch: &'p Map<String, Value>) {
    match patch.get("$patch").and_then(Value::as_str) {
        Some("replace") => *value = Value::Object(plain_fields(patch)),
        Some("delete") => *value = Value::Object(Map::new()),
        _ => {}
    }
    if patch.get("$patch").is_some_and(|p| p != "merge") {
        return;
    }
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    retain_keys(value, patch);
    for (name, patch) in patch {
        path.push(name);
        match name.strip_prefix("$deleteFromPrimitiveList/") {
            Some(list) => delete_plain(value.get_mut(list), patch),
            None if name.starts_with('$') => {}
            None if patch.is_null() => remove(value, name),
            None => merge_value(kind, path, &mut value[name], patch),
        }
        path.pop();
    }
    for (name, order) in patch {
        if let Some(list) = name.strip_prefix("$setElementOrder/") {
            path.push(list);
            set_order(strategy(kind, path), value.get_mut(list), order);
            path.pop();
        }
    }
}

fn plain_fields(patch: &Map<String, Value>) -> Map<String, Value> {
    patch
        .iter()
        .filter(|(k, v)| !k.starts_with('$') && !v.is_null())
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

fn retain_keys(value: &mut Value, patch: &Map<String, Value>) {
    if let (Some(Value::Array(keep)), Some(map)) = (patch.get("$retainKeys"), value.as_object_mut()) {
        map.retain(|k, _| keep.iter().any(|kept| kept == k.as_str()));
    }
}

fn delete_plain(value: Option<&mut Value>, gone: &Value) {
    if let (Some(Value::Array(items)), Value::Array(gone)) = (value, gone) {
        items.retain(|i| !gone.contains(i));
    }
}

fn merge_list<'p>(kind: Kind, path: &mut Vec<&'p str>, value: &mut Value, patch: &'p [Value]) {
    let directive = |item: &Value, what: &str| item.get("$patch").is_some_and(|p| p == what);
    let how = strategy(kind, path);
    if how == List::Atomic || !value.is_array() || patch.iter().any(|i| directive(i, "replace")) {
        *value = Value::Array(Vec::new());
    }
    let Some(items) = value.as_array_mut() else { return };
    for new in patch {
        let same = |item: &Value| is_same(how, item, new);
        if directive(new, "delete") {
            items.retain(|i| !same(i));
        } else if directive(new, "replace") {
            // The marker of a replaced list carries nothing itself.
        } else if let Some(at) = meant(items, new, same) {
            merge_value(kind, path, &mut items[at], new);
        } else {
            let mut item = Value::Null;
            if how == List::Atomic {
                item = new.clone();
            } else {
                merge_value(kind, path, &mut item, new);
            }
            items.push(item);
        }
    }
}

/// The item that `new` in a patch means. Where the keys that it gives fit several, the one of its name, else the one on
/// TCP: a port without a protocol is a TCP port.
fn meant(items: &[Value], new: &Value, same: impl Fn(&Value) -> bool) -> Option<usize> {
    let fitting = || items.iter().enumerate().filter(|(_, item)| same(item));
    let by = |field: &str, value: Option<&Value>| {
        fitting().find(|(_, i)| value.is_some() && i.get(field) == value)
    };
    let found = by("name", new.get("name")).or_else(|| by("protocol", Some(&"TCP".into())));
    found.or_else(|| fitting().next()).map(|(at, _)| at)
}

/// Whether `new` in a patch means `item` in the object.
fn is_same(how: List, item: &Value, new: &Value) -> bool {
    match how {
        List::Atomic => false,
        List::Set => item == new,
        // The protocol of a port defaults, so a patch that leaves it out means any; the first key must be there.
        List::Keyed([first, rest @ ..]) => {
            let equal = |key: &str| new.get(key).is_none_or(|v| item.get(key) == Some(v));
            new.get(first).is_some() && equal(first) && rest.iter().all(|k| equal(k))
        }
        List::Keyed([]) => false,
    }
}

/// Orders the items that `order` names as it does; the others keep their place after them.
fn set_order(how: List, value: Option<&mut Value>, order: &Value) {
    let (Some(Value::Array(items)), Value::Array(order)) = (value, order) else { return };
    let mut ordered = Vec::with_capacity(items.len());
    for wanted in order {
        if let Some(at) = items.iter().position(|i| is_same(how, i, wanted)) {
            ordered.push(items.remove(at));
        }
    }
    ordered.append(items);
    *items = ordered;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service() -> Value {
        json!({"metadata": {"labels": {"a": "1"}}, "spec": {"selector": {"app": "x"}, "ports": [
            {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]}})
    }

    #[test]
    fn service_ports_merge_by_port_and_protocol() {
        let mut value = service();
        merge(
            Kind::Service,
            &mut value,
            &json!({"spec": {"ports": [{"port": 53, "protocol": "TCP", "targetPort": 5353}]}}),
        );
        assert_eq!(value["spec"]["ports"][0], json!({"name": "dns", "port": 53, "protocol": "UDP"}));
        assert_eq!(value["spec"]["ports"][1]["targetPort"], 5353);
        merge(
            Kind::Service,
            &mut value,
            &json!({"spec": {
            "$setElementOrder/ports": [{"port": 80}, {"port": 53}],
            "ports": [{"port": 53, "protocol": "UDP", "$patch": "delete"}, {"port": 80, "name": "web"}]}}),
        );
        let names: Vec<_> =
            value["spec"]["ports"].as_array().unwrap().iter().map(|p| p["name"].clone()).collect();
        assert_eq!(names, ["web", "dns-tcp"]);
    }

    #[test]
    fn directives_replace_and_delete() {
        let mut value = service();
        merge(
            Kind::Service,
            &mut value,
            &json!({
            "metadata": {"labels": {"$patch": "replace", "b": "2"}},
            "spec": {"selector": null, "ports": [{"$patch": "replace"}, {"port": 1}]}}),
        );
        let want = json!({"metadata": {"labels": {"b": "2"}}, "spec": {"ports": [{"port": 1}]}});
        assert_eq!(value, want);
    }

    #[test]
    fn conditions_merge_by_type_and_other_lists_are_one_value() {
        let mut value = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "X"}]},
            "metadata": {"finalizers": ["a", "b"]}});
        merge(
            Kind::Pod,
            &mut value,
            &json!({
            "metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]},
            "status": {"conditions": [{"type": "Ready", "status": "False"}]}}),
        );
        assert_eq!(
            value["status"]["conditions"],
            json!([{"type": "Ready", "status": "False"}, {"type": "X"}])
        );
        assert_eq!(value["metadata"]["finalizers"], json!(["b", "c"]));
        let mut slice = json!({"endpoints": [{"addresses": ["10.0.0.1"]}]});
        merge(Kind::EndpointSlice, &mut slice, &json!({"endpoints": [{"addresses": ["10.0.0.2"]}]}));
        assert_eq!(slice["endpoints"], json!([{"addresses": ["10.0.0.2"]}]));
    }
}
