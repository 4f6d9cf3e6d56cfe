//! Which endpoints each traffic policy may use.

use super::{Endpoint, Port, Settings};
use std::net::SocketAddr;

/// The choice for one port on one node.
#[derive(Default, Debug)]
pub struct Choice {
    /// For policy Cluster.
    pub cluster: Vec<SocketAddr>,
    /// For policy Local.
    pub local: Vec<SocketAddr>,
    /// Either of them, with whether it is on this node.
    pub reachable: Vec<(SocketAddr, bool)>,
    /// Some node could serve.
    pub any: bool,
}

enum Near {
    Node,
    Zone,
    Anywhere,
}

/// Sorts a port's endpoints.
pub fn choose(settings: &Settings, port: &Port, endpoints: &[Endpoint]) -> Choice {
    let fading = |e: &Endpoint| !e.ready && e.serving && e.terminating;
    let addrs = |wanted: &dyn Fn(&Endpoint) -> bool| -> Vec<SocketAddr> {
        endpoints.iter().filter(|e| wanted(e)).map(|e| e.addr).collect()
    };
    let or = |first: Vec<SocketAddr>, wanted: &dyn Fn(&Endpoint) -> bool| {
        if first.is_empty() { addrs(wanted) } else { first }
    };
    let mut choice = Choice { any: endpoints.iter().any(|e| e.ready || fading(e)), ..Choice::default() };
    if port.uses_cluster() {
        let near = near(settings, endpoints);
        let zone = settings.zone.as_deref().unwrap_or_default();
        let here = |e: &Endpoint| match near {
            Near::Node => e.nodes.contains(&settings.node),
            Near::Zone => e.zones.contains(zone),
            Near::Anywhere => true,
        };
        choice.cluster = or(addrs(&|e| e.ready && here(e)), &fading);
    }
    if port.uses_local() {
        choice.local = or(addrs(&|e| e.local && e.ready), &|e| e.local && fading(e));
    }
    let used =
        endpoints.iter().filter(|e| choice.cluster.contains(&e.addr) || choice.local.contains(&e.addr));
    choice.reachable = used.map(|e| (e.addr, e.local)).collect();
    choice
}

/// Hints count when every ready endpoint has one and one of them means us; for the node first, then for its zone.
fn near(settings: &Settings, endpoints: &[Endpoint]) -> Near {
    let ready = || endpoints.iter().filter(|e| e.ready);
    let zone = settings.zone.as_deref().unwrap_or_default();
    if ready().all(|e| !e.nodes.is_empty()) && ready().any(|e| e.nodes.contains(&settings.node)) {
        Near::Node
    } else if ready().all(|e| !e.zones.is_empty()) && ready().any(|e| e.zones.contains(zone)) {
        Near::Zone
    } else {
        Near::Anywhere
    }
}
