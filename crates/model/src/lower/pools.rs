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
    let local = endpoint.node.as_deref() == Some(node_name) || node.owns(endpoint.addr);
    let flags = if local { Backend::<Ip4>::LOCAL } else { 0 };
    BackendRow::new(endpoint.addr, number, port.proto, BackendState::Active, flags)
}
