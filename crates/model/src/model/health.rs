//! What load balancers want to know of this node: whether it is fit for new traffic at all, and how many endpoints of a
//! service it has. Follows the contract of kube-proxy's `pkg/proxy/healthcheck`.

use super::{Entry, Model};
use crate::objects::Node;
use crate::snapshot::{NodeState, ServiceName};
use crate::store::Family;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The taint that the cluster autoscaler sets on a node that it is about to remove.
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

/// Whether load balancers should send new traffic to this node, by its Node object.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum NodeCondition {
    /// No list of Nodes is complete: nothing speaks against it.
    #[default]
    Starting,
    /// Nothing speaks against it.
    Eligible,
    /// The API knows no such Node.
    Unknown,
    /// It has a `deletionTimestamp`.
    Deleting,
    /// The autoscaler is about to remove it.
    ToBeDeleted,
}

impl NodeCondition {
    pub(super) fn of(node: &Node) -> Self {
        let mut taints = node.spec.taints.iter().flatten();
        if node.metadata.deletion_timestamp.is_some() {
            Self::Deleting
        } else if taints.any(|t| t.key == TO_BE_DELETED) {
            Self::ToBeDeleted
        } else {
            Self::Eligible
        }
    }

    /// Whether new traffic may come.
    #[must_use]
    pub const fn eligible(self) -> bool {
        matches!(self, Self::Starting | Self::Eligible)
    }
}

/// What the health check of a service answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HealthCheck {
    /// `spec.healthCheckNodePort`.
    pub port: u16,
    /// Ready endpoints on this node by family, each address once; `None` for a family that the service has not. Each family has
    /// servers of its own, as kube-proxy has a proxier for each.
    pub local_endpoints: [Option<usize>; 2],
}

/// The health checks of all services, and which have changed since somebody asked.
#[derive(Default, Debug)]
pub(super) struct HealthChecks {
    all: BTreeMap<ServiceName, HealthCheck>,
    changed: BTreeSet<ServiceName>,
}

impl HealthChecks {
    fn set(&mut self, name: &ServiceName, check: Option<HealthCheck>) {
        let old = match check {
            Some(check) => self.all.insert(name.clone(), check),
            None => self.all.remove(name),
        };
        if old != check {
            self.changed.insert(name.clone());
        }
    }
}

impl Model {
    /// What this node's object says of it.
    #[must_use]
    pub const fn node_condition(&self) -> NodeCondition {
        self.node_condition
    }

    /// The health checks that are new, other than before, or gone (`None`) since the last call. Up to date after a
    /// reconcile, and at the cost of what changed.
    pub fn take_health_checks(&mut self) -> Vec<(ServiceName, Option<HealthCheck>)> {
        let changed = std::mem::take(&mut self.health_checks.changed);
        changed.into_iter().map(|name| (name.clone(), self.health_checks.all.get(&name).copied())).collect()
    }

    /// Looks again at a service that is dirty.
    pub(super) fn update_health_check(&mut self, name: &ServiceName) {
        let check = self.services.get(name).and_then(|e| check(e, &self.node));
        self.health_checks.set(name, check);
    }
}

fn check(entry: &Entry, node: &NodeState) -> Option<HealthCheck> {
    let spec = entry.spec.as_ref().filter(|s| s.health_port != 0)?;
    let endpoints = entry.slices.iter().flat_map(|s| &s.endpoints);
    let local = endpoints.filter(|e| e.ready && (e.local || node.owns(e.addr))).map(|e| e.addr);
    // An endpoint on its way from one slice to another stands in both.
    let local: BTreeSet<IpAddr> = local.collect();
    let of = |family| {
        let has = spec.cluster_ips.iter().any(|ip| Family::of(*ip) == family);
        has.then(|| local.iter().filter(|ip| Family::of(**ip) == family).count())
    };
    Some(HealthCheck { port: spec.health_port, local_endpoints: Family::ALL.map(of) })
}
