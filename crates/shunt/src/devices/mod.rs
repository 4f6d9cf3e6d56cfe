//! Which interfaces are devices and which lead to pods; followed live by netlink.

mod classify;
mod netlink;
mod pattern;

pub use classify::{Classified, DeviceInfo, classify};
pub use netlink::{Monitor, monitor};
pub use pattern::Patterns;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What kind of link an interface is, as far as it matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkKind {
    /// Hardware, bond, VLAN and all that is not below.
    Plain,
    /// The loopback.
    Loopback,
    /// One end of a virtual cable; `true` when the other end is in another network namespace.
    Veth(bool),
    /// A bridge.
    Bridge,
    /// A tunnel or overlay: vxlan, geneve, ipip, sit, gre, wireguard, tun.
    Overlay,
    /// A VRF, whose members stay devices of their own.
    Vrf,
    /// A dummy, ifb and the like, which no packet arrives from.
    Dummy,
}

/// What an interface's packets begin with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkLayer {
    /// An Ethernet header.
    Ethernet,
    /// Their IP header: tun devices, WireGuard, IP in IP, SIT, GRE.
    None,
    /// Something else (PPP, InfiniBand, the tag of a VLAN with `reorder_hdr off`), which no program of ours reads.
    Other,
}

/// An interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// Name.
    pub name: String,
    /// Kind.
    pub kind: LinkKind,
    /// What its packets begin with.
    pub layer: LinkLayer,
    /// The bridge or bond that it is part of.
    pub controller: Option<u32>,
    /// The interface that it sits on, as a VLAN or macvlan does.
    pub over: Option<u32>,
    /// The longest IP packet that it sends, in bytes.
    pub mtu: u32,
}

/// An address of an interface.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Address {
    /// The address.
    pub addr: IpAddr,
    /// Its prefix length.
    pub prefix: u8,
    /// Reaches further than its link, and is neither failed nor temporary.
    pub global: bool,
    /// Another address of the same subnet came before it.
    pub secondary: bool,
}

/// The network namespace's links, addresses and default routes by interface index.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct NetState {
    /// Links.
    pub links: BTreeMap<u32, Link>,
    /// Addresses in the kernel's order.
    pub addresses: BTreeMap<u32, Vec<Address>>,
    /// Links with a default route; metric and link, the preferred first.
    pub default_routes: BTreeSet<(u32, u32)>,
}
