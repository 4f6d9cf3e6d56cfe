//! The endpoints of a port, merged from all of its slices.

use super::ports::{Port, proto, sloppy};
use shunt_model::objects::{self, EndpointSlice};
use shunt_model::store::Family;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// An address and port, with what slices say of it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub addr: SocketAddr,
    pub ready: bool,
    pub serving: bool,
    pub terminating: bool,
    /// Its `nodeName` is this node.
    pub local: bool,
    pub zones: BTreeSet<String>,
    pub nodes: BTreeSet<String>,
}

/// All of a port's endpoints, in order of address.
pub fn of(port: &Port, family: Family, slices: &[&EndpointSlice], node: &str) -> Vec<Endpoint> {
    let word = if family == Family::V4 { "IPv4" } else { "IPv6" };
    let ours = |slice: &&&EndpointSlice| {
        let meta = &slice.metadata;
        slice.address_type == word
            && meta.namespace() == port.namespace
            && meta.label("kubernetes.io/service-name") == Some(&port.service)
            // Left out by the watch.
            && meta.label("service.kubernetes.io/headless").is_none()
    };
    let mut found: BTreeMap<SocketAddr, Endpoint> = BTreeMap::new();
    for slice in slices.iter().filter(ours) {
        for slice_port in slice.ports.iter().flatten() {
            let same = slice_port.name.as_deref().unwrap_or_default() == port.name
                && proto(slice_port.protocol.as_deref()) == port.proto;
            let Some(number) = slice_port.port.filter(|n| same && *n != 0) else { continue };
            for field in slice.endpoints.iter().flatten() {
                let Some(endpoint) = endpoint(field, number as u16, node) else { continue };
                // An address that stands twice: a pod that has taken over that of a terminating one speaks for it.
                if !endpoint.terminating || !found.contains_key(&endpoint.addr) {
                    found.insert(endpoint.addr, endpoint);
                }
            }
        }
    }
    found.into_values().collect()
}

fn endpoint(field: &objects::Endpoint, port: u16, node: &str) -> Option<Endpoint> {
    let ip = sloppy(field.addresses.first()?)?;
    let conditions = field.conditions.unwrap_or_default();
    let hints = field.hints.clone().unwrap_or_default();
    let names = |all: Option<Vec<objects::Hint>>| all.into_iter().flatten().map(|h| h.name).collect();
    Some(Endpoint {
        addr: SocketAddr::new(ip, port),
        ready: conditions.ready.unwrap_or(true),
        serving: conditions.serving.unwrap_or(true),
        terminating: conditions.terminating.unwrap_or(false),
        local: field.node_name.as_deref() == Some(node),
        zones: names(hints.for_zones),
        nodes: names(hints.for_nodes),
    })
}
