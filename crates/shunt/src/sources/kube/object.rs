//! What the watches deserialize: our slim objects, leniently, so that one malformed object spoils only itself.

use crate::sources::Object;
use kube::Resource;
use kube::core::ObjectMeta;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use shunt_model::objects::{EndpointSlice, Kind, Meta, Namespace, Node, Pod, Service, ServiceCidr};
use std::borrow::Cow;
use std::fmt::Debug;

/// A kind that is watched.
pub(super) trait Body: DeserializeOwned + Clone + Debug + Send + Sync + Unpin + 'static {
    const KIND: Kind;
    const GROUP: &'static str;
    const PLURAL: &'static str;
    /// The agent can do without it.
    const OPTIONAL: bool;
    fn meta(&self) -> &Meta;
    fn into_object(self) -> Object;
}

macro_rules! bodies {
    ($($name:ident = $object:ident, $group:literal, $plural:literal;)+) => { $(
        #[derive(Clone, Debug, Deserialize)]
        #[serde(transparent)]
        pub(super) struct $name(Box<$object>);

        impl $name {
            #[allow(dead_code, reason = "the check lists some kinds, and not all")]
            pub(super) fn inner(self) -> $object {
                *self.0
            }
        }

        impl Body for $name {
            const KIND: Kind = Kind::$object;
            const GROUP: &'static str = $group;
            const PLURAL: &'static str = $plural;
            const OPTIONAL: bool = matches!(Kind::$object, Kind::ServiceCidr);
            fn meta(&self) -> &Meta { &self.0.metadata }
            fn into_object(self) -> Object { Object::$object(self.0) }
        }
    )+ };
}

bodies! {
    Services = Service, "", "services";
    Slices = EndpointSlice, "discovery.k8s.io", "endpointslices";
    Nodes = Node, "", "nodes";
    Pods = Pod, "", "pods";
    Namespaces = Namespace, "", "namespaces";
    ServiceCidrs = ServiceCidr, "networking.k8s.io", "servicecidrs";
}

/// An object as a watch sees it: the metadata that the watch needs, and the body or why it could not be read.
#[derive(Clone, Debug)]
pub(super) struct Watched<B> {
    meta: ObjectMeta,
    pub(super) body: Result<B, String>,
}

impl<B: Body> Watched<B> {
    /// Namespace (as the model says it) and name.
    pub(super) fn name(&self) -> (String, String) {
        let name = self.meta.name.clone().unwrap_or_default();
        let namespace = self.meta.namespace.clone().unwrap_or_else(|| "default".into());
        (if B::KIND.is_namespaced() { namespace } else { String::new() }, name)
    }

    /// `Kind namespace/name`.
    pub(super) fn about(&self) -> String {
        let (namespace, name) = self.name();
        match namespace.as_str() {
            "" => format!("{} {name}", B::KIND.name()),
            _ => format!("{} {namespace}/{name}", B::KIND.name()),
        }
    }
}

impl<'de, B: Body> Deserialize<'de> for Watched<B> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = serde_json::Value::deserialize(deserializer)?;
        let text = |field: &str| json["metadata"][field].as_str().map(String::from);
        let meta = ObjectMeta {
            name: text("name"),
            namespace: text("namespace"),
            uid: text("uid"),
            resource_version: text("resourceVersion"),
            ..ObjectMeta::default()
        };
        let body = match serde_json::from_value::<B>(json) {
            Ok(body) if body.meta().name.is_empty() => Err("metadata.name is missing".into()),
            Ok(body) => Ok(body),
            Err(error) => Err(error.to_string()),
        };
        Ok(Self { meta, body })
    }
}

impl<B: Body> Resource for Watched<B> {
    type DynamicType = ();
    type Scope = kube::core::ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        B::KIND.name().into()
    }
    fn group((): &()) -> Cow<'_, str> {
        B::GROUP.into()
    }
    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }
    fn plural((): &()) -> Cow<'_, str> {
        B::PLURAL.into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_object_keeps_its_name_and_says_what_is_wrong() {
        let json =
            r#"{"metadata":{"name":"web","namespace":"shop","resourceVersion":"7"},"spec":{"ports":"80"}}"#;
        let object: Watched<Services> = serde_json::from_str(json).unwrap();
        assert_eq!(object.about(), "Service shop/web");
        assert_eq!(object.meta().resource_version.as_deref(), Some("7"));
        assert!(object.body.unwrap_err().contains("80"));
    }

    #[test]
    fn a_list_with_a_malformed_object_still_reads() {
        let json = r#"{"apiVersion":"v1","kind":"ServiceList","metadata":{"resourceVersion":"9"},"items":[
            {"metadata":{"name":"a"},"spec":{"ports":[{"port":80}]}},
            {"metadata":{"name":"b"},"spec":{"ports":[{"port":"x"}]}}]}"#;
        let list: kube::core::ObjectList<Watched<Services>> = serde_json::from_str(json).unwrap();
        let good: Vec<bool> = list.items.iter().map(|o| o.body.is_ok()).collect();
        assert_eq!(good, [true, false]);
    }
}
