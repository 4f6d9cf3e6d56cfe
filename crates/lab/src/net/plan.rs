//! The addresses of a lab. Everything is in namespaces, so every lab has the same.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Both addresses of a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Addresses {
    /// IPv4.
    pub v4: Ipv4Addr,
    /// IPv6.
    pub v6: Ipv6Addr,
}

impl Addresses {
    /// The one of a family.
    pub fn of(&self, v6: bool) -> IpAddr {
        if v6 { self.v6.into() } else { self.v4.into() }
    }

    /// The `ip` line that gives one of them to a device, in a network of 24 or 64 bits.
    pub fn on(&self, dev: &str, v6: bool) -> String {
        self.prefixed(dev, v6, [24, 64])
    }

    /// The `ip` line that gives one of them to a device, in a network of that address alone.
    pub fn alone_on(&self, dev: &str, v6: bool) -> String {
        self.prefixed(dev, v6, [32, 128])
    }

    fn prefixed(&self, dev: &str, v6: bool, bits: [u8; 2]) -> String {
        // Duplicate address detection would keep an IPv6 address unusable for a second.
        let more = if v6 { " nodad" } else { "" };
        format!("addr add {}/{} dev {dev}{more}", self.of(v6), bits[usize::from(v6)])
    }
}

fn both(v4: [u8; 4], v6: &str) -> Addresses {
    Addresses { v4: v4.into(), v6: v6.parse().expect("an address made of literals and numbers") }
}

/// The client outside.
pub fn client() -> Addresses {
    both([192, 168, 50, 2], "fd00:50::2")
}

/// The router on the clients' side.
pub fn router_to_clients() -> Addresses {
    both([192, 168, 50, 1], "fd00:50::1")
}

/// The router on the nodes' side, on the underlay of the nodes' first device; the API listens there too.
pub fn router_to_nodes() -> Addresses {
    router_on(0)
}

/// The router on the underlay of one of the nodes' devices, counted from 0.
pub fn router_on(device: usize) -> Addresses {
    both([192, 168, 60 + device as u8, 1], &format!("fd00:{}::1", 60 + device))
}

/// A node, counted from 1: its primary address, on its first device.
pub fn node(i: usize) -> Addresses {
    node_on(i, 0)
}

/// A node, counted from 1, on one of its devices, counted from 0.
pub fn node_on(i: usize, device: usize) -> Addresses {
    both([192, 168, 60 + device as u8, 10 + i as u8], &format!("fd00:{}::{}", 60 + device, 10 + i))
}

/// A pod of a node, both counted from 1.
pub fn pod(node: usize, i: usize) -> Addresses {
    both([10, 244, node as u8, 10 + i as u8], &format!("fd00:244:{node}::{}", 10 + i))
}

/// The gateway of a node's pods (bridge styles).
pub fn pod_gateway(node: usize) -> Addresses {
    both([10, 244, node as u8, 1], &format!("fd00:244:{node}::1"))
}

/// The node's end of the overlay.
pub fn overlay(node: usize) -> Addresses {
    both([10, 244, node as u8, 0], &format!("fd00:244:{node}::"))
}

/// The pod networks of a node.
pub fn pod_cidrs(node: usize) -> [String; 2] {
    [format!("10.244.{node}.0/24"), format!("fd00:244:{node}::/64")]
}

/// Networks that the lab's load balancer gives addresses from; the router sends them to the first node, by its last device.
pub const BALANCER: [&str; 2] = ["203.0.113.0/24", "fd00:1b::/112"];

/// Networks for externalIPs; the router sends them to the first node, by its last device.
pub const EXTERNAL: [&str; 2] = ["198.51.100.0/24", "fd00:e::/64"];

/// Networks of ClusterIPs.
pub const SERVICES: [&str; 2] = ["10.96.0.0/16", "fd00:10:96::/112"];

/// The port of the lab's API.
pub const API_PORT: u16 = 6443;
