//! The wires below any CNI: client - router - nodes.

use super::netns::Netns;
use super::plan;
use crate::topology::Topology;
use anyhow::Result;

/// Sysctls of a namespace that forwards.
pub const FORWARDS: [(&str, &str); 3] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv6/conf/default/accept_dad", "0"),
];

/// Sysctls of a namespace that does not.
pub const ENDS: [(&str, &str); 1] = [("net/ipv6/conf/default/accept_dad", "0")];

/// The router, with a bridge that all nodes hang on, and the client.
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
    let n = plan::router_to_nodes();
    let mut lines = vec![
        format!("link add clients type veth peer name eth0 netns {}", client.name()),
        "link set clients up".into(),
        "link add nodes type bridge".into(),
        "link set nodes up".into(),
        format!("addr add {}/24 dev clients", r.v4),
        format!("addr add {}/64 dev clients nodad", r.v6),
        format!("addr add {}/24 dev nodes", n.v4),
        format!("addr add {}/64 dev nodes nodad", n.v6),
    ];
    let first = plan::node(1);
    for [v4, v6] in [plan::BALANCER, plan::EXTERNAL] {
        lines.push(format!("route add {v4} via {}", first.v4));
        lines.push(format!("route add {v6} via {}", first.v6));
    }
    router.ip(&lines)?;
    client.ip(&[
        "link set eth0 up".into(),
        format!("addr add {}/24 dev eth0", c.v4),
        format!("addr add {}/64 dev eth0 nodad", c.v6),
        format!("route add default via {}", r.v4),
        format!("route add default via {}", r.v6),
    ])?;
    Ok(Underlay { router, client })
}

/// Makes a node's namespace and hangs it on the router's bridge.
pub fn add_node(topology: &Topology, underlay: &Underlay, i: usize) -> Result<Netns> {
    let node = Netns::new(topology.netns(&format!("node{i}")), &FORWARDS)?;
    let (a, r) = (plan::node(i), plan::router_to_nodes());
    underlay.router.ip(&[
        format!("link add node{i} type veth peer name eth0 netns {}", node.name()),
        format!("link set node{i} master nodes up"),
    ])?;
    node.ip(&[
        format!("link set eth0 mtu {} up", topology.mtu),
        format!("addr add {}/24 dev eth0", a.v4),
        format!("addr add {}/64 dev eth0 nodad", a.v6),
        format!("route add default via {}", r.v4),
        format!("route add default via {}", r.v6),
    ])?;
    Ok(node)
}
