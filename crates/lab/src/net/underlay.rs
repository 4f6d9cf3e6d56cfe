//! The wires below any CNI: client - router - nodes.

use super::netns::Netns;
use super::plan;
use crate::topology::{Style, Topology};
use anyhow::Result;

/// Sysctls of a namespace that forwards. Reverse path filtering is loose, as systemd sets it on Debian and Ubuntu. Kernels send
/// a peer one ICMP error a second, which would make silence of every other refusal in a row of them; and they take a router's
/// word for a shorter way than the one that was laid.
pub const FORWARDS: [(&str, &str); 7] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/default/rp_filter", "2"),
    ("net/ipv4/icmp_ratelimit", "0"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/icmp/ratelimit", "0"),
];

/// Sysctls of a namespace that does not.
pub const ENDS: [(&str, &str); 4] = [
    ("net/ipv4/conf/default/rp_filter", "2"),
    ("net/ipv4/icmp_ratelimit", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/icmp/ratelimit", "0"),
];

/// The router, with a bridge for each device of the nodes, and the client.
pub struct Underlay {
    /// Between clients and nodes.
    pub router: Netns,
    /// Outside.
    pub client: Netns,
}

/// Makes router and client.
pub fn build(topology: &Topology) -> Result<Underlay> {
    let router = Netns::new(topology.netns("router"), &FORWARDS)?;
    let client = Netns::new(topology.netns("client"), &ENDS)?;
    let (r, c) = (plan::router_to_clients(), plan::client());
    let mut lines = vec![
        format!("link add clients type veth peer name eth0 netns {}", client.name()),
        "link set clients up".into(),
    ];
    lines.extend(topology.lines(|v6| r.on("clients", v6)));
    for device in 0..topology.devices {
        let bridge = bridge(device);
        lines.extend([format!("link add {bridge} type bridge"), format!("link set {bridge} up")]);
        lines.extend(topology.lines(|v6| plan::router_on(device).on(&bridge, v6)));
    }
    lines.extend(routes(topology));
    router.ip(&lines)?;
    let mut lines = vec!["link set eth0 up".into()];
    lines.extend(topology.lines(|v6| c.on("eth0", v6)));
    lines.extend(topology.lines(|v6| format!("route add default via {}", r.of(v6))));
    client.ip(&lines)?;
    Ok(Underlay { router, client })
}

/// What the router knows beyond its own networks: addresses of services, and pods when no overlay hides them.
fn routes(topology: &Topology) -> Vec<String> {
    let first = plan::node_on(1, topology.devices - 1);
    let mut lines = Vec::new();
    for nets in [plan::BALANCER, plan::EXTERNAL] {
        lines
            .extend(topology.lines(|v6| format!("route add {} via {}", nets[usize::from(v6)], first.of(v6))));
    }
    if topology.style != Style::Vxlan {
        for i in 1..=topology.nodes {
            let (cidrs, node) = (plan::pod_cidrs(i), plan::node(i));
            // The metric leaves room for a better route that an experiment adds.
            lines.extend(
                topology.lines(|v6| {
                    format!("route add {} via {} metric 2048", cidrs[usize::from(v6)], node.of(v6))
                }),
            );
        }
    }
    lines
}

/// The router's bridge that all nodes' devices of a number hang on.
fn bridge(device: usize) -> String {
    if device == 0 { "nodes".into() } else { format!("nodes{device}") }
}

/// Makes a node's namespace and hangs its devices on the router's bridges.
pub fn add_node(topology: &Topology, underlay: &Underlay, i: usize) -> Result<Netns> {
    let node = Netns::new(topology.netns(&format!("node{i}")), &FORWARDS)?;
    let mtu = topology.mtu;
    let (mut outside, mut inside) = (Vec::new(), Vec::new());
    for device in 0..topology.devices {
        let (port, dev) = (format!("node{i}-{device}"), format!("eth{device}"));
        outside.push(format!(
            "link add {port} mtu {mtu} type veth peer name {dev} mtu {mtu} netns {}",
            node.name()
        ));
        outside.push(format!("link set {port} master {} up", bridge(device)));
        inside.push(format!("link set {dev} up"));
        inside.extend(topology.lines(|v6| plan::node_on(i, device).on(&dev, v6)));
    }
    let router = plan::router_to_nodes();
    inside.extend(topology.lines(|v6| format!("route add default via {}", router.of(v6))));
    underlay.router.ip(&outside)?;
    node.ip(&inside)?;
    Ok(node)
}
