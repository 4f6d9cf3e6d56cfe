//! `shunt check`: whether this node and its network can carry a configuration, found out without starting anything.
//!
//! [`node`] looks at the kernel and the file systems, [`devices`] at the interfaces, [`network`] sends probes to other nodes.

mod devices;
mod network;
mod packet;
mod peers;
mod row;
mod wire;

pub use row::{Row, Verdict};

use crate::config::Config;
use crate::devices::{Patterns, classify, monitor};
use peers::Peer;
use std::net::IpAddr;

/// Looks at everything; `named` are addresses of other nodes or their pods, in place of those that the API tells.
pub async fn run(config: &Config, named: &[IpAddr]) -> Vec<Row> {
    let mut rows = node(config);
    let (peers, mut node_ips) = match peers::find(config, named).await {
        Ok(found) => {
            rows.extend(found.row);
            (found.peers, found.own)
        }
        Err(row) => {
            rows.push(row);
            (Vec::new(), Vec::new())
        }
    };
    node_ips.extend(config.node_address());
    let state = match monitor() {
        Ok(monitor) => monitor.read().await,
        Err(error) => Err(error),
    };
    match state {
        Ok(state) => {
            let patterns = Patterns::new(config.resolved.list("devices"));
            rows.extend(devices::rows(config, &classify(&state, &patterns, &node_ips)));
        }
        Err(error) => rows.push(Row::fail("devices", "", error, "run it in the node's network namespace")),
    }
    rows.extend(probes(config, peers).await);
    rows
}

/// What the datapath needs of the node.
fn node(config: &Config) -> Vec<Row> {
    let settings = match config.datapath_settings() {
        Ok(settings) => settings,
        Err(error) => return vec![Row::fail("settings", "", error, "")],
    };
    let needs = shunt_datapath::examine::node(&settings);
    let row = |need: shunt_datapath::examine::Need| match need.found {
        Ok(found) => Row::pass(need.what, "", found),
        // These say what to do themselves.
        Err(error) => Row::fail(need.what, "", error.to_string(), ""),
    };
    needs.into_iter().map(row).collect()
}

/// What the network between nodes makes of the packets that direct server return sends.
async fn probes(config: &Config, peers: Vec<Peer>) -> Vec<Row> {
    if config.resolved.text("loadBalancer.mode") == "snat" {
        let found = "not asked for: loadBalancer.mode is snat";
        let todo = "shunt check --set loadBalancer.mode=dsr tells whether the network could carry it";
        return vec![Row { todo: todo.into(), ..Row::pass("dsr", "", found) }];
    }
    let dispatch = config.resolved.text("loadBalancer.dsrDispatch").to_owned();
    let families = [config.resolved.bool("ipv4.enabled"), config.resolved.bool("ipv6.enabled")];
    let done = tokio::task::spawn_blocking(move || network::rows(&dispatch, families, &peers)).await;
    done.unwrap_or_else(|error| vec![Row::fail("network", "", error.to_string(), "")])
}
