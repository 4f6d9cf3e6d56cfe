//! The model: a reducer over events, and the reconciler that brings the maps to what they ask for.

mod departed;
mod entry;
mod events;
mod health;
mod ids;
mod index;
mod no_local;
mod pods;
mod reconcile;
mod removal;
mod resolve;
mod verify;
mod view;

pub use departed::Departed;
pub use health::{HealthCheck, NodeCondition};
pub use index::AddressIndex;
pub use no_local::NoLocal;
pub use reconcile::{Failure, Report};
pub use view::{BackendView, FrontendView, ServiceView, Status};

use crate::Problem;
use crate::claims::Claims;
use crate::ledger::{Ledger, Usage};
use crate::objects::Kind;
use crate::snapshot::{Mode, NodeState, ServiceCidrs, ServiceName, Words};
use crate::store::{Actual, Capacity, Family, FrontendRef};
use entry::Entry;
use ipnet::IpNet;
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
    /// `loadBalancer.serviceTopology`: topology hints of endpoints count.
    pub service_topology: bool,
    /// `loadBalancer.mode`.
    pub mode: Mode,
    /// `bpf.lbSourceRangeAllTypes`: source ranges hold for NodePorts and external IPs too.
    pub source_ranges_for_all: bool,
    /// `hostPort.enabled`: serve the host ports of this node's pods.
    pub host_ports: bool,
    /// `nodePort.enableHealthCheck` and `nodePort.enableHealthCheckLoadBalancerIP`: the health checks of services are
    /// answered, also at their load balancers' addresses.
    pub health_check_vips: bool,
    /// `externalIPs.enabled`.
    pub external_ips: bool,
    /// Not `bpf.disableExternalIPMitigation`: an external IP that is some ClusterIP or lies in the node's pod CIDRs or in
    /// [`Self::cluster_cidrs`] is refused (CVE-2020-8554). One that is an address of the node is always refused.
    pub external_ip_mitigation: bool,
    /// `clusterCIDR`: where pods of all nodes have their addresses. A node is told only of its own.
    pub cluster_cidrs: Vec<IpNet>,
    /// `k8s.serviceProxyName`: serve the Services that ask for a proxy of this name; those that ask for none when empty.
    pub service_proxy_name: String,
    /// `loadBalancer.algorithm` is maglev: for services that do not say.
    pub maglev: bool,
    /// Tables of services that are balanced by Maglev.
    pub tables: crate::maglev::Settings,
    /// About how many values of tables one [`Model::reconcile`] builds, at least one table; those of further services wait
    /// for the next.
    pub tables_at_once: u32,
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
        Self {
            node_name: node_name.into(),
            external_cluster_ip: false,
            // kube-proxy has it on, and no switch for it.
            service_topology: true,
            mode: Mode::Snat,
            source_ranges_for_all: false,
            host_ports: false,
            health_check_vips: true,
            external_ips: true,
            external_ip_mitigation: true,
            cluster_cidrs: Vec::new(),
            service_proxy_name: String::new(),
            maglev: false,
            tables: crate::maglev::Settings::default(),
            tables_at_once: 1 << 19,
            node_port,
        }
    }
}

/// The snapshot, the ledger and what is between them: which services must be looked at again.
#[derive(Debug)]
pub struct Model {
    options: Options,
    node: NodeState,
    /// Kept apart from `node`: it changes nothing that is in the maps.
    node_condition: NodeCondition,
    health_checks: health::HealthChecks,
    no_local: no_local::Counts,
    changes: Changes,
    /// Overrides the node's primary addresses.
    node_port_addresses: Option<Vec<IpAddr>>,
    node_port_loopback: bool,
    service_cidrs: ServiceCidrs,
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
    /// Services that wait for their Maglev tables to be built.
    tables_due: BTreeSet<ServiceName>,
    /// Frontends that nobody asks for and that may still have a row.
    orphans: BTreeSet<FrontendRef>,
    /// Orphans whose removal failed.
    stuck: BTreeSet<FrontendRef>,
    /// Service ports that may have source ranges beside these, which count no more; `None` when no range counts, since
    /// the port limits nobody any more.
    loose: BTreeMap<(u32, Family), Option<Vec<IpNet>>>,
    /// Relist round of each kind; zero until its first list is complete.
    rounds: [Round; Kind::ALL.len()],
    /// Rows that were read back have been compared with what is asked for.
    swept: bool,
}

#[derive(Clone, Copy, Default, Debug)]
struct Round {
    current: u32,
    synced: bool,
    /// Not listed yet, and not to be waited for.
    without: bool,
    /// The own Node was in the list under way.
    node_seen: bool,
}

/// How many events, since the start, have changed what services ask for; those that changed nothing do not count.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Changes {
    /// Of Services.
    pub services: u64,
    /// Of EndpointSlices.
    pub endpoints: u64,
}

impl Model {
    /// An empty model over empty maps.
    #[must_use]
    pub fn new(options: Options, capacity: Capacity) -> Self {
        let (tables, at_once) = (options.tables, options.tables_at_once);
        Self {
            options,
            node: NodeState::default(),
            node_condition: NodeCondition::default(),
            health_checks: health::HealthChecks::default(),
            no_local: no_local::Counts::default(),
            changes: Changes::default(),
            node_port_addresses: None,
            node_port_loopback: false,
            service_cidrs: ServiceCidrs::default(),
            services: BTreeMap::new(),
            slice_owner: HashMap::new(),
            words: Words::default(),
            addresses: AddressIndex::default(),
            claims: Claims::default(),
            ledger: Ledger::new(capacity).with_maglev(tables, at_once),
            stale: BTreeSet::new(),
            dirty: BTreeSet::new(),
            failed: BTreeSet::new(),
            tables_due: BTreeSet::new(),
            orphans: BTreeSet::new(),
            stuck: BTreeSet::new(),
            loose: BTreeMap::new(),
            rounds: [Round::default(); Kind::ALL.len()],
            swept: false,
        }
    }

    /// Takes over ids and ranges from maps that an earlier agent left, so that they keep their values. Call before any
    /// event. Nothing of it is changed or removed before every kind has been listed once.
    pub fn restore(&mut self, actual: &Actual) {
        self.ledger.restore(actual);
        let services = actual.ranges.iter().map(|r| (r.service, Family::of(r.net.addr())));
        self.loose = services.map(|key| (key, None)).collect();
    }

    /// Tells the time, in whole seconds since any moment: the model has no clock. Call it before [`Self::reconcile`]. Ids and
    /// slots that were freed are used again only when the clock has moved on, since packets may still be reading them.
    pub fn tick(&mut self, second: u64) {
        self.ledger.tick(second);
    }

    /// Whether every kind has been listed once, but for those that have to be done without.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.waiting().is_empty()
    }

    /// The kinds that the maps come from and whose first list is not complete.
    #[must_use]
    pub fn waiting(&self) -> Vec<Kind> {
        let needed = |k: &Kind| match k {
            Kind::Service | Kind::EndpointSlice | Kind::Node => true,
            Kind::Pod => self.options.host_ports,
            Kind::ServiceCidr | Kind::Namespace => false,
        };
        let missing = |k: &Kind| {
            let round = &self.rounds[*k as usize];
            !round.synced && !round.without
        };
        Kind::ALL.into_iter().filter(needed).filter(missing).collect()
    }

    /// How much of each limited thing is in use.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.ledger.usage()
    }

    /// How many services are served, cheaper than listing them.
    #[must_use]
    pub fn service_count(&self) -> usize {
        self.services.values().filter(|e| e.spec.as_ref().is_some_and(|s| s.hosts.is_none())).count()
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
        problems.extend_from_slice(self.service_cidrs.problems());
        problems.extend(self.services.values().flat_map(|e| e.problems()).cloned());
        problems
    }

    /// Counts for metrics.
    #[must_use]
    pub const fn changes(&self) -> Changes {
        self.changes
    }

    /// Where NodePorts answer.
    #[must_use]
    pub fn node_port_addresses(&self) -> &[IpAddr] {
        self.node_port_addresses.as_deref().unwrap_or(&self.node.primary)
    }
}
