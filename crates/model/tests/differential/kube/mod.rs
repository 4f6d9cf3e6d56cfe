//! What kube-proxy (1.36, nftables mode) writes for a cluster, told by its contract and by what its rules look like on a
//! node. It knows nothing of Shunt's lowering; the two read the same objects and must come to the same end.

mod base;
mod endpoints;
mod ports;
mod service;
mod topology;

pub use endpoints::Endpoint;
pub use ports::{Port, proto, sloppy};

use crate::rules::Ruleset;
use ipnet::IpNet;
use shunt_model::objects::{EndpointSlice, Service};
use shunt_model::store::Family;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// How kube-proxy tells that a packet comes from a pod: `detectLocalMode`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Detect {
    /// By the ranges of the cluster's pods, or of the node's (`ClusterCIDR`, `NodeCIDR`).
    Nets(Vec<IpNet>),
    /// By the interface's name (`InterfaceNamePrefix`).
    Prefix(&'static str),
}

/// What a kube-proxy knows of its node and its configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The node's name.
    pub node: String,
    /// The label `topology.kubernetes.io/zone` of the Node.
    pub zone: Option<String>,
    /// The primary address of each family.
    pub node_ips: Vec<IpAddr>,
    /// Addresses that NodePorts answer on.
    pub node_ports: BTreeSet<IpAddr>,
    pub detect: Detect,
    /// The ranges of all ServiceCIDRs.
    pub service_cidrs: Vec<IpNet>,
    pub masquerade_all: bool,
}

/// One family's rules.
pub fn rules(
    settings: &Settings,
    family: Family,
    services: &[&Service],
    slices: &[&EndpointSlice],
) -> Ruleset {
    let mut rules = Ruleset::new(family);
    base::write(&mut rules, settings);
    for service in services {
        for port in ports::of(service, family) {
            let endpoints = endpoints::of(&port, family, slices, &settings.node);
            service::write(&mut rules, settings, &port, &endpoints);
        }
    }
    rules
}
