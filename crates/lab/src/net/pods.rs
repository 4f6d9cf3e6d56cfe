//! What a CNI would do: pods, their wires, and the ways between nodes. Shunt knows nothing of it.

use super::netns::Netns;
use super::{plan, underlay};
use crate::sh;
use crate::topology::{Style, Topology};
use anyhow::Result;
use std::net::Ipv6Addr;

/// The gateway that routed pods see. Nobody has these addresses: pods know by heart the MAC address behind them, which is
/// the node's end of their veth.
const GATEWAY: plan::Addresses = plan::Addresses {
    v4: std::net::Ipv4Addr::new(169, 254, 1, 1),
    v6: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
};

/// The MTU of pods: what an overlay leaves of the underlay's (RFC 7348: 50 bytes over IPv4, 70 over IPv6).
pub fn mtu(topology: &Topology) -> u32 {
    match topology.style {
        Style::Routed | Style::Bridge => topology.mtu,
        Style::Vxlan if topology.families.first_is_v6() => topology.mtu - 70,
        Style::Vxlan => topology.mtu - 50,
    }
}

/// Prepares a node: its bridge or overlay device, and the ways to the other nodes' pods.
pub fn prepare_node(topology: &Topology, node: &Netns, i: usize) -> Result<()> {
    let mut lines = Vec::new();
    if topology.style != Style::Routed {
        lines.extend(["link add cni0 type bridge".into(), format!("link set cni0 mtu {} up", mtu(topology))]);
        lines.extend(topology.lines(|v6| plan::pod_gateway(i).on("cni0", v6)));
    }
    if topology.style == Style::Vxlan {
        lines.push(format!(
            "link add flannel.1 address {} type vxlan id 1 local {} dev eth0 dstport 8472 nolearning",
            overlay_mac(i),
            plan::node(i).of(topology.families.first_is_v6())
        ));
        lines.push(format!("link set flannel.1 mtu {} up", mtu(topology)));
        lines.extend(topology.lines(|v6| plan::overlay(i).alone_on("flannel.1", v6)));
    }
    let mut forwarding = Vec::new();
    for other in (1..=topology.nodes).filter(|other| *other != i) {
        let cidrs = plan::pod_cidrs(other);
        if topology.style == Style::Vxlan {
            let (end, mac) = (plan::overlay(other), overlay_mac(other));
            lines
                .extend(topology.lines(|v6| {
                    format!("neigh add {} lladdr {mac} dev flannel.1 nud permanent", end.of(v6))
                }));
            lines.extend(topology.lines(|v6| {
                format!("route add {} via {} dev flannel.1 onlink", cidrs[usize::from(v6)], end.of(v6))
            }));
            let peer = plan::node(other).of(topology.families.first_is_v6());
            forwarding.push(format!("fdb append {mac} dst {peer} dev flannel.1 self permanent"));
        } else {
            let peer = plan::node(other);
            lines.extend(
                topology.lines(|v6| format!("route add {} via {}", cidrs[usize::from(v6)], peer.of(v6))),
            );
        }
    }
    node.ip(&lines)?;
    if forwarding.is_empty() { Ok(()) } else { sh::bridge_batch(node.name(), &forwarding) }
}

fn overlay_mac(node: usize) -> String {
    format!("0a:00:00:00:01:{node:02x}")
}

/// Makes a pod's namespace and wires it to its node.
pub fn add_pod(topology: &Topology, node: &Netns, n: usize, i: usize) -> Result<Netns> {
    let pod = Netns::new(topology.netns(&format!("pod{n}-{i}")), &underlay::ENDS)?;
    let (a, mtu) = (plan::pod(n, i), mtu(topology));
    let (mac, host) = (format!("0a:00:00:00:02:{i:02x}"), format!("veth{i}"));
    let mut outside = vec![format!(
        "link add {host} address {mac} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {}",
        pod.name()
    )];
    let mut inside = vec!["link set eth0 up".into()];
    if topology.style == Style::Routed {
        outside.push(format!("link set {host} up"));
        outside.extend(topology.lines(|v6| format!("route add {} dev {host}", a.of(v6))));
        inside.extend(topology.lines(|v6| a.alone_on("eth0", v6)));
        inside.extend(
            topology.lines(|v6| format!("neigh add {} lladdr {mac} dev eth0 nud permanent", GATEWAY.of(v6))),
        );
        inside.push(format!("route add {} dev eth0 scope link", GATEWAY.v4));
        inside.extend(topology.lines(|v6| format!("route add default via {} dev eth0", GATEWAY.of(v6))));
    } else {
        outside.push(format!("link set {host} master cni0 up"));
        inside.extend(topology.lines(|v6| a.on("eth0", v6)));
        inside.extend(topology.lines(|v6| format!("route add default via {}", plan::pod_gateway(n).of(v6))));
    }
    node.ip(&outside)?;
    pod.ip(&inside)?;
    Ok(pod)
}
