//! The model: a reducer over events, and the reconciler that brings the maps to what they ask for.

mod departed;
mod entry;
mod events;
mod index;
mod reconcile;
mod resolve;
mod verify;
mod view;

pub use departed::Departed;
pub use index::AddressIndex;
pub use reconcile::{Failure, Report};
pub use view::{BackendView, FrontendView, ServiceView, Status};

use crate::Problem;
use crate::claims::Claims;
use crate::ledger::{Ledger, Usage};
use crate::objects::Kind;
use crate::snapshot::{NodeState, ServiceName, Words};
use crate::store::{Actual, Capacity, FrontendRef};
use entry::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// Settings that change what services ask for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// This node's name, as in `spec.nodeName` of its pods.
    pub node_name: String,
    /// `bpf.lbExternalClusterIP`: ClusterIPs answer to the outside too.
    pub external_cluster_ip: bool,
    /// NodePorts.
    pub node_port: NodePortOptions,
}

/// `nodePort.*`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodePortOptions {
    /// `nodePort.enabled`.
    pub enabled: bool,
    /// `nodePort.range`, both ends included: a NodePort outside is refused.
    pub range: (u16, u16),
}

impl Options {
    /// The defaults for a node.
    #[must_use]
    pub fn new(node_name: impl Into<String>) -> Self {
        let node_port = NodePortOptions { enabled: true, range: (30000, 32767) };
        Self { node_name: node_name.into(), external_cluster_ip: false, node_port }
    }
}

/// The snapshot, the ledger and what is between them: which services must be looked at again.
#[derive(Debug)]
pub struct Model {
    options: Options,
    node: NodeState,
    /// Overrides the node's primary addresses.
    node_port_addresses: Option<Vec<IpAddr>>,
    services: BTreeMap<ServiceName, Box<Entry>>,
    /// The service of each slice.
    slice_owner: HashMap<Arc<str>, ServiceName>,
    words: Words,
    addresses: AddressIndex,
    claims: Claims,
    ledger: Ledger,
    /// Services whose frontends must be found anew.
    stale: BTreeSet<ServiceName>,
    /// Services that must be lowered anew.
    dirty: BTreeSet<ServiceName>,
    /// Services whose last writes failed; `retry_pending` makes them dirty.
    failed: BTreeSet<ServiceName>,
    /// Frontends that nobody asks for and that may still have a row.
    orphans: BTreeSet<FrontendRef>,
    /// Orphans whose removal failed.
    stuck: BTreeSet<FrontendRef>,
    /// Relist round of each kind; zero until its first list is complete.
    rounds: [Round; 3],
    /// Rows that were read back have been compared with what is asked for.
    swept: bool,
}

#[derive(Clone, Copy, Default, Debug)]
struct Round {
    current: u32,
    synced: bool,
    /// The own Node was in the list under way.
    node_seen: bool,
}

impl Model {
    /// An empty model over empty maps.
    #[must_use]
    pub fn new(options: Options, capacity: Capacity) -> Self {
        Self {
            options,
            node: NodeState::default(),
            node_port_addresses: None,
            services: BTreeMap::new(),
            slice_owner: HashMap::new(),
            words: Words::default(),
            addresses: AddressIndex::default(),
            claims: Claims::default(),
            ledger: Ledger::new(capacity),
            stale: BTreeSet::new(),
            dirty: BTreeSet::new(),
            failed: BTreeSet::new(),
            orphans: BTreeSet::new(),
            stuck: BTreeSet::new(),
            rounds: [Round::default(); 3],
            swept: false,
        }
    }

    /// Takes over ids and ranges from maps that an earlier agent left, so that they keep their values. Call before any
    /// event. Nothing of it is changed or removed before every kind has been listed once.
    pub fn restore(&mut self, actual: &Actual) {
        self.ledger.restore(actual);
    }

    /// Whether every kind has been listed once.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.waiting().is_empty()
    }

    /// The kinds whose first list is not complete.
    #[must_use]
    pub fn waiting(&self) -> Vec<Kind> {
        Kind::ALL.into_iter().filter(|k| !self.rounds[*k as usize].synced).collect()
    }

    /// How much of each limited thing is in use.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.ledger.usage()
    }

    /// How many services are served, cheaper than listing them.
    #[must_use]
    pub fn service_count(&self) -> usize {
        self.services.values().filter(|e| e.spec.is_some()).count()
    }

    /// What the maps hold as far as we know.
    #[must_use]
    pub fn actual(&self) -> Actual {
        self.ledger.actual()
    }

    /// Everything that is wrong with any object now.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self.node.problems.clone();
        problems.extend(self.services.values().flat_map(|e| e.problems()).cloned());
        problems
    }

    /// Where NodePorts answer.
    #[must_use]
    pub fn node_port_addresses(&self) -> &[IpAddr] {
        self.node_port_addresses.as_deref().unwrap_or(&self.node.primary)
    }
}
