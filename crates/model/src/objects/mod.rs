//! The Kubernetes objects that Shunt reads, cut down to the fields it uses.
//!
//! Names are those of the Kubernetes API, so that its JSON and the YAML of manifests read straight in; unknown fields
//! are ignored. Numbers are wider than the API allows and addresses are text, so that one bad value spoils one
//! endpoint or port (a [`crate::Problem`]), never the whole list it came in.

mod endpoint_slice;
mod meta;
mod node;
mod service;

pub use endpoint_slice::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, Hint, TargetRef,
};
pub use meta::Meta;
pub use node::{Node, NodeAddress, NodeSpec, NodeStatus};
pub use service::{
    ClientIpConfig, Ingress, LoadBalancerStatus, Service, ServicePort, ServiceSpec, ServiceStatus,
    SessionAffinityConfig,
};

/// What a watch is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub enum Kind {
    /// `v1/Service`.
    Service,
    /// `discovery.k8s.io/v1/EndpointSlice`.
    EndpointSlice,
    /// `v1/Node`, this node's only.
    Node,
}

impl Kind {
    /// Every kind that must have been listed before anything is programmed.
    pub const ALL: [Kind; 3] = [Kind::Service, Kind::EndpointSlice, Kind::Node];

    /// The word in `kind:` of a manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Node => "Node",
        }
    }
}
