//! The services of the nodes that are compared: the same on each, but for whose pods stand behind them.

use crate::services::{self, Service};
use anyhow::Result;
use shunt_lab::cluster::Lab;
use std::net::SocketAddrV4;
use std::time::Duration;

const ENDPOINTS: usize = 2;

/// The services of a node of which the backends are known, by where they stand in the list.
pub struct Measured {
    pub first_local: Service,
    pub first_remote: Service,
    pub last_local: Service,
    pub last_remote: Service,
}

/// A node's services: the first two and the last two have its own pods and those of the node `far`, at a port that takes
/// connections; the others made-up endpoints.
pub fn services_of(lab: &Lab, node: usize, far: usize, port: u16, count: usize) -> (Vec<Service>, Measured) {
    let pods = |n: usize| lab.nodes[n].pods.iter().map(|p| SocketAddrV4::new(p.addresses.v4, port)).collect();
    let mut all: Vec<Service> = (0..count).map(|i| Service::made_up(i, ENDPOINTS)).collect();
    let mut own = |i: usize, of: usize| {
        all[i] = Service::new(i, pods(of));
        all[i].clone()
    };
    let measured = Measured {
        first_local: own(0, node),
        first_remote: own(1, far),
        last_local: own(count - 2, node),
        last_remote: own(count - 1, far),
    };
    (all, measured)
}

/// Writes these services, whose local ones are on `node` and all others on `far`, to the lab's API.
pub fn put(lab: &Lab, (all, measured): (Vec<Service>, Measured), node: usize, far: usize) -> Result<()> {
    let local = [measured.first_local.name(), measured.last_local.name()];
    for service in all {
        let place = if local.contains(&service.name()) { node } else { far };
        for object in [service.object(), service.slice(&lab.nodes[place].name)] {
            lab.api().force_put(object).map_err(|e| anyhow::anyhow!("{}: {e:?}", service.name()))?;
        }
    }
    Ok(())
}

/// Starts a node's agent with these settings, besides those that so many services need.
pub fn start_shunt(lab: &mut Lab, node: usize, settings: &[&str]) -> Result<()> {
    let agent = &mut lab.nodes[node].agent;
    let range = format!("nodePort.range={}", services::NODE_PORTS);
    let all = settings.iter().copied().chain([range.as_str()]);
    agent.extra = all.flat_map(|s| ["--set".into(), s.into()]).collect();
    agent.start()?;
    agent.wait_ready(Duration::from_secs(30))
}
