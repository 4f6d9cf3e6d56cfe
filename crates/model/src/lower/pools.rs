//! Which endpoints of a service port go into which pool.

use super::Here;
use crate::snapshot::{Endpoint, Hinted, NodeState, PortSpec, Reach, Slice, SlicePort};
use crate::store::{BackendRow, Family};
use shunt_common::{Backend, BackendState, Ip4};
use std::net::IpAddr;

/// A backend that a group asks for: its row in the map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target(pub BackendRow);

impl Target {
    fn key(&self) -> (IpAddr, u16) {
        (self.0.addr(), self.0.port())
    }
}

/// An endpoint of one service port that has a backend.
pub struct Candidate {
    row: BackendRow,
    state: BackendState,
    /// Its `nodeName` is this node's.
    local: bool,
    /// Whom its hints name, by node and by zone.
    hinted: (Hinted, Hinted),
}

/// The endpoints of a port in one family, over all slices, matched by the port's name; in order, none twice.
pub fn endpoints<'a>(
    port: &PortSpec,
    family: Family,
    slices: impl Iterator<Item = &'a Slice>,
    here: &Here<'_>,
) -> Vec<Candidate> {
    let mut found = Vec::new();
    for slice in slices.filter(|s| s.family == family) {
        for number in slice.ports.iter().filter(|p| p.name == port.name && p.proto == port.proto) {
            let key = |endpoint: &Endpoint| (endpoint.addr, number.port);
            let all = slice.endpoints.iter().zip(0..);
            found.extend(all.map(|(e, index)| (key(e), e, candidate(slice, index, number, here))));
        }
    }
    // An endpoint that moves from one slice to another stands in both for a while: the better state speaks for it. An
    // address that a new pod has taken over from a terminating one is the new pod's, also while that is not ready.
    found.sort_by_key(|(key, e, _)| (*key, e.terminating, !e.ready, !e.serving));
    found.dedup_by_key(|(key, ..)| *key);
    found.into_iter().filter_map(|(.., candidate)| candidate).collect()
}

/// The backend of an endpoint, by its index in the slice; `None` for one that no flow may lead to.
fn candidate(slice: &Slice, index: usize, port: &SlicePort, here: &Here<'_>) -> Option<Candidate> {
    let endpoint = &slice.endpoints[index];
    let state = endpoint.state()?;
    let flags = if stays_here(endpoint, here.node) { Backend::<Ip4>::LOCAL } else { 0 };
    let row = BackendRow::new(endpoint.addr, port.port, port.proto, state, flags)
        .with_weight(slice.weight)
        .with_zone(endpoint.zone.0);
    let hints = slice.hints.as_ref().filter(|_| here.topology);
    let hinted = hints.map_or_else(Default::default, |h| h.of(index as u32, here.zone));
    Some(Candidate { row, state, local: endpoint.local, hinted })
}

/// The pool of a traffic policy.
pub fn pool(endpoints: &[Candidate], reach: Reach) -> Vec<Target> {
    match reach {
        Reach::Cluster => {
            let near = nearness(endpoints);
            usable(endpoints.iter().filter(move |c| c.state != BackendState::Active || near(c)))
        }
        Reach::Local => usable(endpoints.iter().filter(|c| c.local)),
    }
}

/// Which ready endpoints are near enough (KEP-2433, KEP-3015, as kube-proxy reads them): those with a hint for this node
/// if every ready one has a node hint and one names us, else the same by zone, else all. Hints alone count; what the
/// Service asks for is the endpoint controller's business.
fn nearness(endpoints: &[Candidate]) -> impl Fn(&Candidate) -> bool + Copy {
    let ready = || endpoints.iter().filter(|c| c.state == BackendState::Active).map(|c| c.hinted);
    let by_node = ready().all(|(n, _)| n != Hinted::Nobody) && ready().any(|(n, _)| n == Hinted::Us);
    let by_zone = ready().all(|(_, z)| z != Hinted::Nobody) && ready().any(|(_, z)| z == Hinted::Us);
    move |c| match (by_node, by_zone) {
        (true, _) => c.hinted.0 == Hinted::Us,
        (false, true) => c.hinted.1 == Hinted::Us,
        (false, false) => true,
    }
}

/// Whether any endpoint names for whom it is, so that nodes may differ in their pools.
pub fn any_hinted(endpoints: &[Candidate]) -> bool {
    endpoints.iter().any(|c| c.hinted != (Hinted::Nobody, Hinted::Nobody))
}

/// Whether a new flow could go anywhere at all, whatever the policy.
pub fn any_usable(endpoints: &[Candidate]) -> bool {
    endpoints.iter().any(|c| c.state != BackendState::TerminatingNotServing)
}

/// The ready ones; when there are none, those that still serve while they terminate (KEP-1669).
fn usable<'a>(endpoints: impl Iterator<Item = &'a Candidate> + Clone) -> Vec<Target> {
    let in_state = |state| endpoints.clone().filter(move |c| c.state == state).map(|c| Target(c.row));
    let mut targets: Vec<Target> = in_state(BackendState::Active).collect();
    if targets.is_empty() {
        targets = in_state(BackendState::Terminating).collect();
    }
    debug_assert!(targets.is_sorted_by_key(Target::key));
    targets
}

/// The backends that no pool names and that keep their rows all the same, so that their flows live on.
pub fn others(endpoints: &[Candidate], pools: &[Vec<Target>]) -> Vec<Target> {
    let in_pool = |row: &BackendRow| {
        let key = Target(*row).key();
        pools.iter().any(|pool| pool.binary_search_by_key(&key, Target::key).is_ok())
    };
    endpoints.iter().filter(|c| !in_pool(&c.row)).map(|c| Target(c.row)).collect()
}

/// Whether an endpoint's packets stay on this node. One that names no node is told by its address: a pod of this node that
/// were taken for a remote one would answer past the translation. Policies go by the name alone, as kube-proxy's do.
fn stays_here(endpoint: &Endpoint, node: &NodeState) -> bool {
    let in_our_pods = || node.pod_cidrs.iter().any(|net| net.contains(&endpoint.addr));
    endpoint.local || node.owns(endpoint.addr) || endpoint.nodeless && in_our_pods()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Zone;

    #[test]
    fn an_endpoint_that_names_no_node_stays_here_by_its_address() {
        let node = NodeState {
            addresses: vec!["192.0.2.1".parse().unwrap()],
            pod_cidrs: vec!["10.244.1.0/24".parse().unwrap(), "2001:db8:1::/64".parse().unwrap()],
            ..NodeState::default()
        };
        let here = |addr: &str, name: Option<&str>| {
            let (local, nodeless) = (name == Some("us"), name.is_none());
            let addr = addr.parse().unwrap();
            let zone = Zone::default();
            let endpoint =
                Endpoint { addr, ready: true, serving: true, terminating: false, local, nodeless, zone };
            stays_here(&endpoint, &node)
        };
        assert!(here("10.244.1.7", None) && here("2001:db8:1::7", None) && here("192.0.2.1", None));
        assert!(!here("10.244.2.7", None) && !here("2001:db8:2::7", None));
        assert!(here("10.244.2.7", Some("us")), "an address from another range, as some CNIs give them");
        assert!(!here("10.244.1.7", Some("them")), "who names a node is believed");
    }
}
