//! Load-time configuration of the eBPF programs.

use crate::{Ip4, Ip6, pod};

/// Read-only data of the programs, set before they are loaded: the verifier sees constants and prunes what is off.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Cookie of the node's network namespace (`SO_NETNS_COOKIE`), to tell the node's sockets from pods'.
    pub host_netns_cookie: u64,
    /// Ticks of the kernel's clock in a second (CONFIG_HZ), for stamps in jiffies.
    pub hz: u32,
    /// Bits of [`feature`].
    pub features: u32,
    /// SNAT source when the egress device has no address of its own, IPv4.
    pub node4: Ip4,
    /// SNAT source when the egress device has no address of its own, IPv6.
    pub node6: Ip6,
    /// First SNAT port, host order.
    pub snat_min: u16,
    /// Last SNAT port, host order.
    pub snat_max: u16,
    /// Slots of the unconfirmed ring on each CPU; a power of two.
    pub ring_size: u32,
    /// Values in a Maglev table, see [`crate::maglev`].
    pub maglev_size: u32,
    /// Seed of the hash that Maglev looks a flow up by; the same on every node.
    pub maglev_seed: u32,
    /// Always zero.
    pub pad: u32,
}

const _: () = assert!(size_of::<Config>() == 56);
pod!(Config);

/// Bits of [`Config::features`].
pub mod feature {
    /// The programs handle IPv4.
    pub const IPV4: u32 = 1 << 0;
    /// The programs handle IPv6.
    pub const IPV6: u32 = 1 << 1;
    /// `nodePort.bindProtection`.
    pub const BIND_PROTECTION: u32 = 1 << 2;
    /// The kernel's `bpf_l4_csum_replace` knows BPF_F_IPV6 (6.16).
    pub const CSUM_IPV6: u32 = 1 << 3;
    /// `socketLB.hostNamespaceOnly`: sockets of pods are left to the packet path.
    pub const HOST_NAMESPACE_ONLY: u32 = 1 << 4;
    /// Some pods have opted out of the socket path: their cgroups stand in the `opt_out` map.
    pub const OPT_OUT: u32 = 1 << 5;
    /// `loadBalancer.acceleration` is not `disabled`: devices may run XDP.
    pub const XDP: u32 = 1 << 8;
    /// The kernel's `bpf_fib_lookup` tells the source address that a route asks for (BPF_FIB_LOOKUP_SRC, 6.7).
    pub const FIB_SOURCE: u32 = 1 << 16;
    /// `loadBalancer.dsrDispatch: opt`: the service's address travels in an IPv4 option or an IPv6 destination option.
    pub const DSR_OPT: u32 = 1 << 20;
    /// `loadBalancer.dsrDispatch: ipip`: the client's packet travels whole, inside another IP header. Not with
    /// [`DSR_OPT`].
    pub const DSR_IPIP: u32 = 1 << 21;
    /// `loadBalancer.dsrDispatch: geneve`: packets that must say it travel inside UDP, with the service's address in an option
    /// of the tunnel's header. Neither with [`DSR_OPT`] nor with [`DSR_IPIP`].
    pub const DSR_GENEVE: u32 = 1 << 22;
    /// This node reaches remote backends by SNAT although services ask for DSR: its devices could not carry it. It takes
    /// part in other nodes' all the same.
    pub const DSR_BY_SNAT: u32 = 1 << 23;
    /// The programs for devices without a link layer header are loaded.
    pub const L3: u32 = 1 << 24;
}
