//! The old Endpoints object of a service, made from its slices when asked: `kubectl describe svc` of older versions reads it.

use super::{
    kinds::Kind,
    object::{list, text},
    store::Store,
};
use serde_json::{Value, json};

/// Endpoints of one service, or `None` when it has no slice.
pub fn view(store: &Store, namespace: &str, name: &str) -> Option<Value> {
    let belongs = |labels: &std::collections::BTreeMap<String, String>| {
        labels.get("kubernetes.io/service-name").is_some_and(|n| n == name)
    };
    let slices: Vec<Value> = store
        .range(Kind::EndpointSlice, namespace, None)
        .filter(|o| belongs(&o.meta.labels))
        .map(super::object::Object::value)
        .collect();
    let metadata =
        json!({"name": name, "namespace": namespace, "resourceVersion": store.version().to_string()});
    // The old object has one family, the service's first; slices of another one would double every endpoint.
    let family = slices.first()?["addressType"].clone();
    let service = store.get(Kind::Service, namespace, name).map(super::object::Object::value);
    let family = service.as_ref().and_then(|s| s.pointer("/spec/ipFamilies/0")).cloned().unwrap_or(family);
    let subsets: Vec<Value> =
        slices.iter().filter(|s| s["addressType"] == family).filter_map(subset).collect();
    Some(json!({"kind": "Endpoints", "apiVersion": "v1", "metadata": metadata, "subsets": subsets}))
}

fn subset(slice: &Value) -> Option<Value> {
    let (mut ready, mut other) = (Vec::new(), Vec::new());
    for endpoint in list(slice, "/endpoints") {
        let is_ready = endpoint.pointer("/conditions/ready") != Some(&Value::Bool(false));
        let mut address = json!({"ip": text(endpoint, "/addresses/0")});
        for (field, pointer) in [("nodeName", "/nodeName"), ("targetRef", "/targetRef")] {
            if let Some(value) = endpoint.pointer(pointer) {
                address[field] = value.clone();
            }
        }
        if is_ready { ready.push(address) } else { other.push(address) }
    }
    if ready.is_empty() && other.is_empty() {
        return None;
    }
    let mut subset = json!({"ports": slice["ports"]});
    for (field, addresses) in [("addresses", ready), ("notReadyAddresses", other)] {
        if !addresses.is_empty() {
            subset[field] = addresses.into();
        }
    }
    Some(subset)
}
