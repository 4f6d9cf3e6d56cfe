//! One stored object: its JSON text, shared by every reader, and the few fields that lists and watches select by.

use super::kinds::Kind;
use bytes::Bytes;
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// Namespace (empty for cluster-wide kinds) and name: the order of lists.
pub type Key = (Arc<str>, Arc<str>);

/// The indexed part of an object.
#[derive(Debug)]
pub struct Meta {
    /// Namespace and name.
    pub key: Key,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion` as a number.
    pub version: u64,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// The fields that field selectors may name beside `metadata.name` and `metadata.namespace`.
    pub fields: Vec<(&'static str, String)>,
}

/// A stored object. The JSON text is the truth: parsed values of a large cluster would take five times the memory.
#[derive(Debug, Clone)]
pub struct Object {
    /// Indexed metadata.
    pub meta: Arc<Meta>,
    /// The whole object as JSON.
    pub json: Bytes,
}

impl Object {
    /// Serialises `value`, whose `metadata` has been filled in.
    pub fn new(kind: Kind, value: &Value, version: u64) -> Self {
        let (namespace, name) = key_of(value);
        let meta = Meta {
            key: (namespace.into(), name.into()),
            uid: text(value, "/metadata/uid").to_owned(),
            version,
            labels: string_map(value.pointer("/metadata/labels")),
            fields: selectable(kind)
                .iter()
                .map(|(field, pointer)| (*field, text(value, pointer).to_owned()))
                .collect(),
        };
        Self { meta: Arc::new(meta), json: Bytes::from(value.to_string()) }
    }

    /// The object as a value.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.json).expect("the store wrote this text from a value")
    }
}

/// The fields that field selectors may name, with the place of each in the object.
pub fn selectable(kind: Kind) -> &'static [(&'static str, &'static str)] {
    match kind {
        Kind::Service => &[("spec.clusterIP", "/spec/clusterIP"), ("spec.type", "/spec/type")],
        Kind::Pod => &[
            ("spec.nodeName", "/spec/nodeName"),
            ("status.phase", "/status/phase"),
            ("status.podIP", "/status/podIP"),
            ("spec.restartPolicy", "/spec/restartPolicy"),
        ],
        Kind::Namespace => &[("status.phase", "/status/phase")],
        Kind::Node => &[("spec.unschedulable", "/spec/unschedulable")],
        Kind::Event => &[
            ("involvedObject.kind", "/involvedObject/kind"),
            ("involvedObject.name", "/involvedObject/name"),
            ("involvedObject.namespace", "/involvedObject/namespace"),
            ("involvedObject.uid", "/involvedObject/uid"),
            ("reason", "/reason"),
            ("type", "/type"),
        ],
        Kind::EndpointSlice | Kind::ConfigMap | Kind::ServiceCidr => &[],
    }
}

/// The string at a JSON pointer, or empty.
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The array at a JSON pointer, or empty.
pub fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Namespace and name of an object.
pub fn key_of(value: &Value) -> (&str, &str) {
    (text(value, "/metadata/namespace"), text(value, "/metadata/name"))
}

/// A JSON object of strings as a map; anything else in it is left out.
pub fn string_map(value: Option<&Value>) -> BTreeMap<String, String> {
    let map = value.and_then(Value::as_object);
    map.map(|m| m.iter().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect())
        .unwrap_or_default()
}
