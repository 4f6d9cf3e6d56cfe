//! Where objects come from: the Kubernetes API, or a directory of manifests.

pub mod kube;
pub mod manifests;

use shunt_model::Problem;
use shunt_model::objects::{EndpointSlice, Kind, Namespace, Node, Pod, Service, ServiceCidr};

/// An object of one of the kinds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Object {
    /// A Service.
    Service(Box<Service>),
    /// An EndpointSlice.
    EndpointSlice(Box<EndpointSlice>),
    /// A Node.
    Node(Box<Node>),
    /// A Pod.
    Pod(Box<Pod>),
    /// A Namespace.
    Namespace(Box<Namespace>),
    /// A ServiceCIDR.
    ServiceCidr(Box<ServiceCidr>),
}

/// What a source tells the agent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A full list of a kind begins.
    ListBegins(Kind),
    /// An object is there, new or changed.
    Apply(Object),
    /// An object is there and cannot be read: what is known of it holds. Kind, namespace, name.
    Seen(Kind, String, String),
    /// An object is gone: kind, namespace, name.
    Delete(Kind, String, String),
    /// The full list of a kind is complete.
    ListEnds(Kind),
    /// What is wrong about a thing now, in place of what was said about it before; nothing when all is well.
    Problems {
        /// A file, or `Kind namespace/name`.
        about: String,
        /// What is wrong.
        problems: Vec<Problem>,
    },
    /// Whether the watch of a kind stands: the error of one that does not.
    Connection(Kind, Result<(), String>),
    /// The API server answers, and does not let us list or watch a kind: what it says. Asked again all the time; a list, or
    /// a [`Self::Connection`] that stands, ends it.
    Forbidden(Kind, String),
}

/// Events on their way to the agent. Bounded: a source waits while the agent works.
pub type Sender = tokio::sync::mpsc::Sender<Event>;

impl Object {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Node(_) => Kind::Node,
            Self::Pod(_) => Kind::Pod,
            Self::ServiceCidr(_) => Kind::ServiceCidr,
            Self::Namespace(_) => Kind::Namespace,
        }
    }

    /// `namespace` (empty for what is in none) and name.
    #[must_use]
    pub fn name(&self) -> (String, String) {
        match self {
            Self::Service(o) => (o.metadata.namespace().into(), o.metadata.name.clone()),
            Self::EndpointSlice(o) => (o.metadata.namespace().into(), o.metadata.name.clone()),
            Self::Node(o) => (String::new(), o.metadata.name.clone()),
            Self::Pod(o) => (o.metadata.namespace().into(), o.metadata.name.clone()),
            Self::Namespace(o) => (String::new(), o.metadata.name.clone()),
            Self::ServiceCidr(o) => (String::new(), o.metadata.name.clone()),
        }
    }

    /// Reads an object of a kind.
    ///
    /// # Errors
    /// Which field has the wrong type, in serde's words.
    pub fn from_json(kind: Kind, json: serde_json::Value) -> Result<Self, String> {
        let object = match kind {
            Kind::Service => serde_json::from_value(json).map(|o| Self::Service(Box::new(o))),
            Kind::EndpointSlice => serde_json::from_value(json).map(|o| Self::EndpointSlice(Box::new(o))),
            Kind::Node => serde_json::from_value(json).map(|o| Self::Node(Box::new(o))),
            Kind::Pod => serde_json::from_value(json).map(|o| Self::Pod(Box::new(o))),
            Kind::Namespace => serde_json::from_value(json).map(|o| Self::Namespace(Box::new(o))),
            Kind::ServiceCidr => serde_json::from_value(json).map(|o| Self::ServiceCidr(Box::new(o))),
        };
        let object = object.map_err(|e| e.to_string())?;
        if object.name().1.is_empty() { Err("metadata.name is missing".into()) } else { Ok(object) }
    }
}
