//! What an API can be told when it is made.

use super::history::Window;
use ipnet::IpNet;
use std::{net::IpAddr, ops::RangeInclusive, time::Duration};

/// Settings of an API.
#[derive(Debug, Clone)]
pub struct Options {
    /// Service networks; the first one's family is the cluster's default.
    pub service_cidrs: Vec<IpNet>,
    /// Node ports, in host order.
    pub node_ports: RangeInclusive<u16>,
    /// Addresses and port (host order) at which nodes reach this API: the endpoints of `default/kubernetes`.
    pub advertise: Option<(Vec<IpAddr>, u16)>,
    /// Whether the endpoint-slice controller runs.
    pub slices: bool,
    /// Networks that the load balancer controller hands ingress addresses from; empty means that it does not run.
    pub load_balancer_cidrs: Vec<IpNet>,
    /// How much past is kept for each kind.
    pub window: Window,
    /// How often an idle watch that asked for bookmarks gets one.
    pub bookmark_every: Duration,
    /// The version that `/version` tells, `1.32` for example; kubectl compares it with its own.
    pub version: (u32, u32),
}

impl Default for Options {
    fn default() -> Self {
        let net = |text: &str| text.parse().expect("a literal network");
        Self {
            service_cidrs: vec![net("10.96.0.0/16"), net("fd00:10:96::/112")],
            node_ports: 30_000..=32_767,
            advertise: None,
            slices: true,
            load_balancer_cidrs: Vec::new(),
            window: Window::default(),
            bookmark_every: Duration::from_secs(20),
            version: (1, 32),
        }
    }
}
