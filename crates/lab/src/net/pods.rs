//! What a CNI would do: pods, their wires, and the ways between nodes. Shunt knows nothing of it.

use super::netns::Netns;
use super::{plan, underlay};
use crate::sh;
use crate::topology::{Style, Topology};
use anyhow::Result;

/// The gateway that routed pods see; the node's end of each veth answers for it.
const GATEWAY4: &str = "169.254.1.1";
const GATEWAY6: &str = "fe80::1";
/// Bytes that VXLAN over IPv4 takes (RFC 7348).
const VXLAN_OVERHEAD: u32 = 50;

fn mtu(topology: &Topology) -> u32 {
    if topology.style == Style::Vxlan { topology.mtu - VXLAN_OVERHEAD } else { topology.mtu }
}

/// Prepares a node: its bridge or overlay device, and the ways to the other nodes' pods.
pub fn prepare_node(topology: &Topology, node: &Netns, i: usize) -> Result<()> {
    let mut lines = Vec::new();
    if topology.style != Style::Routed {
        let gateway = plan::pod_gateway(i);
        lines.extend([
            "link add cni0 type bridge".into(),
            format!("link set cni0 mtu {} up", mtu(topology)),
            format!("addr add {}/24 dev cni0", gateway.v4),
            format!("addr add {}/64 dev cni0 nodad", gateway.v6),
        ]);
    }
    if topology.style == Style::Vxlan {
        let (local, end) = (plan::node(i), plan::overlay(i));
        lines.extend([
            format!(
                "link add flannel.1 address {} type vxlan id 1 local {} dev eth0 dstport 8472 nolearning",
                overlay_mac(i),
                local.v4
            ),
            format!("link set flannel.1 mtu {} up", mtu(topology)),
            format!("addr add {}/32 dev flannel.1", end.v4),
            format!("addr add {}/128 dev flannel.1 nodad", end.v6),
        ]);
    }
    let mut forwarding = Vec::new();
    for other in (1..=topology.nodes).filter(|other| *other != i) {
        let [cidr4, cidr6] = plan::pod_cidrs(other);
        if topology.style == Style::Vxlan {
            let (end, mac) = (plan::overlay(other), overlay_mac(other));
            lines.push(format!("neigh add {} lladdr {mac} dev flannel.1 nud permanent", end.v4));
            lines.push(format!("neigh add {} lladdr {mac} dev flannel.1 nud permanent", end.v6));
            lines.push(format!("route add {cidr4} via {} dev flannel.1 onlink", end.v4));
            lines.push(format!("route add {cidr6} via {} dev flannel.1 onlink", end.v6));
            forwarding
                .push(format!("fdb append {mac} dst {} dev flannel.1 self permanent", plan::node(other).v4));
        } else {
            let peer = plan::node(other);
            lines.push(format!("route add {cidr4} via {}", peer.v4));
            lines.push(format!("route add {cidr6} via {}", peer.v6));
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
    let (host_mac, host) = (format!("0a:00:00:00:02:{i:02x}"), format!("veth{i}"));
    let mut outside = vec![format!(
        "link add {host} address {host_mac} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {}",
        pod.name()
    )];
    let mut inside = vec!["link set eth0 up".into()];
    if topology.style == Style::Routed {
        outside.extend([
            format!("link set {host} up"),
            format!("addr add {GATEWAY4}/32 dev {host}"),
            format!("addr add {GATEWAY6}/64 dev {host} nodad"),
            format!("route add {}/32 dev {host}", a.v4),
            format!("route add {}/128 dev {host}", a.v6),
        ]);
        inside.extend([
            format!("addr add {}/32 dev eth0", a.v4),
            format!("addr add {}/128 dev eth0 nodad", a.v6),
            format!("neigh add {GATEWAY4} lladdr {host_mac} dev eth0 nud permanent"),
            format!("neigh add {GATEWAY6} lladdr {host_mac} dev eth0 nud permanent"),
            format!("route add {GATEWAY4} dev eth0 scope link"),
            format!("route add default via {GATEWAY4} dev eth0"),
            format!("route add default via {GATEWAY6} dev eth0"),
        ]);
    } else {
        let gateway = plan::pod_gateway(n);
        outside.push(format!("link set {host} master cni0 up"));
        inside.extend([
            format!("addr add {}/24 dev eth0", a.v4),
            format!("addr add {}/64 dev eth0 nodad", a.v6),
            format!("route add default via {}", gateway.v4),
            format!("route add default via {}", gateway.v6),
        ]);
    }
    node.ip(&outside)?;
    pod.ip(&inside)?;
    Ok(pod)
}
