//! Which endpoints of a service port go into the pool of each scope.

use crate::snapshot::{Endpoint, NodeState, PortSpec, Slice};
use crate::store::{BackendRow, Family};
use shunt_common::{Backend, BackendState, Ip4};
use std::net::IpAddr;

/// A backend that a pool asks for: its row in the map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target(pub BackendRow);

impl Target {
    fn key(&self) -> (IpAddr, u16) {
        (self.0.addr(), self.0.port())
    }
}

/// An endpoint of one service port.
pub struct Candidate<'a> {
    endpoint: &'a Endpoint,
    row: BackendRow,
}

/// The endpoints of a port in one family, over all slices, matched by the port's name; in order, none twice.
pub fn endpoints<'a>(
    port: &PortSpec,
    family: Family,
    slices: impl Iterator<Item = &'a Slice>,
    node: &NodeState,
    node_name: &str,
) -> Vec<Candidate<'a>> {
    let mut found = Vec::new();
    for slice in slices.filter(|s| s.family == family) {
        for number in slice.ports.iter().filter(|p| p.name == port.name && p.proto == port.proto) {
            found.extend(slice.endpoints.iter().map(|endpoint| {
                let row = row(endpoint, number.port, port, node, node_name);
                Candidate { endpoint, row }
            }));
        }
    }
    // While an endpoint moves from one slice to another it stands in both: the ready one speaks for it.
    found.sort_by_key(|c| (c.row.addr(), c.row.port(), !c.endpoint.ready));
    found.dedup_by_key(|c| (c.row.addr(), c.row.port()));
    found
}

/// The pool for traffic from outside.
pub fn external(endpoints: &[Candidate<'_>]) -> Vec<Target> {
    ready(endpoints)
}

/// The pool for pods and the node itself.
pub fn internal(endpoints: &[Candidate<'_>]) -> Vec<Target> {
    ready(endpoints)
}

fn ready(endpoints: &[Candidate<'_>]) -> Vec<Target> {
    let ready = endpoints.iter().filter(|c| c.endpoint.ready);
    let targets: Vec<Target> = ready.map(|c| Target(c.row)).collect();
    debug_assert!(targets.is_sorted_by_key(Target::key));
    targets
}

fn row(endpoint: &Endpoint, number: u16, port: &PortSpec, node: &NodeState, node_name: &str) -> BackendRow {
    let local = is_local(endpoint, node, node_name);
    let flags = if local { Backend::<Ip4>::LOCAL } else { 0 };
    BackendRow::new(endpoint.addr, number, port.proto, BackendState::Active, flags)
}

/// Whether an endpoint runs on this node. A slice that somebody wrote by hand may name no node: then the address tells,
/// since a pod of this node that were taken for a remote one would answer past the translation.
fn is_local(endpoint: &Endpoint, node: &NodeState, node_name: &str) -> bool {
    let in_our_pods = || node.pod_cidrs.iter().any(|net| net.contains(&endpoint.addr));
    match endpoint.node.as_deref() {
        Some(name) if name == node_name => true,
        named => node.owns(endpoint.addr) || named.is_none() && in_our_pods(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_names_no_node_is_local_by_its_address() {
        let node = NodeState {
            addresses: vec!["192.0.2.1".parse().unwrap()],
            pod_cidrs: vec!["10.244.1.0/24".parse().unwrap(), "2001:db8:1::/64".parse().unwrap()],
            ..NodeState::default()
        };
        let local = |addr: &str, name: Option<&str>| {
            let (addr, node_name) = (addr.parse().unwrap(), name.map(Into::into));
            let endpoint = Endpoint { addr, ready: true, serving: true, terminating: false, node: node_name };
            is_local(&endpoint, &node, "us")
        };
        assert!(local("10.244.1.7", None) && local("2001:db8:1::7", None) && local("192.0.2.1", None));
        assert!(!local("10.244.2.7", None) && !local("2001:db8:2::7", None));
        assert!(local("10.244.2.7", Some("us")), "an address from another range, as some CNIs give them");
        assert!(!local("10.244.1.7", Some("them")), "who names a node is believed");
    }
}
