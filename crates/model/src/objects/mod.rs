//! The Kubernetes objects that Shunt reads, cut down to the fields it uses.
//!
//! Names are those of the Kubernetes API, so that its JSON and the YAML of manifests read straight in; unknown fields
//! are ignored. Numbers are wider than the API allows and addresses are text, so that one bad value spoils one
//! endpoint or port (a [`crate::Problem`]), never the whole list it came in.

mod endpoint_slice;
mod meta;
mod namespace;
mod node;
mod pod;
mod service;
mod service_cidr;

pub use endpoint_slice::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, Hint, TargetRef,
};
pub use meta::Meta;
pub use namespace::Namespace;
pub use node::{Node, NodeAddress, NodeSpec, NodeStatus};
pub use pod::{Container, ContainerPort, Pod, PodIp, PodSpec, PodStatus};
pub use service::{
    ClientIpConfig, Ingress, LoadBalancerStatus, Service, ServicePort, ServiceSpec, ServiceStatus,
    SessionAffinityConfig,
};
pub use service_cidr::{ServiceCidr, ServiceCidrSpec};

/// What a watch is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub enum Kind {
    /// `v1/Service`.
    Service,
    /// `discovery.k8s.io/v1/EndpointSlice`.
    EndpointSlice,
    /// `v1/Node`, this node's only.
    Node,
    /// `v1/Pod`, this node's only, for host ports and opting out of the socket path.
    Pod,
    /// `networking.k8s.io/v1/ServiceCIDR`.
    ServiceCidr,
    /// `v1/Namespace`, for opting out of the socket path.
    Namespace,
}

impl Kind {
    /// Every kind. Nothing is programmed before those have been listed that frontends and backends come from; pods are not
    /// waited for where host ports are off, nor ServiceCIDRs at all: clusters before Kubernetes 1.31 have none.
    pub const ALL: [Kind; 6] =
        [Kind::Service, Kind::EndpointSlice, Kind::Node, Kind::Pod, Kind::ServiceCidr, Kind::Namespace];

    /// The word in `kind:` of a manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Node => "Node",
            Self::Pod => "Pod",
            Self::ServiceCidr => "ServiceCIDR",
            Self::Namespace => "Namespace",
        }
    }

    /// Whether its objects are in namespaces.
    #[must_use]
    pub const fn is_namespaced(self) -> bool {
        match self {
            Self::Service | Self::EndpointSlice | Self::Pod => true,
            Self::Node | Self::ServiceCidr | Self::Namespace => false,
        }
    }
}
