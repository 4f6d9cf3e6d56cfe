//! What differs between IPv4 and IPv6, so that nothing else has to.

use crate::headers::{Ip4Header, Ip6Header};
use crate::maps::Scratch;
use crate::steps::parse::Parsed;
use crate::{config, maps, packet};
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::bpf_map_lookup_elem;
use shunt_common::{
    Addr, Backend, Device, Flow, FlowKey, Fragment, FragmentKey, Frontend, FrontendKey, Ip4, Ip6, Proto,
    RangeKey, SERVICE_CIDRS, client, feature,
};

/// The TTL of what we send ourselves (RFC 1340).
const TTL: u8 = 64;

/// An address family: its maps, its header, its constants.
pub trait Family: Addr {
    /// Index in `ring_head`.
    const INDEX: u32;
    /// AF_INET or AF_INET6.
    const AF: u8;
    /// EtherType in network order.
    const ETHERTYPE: u16;
    /// The feature bit that turns the family on.
    const FEATURE: u32;
    /// The source that the FIB tells is the one that the route asks for, or the device's primary address. For IPv6 the kernel
    /// chooses among all addresses, often the newest: one that moves between nodes would be taken for the node's own.
    const ROUTE_NAMES_SOURCE: bool;
    /// ICMP of this family.
    const ICMP: Proto;
    /// Type of an echo request, and of its reply.
    const ECHO: (u8, u8);
    /// The ICMP types, as bits, of errors that quote the packet they are about.
    const ERRORS: u32;
    /// Whether the sum of ICMP covers the addresses (RFC 4443 2.3).
    const ICMP_COVERS_ADDRESSES: bool;
    /// What kind of session affinity client an address, and a network namespace, is.
    const CLIENT: (u32, u32);
    /// Length of the fixed IP header.
    const HEADER: u32;
    /// The fixed IP header.
    type Header: Copy;

    /// From up to four words, as in `struct bpf_fib_lookup`.
    fn to_words(self) -> [u32; 4];
    /// Back from [`Self::to_words`].
    fn from_words(words: &[u32; 4]) -> Self;
    /// The row of a frontend.
    fn frontend(key: &FrontendKey<Self>) -> Option<*const Frontend>;
    /// The row of a backend id.
    fn backend(id: u32) -> Option<*const Backend<Self>>;
    /// The row of a flow.
    fn flow(key: &FlowKey<Self>) -> Option<*mut Flow<Self>>;
    /// Whether an address is in one of a service's source ranges.
    fn in_ranges(key: &RangeKey<Self>) -> bool;
    /// Whether an address lies in a ServiceCIDR.
    fn in_service_cidr(self) -> bool;
    /// Adds a flow row; an error when one is there already or the table is full.
    fn insert_flow(key: &FlowKey<Self>, row: &Flow<Self>) -> Result<(), i32>;
    /// Removes a flow row.
    fn remove_flow(key: &FlowKey<Self>);
    /// A slot of this CPU's ring of unconfirmed flows.
    fn ring(slot: u32) -> Option<*mut FlowKey<Self>>;
    /// The row of a datagram whose first fragment was translated.
    fn fragment(key: &FragmentKey<Self>) -> Option<*const Fragment<Self>>;
    /// Remembers where the fragments of a datagram go; the oldest is forgotten when there is no room.
    fn remember_fragment(key: &FragmentKey<Self>, row: &Fragment<Self>);
    /// This CPU's room for a flow in the making.
    fn scratch() -> Option<*mut Scratch<Self>>;
    /// This CPU's room for what was read of a packet.
    fn parsed() -> Option<*mut Parsed<Self>>;
    /// A device's address of this family.
    fn device_addr(device: &Device) -> Self;
    /// The node's address of this family.
    fn node_addr() -> Self;
    /// Flags of checksum updates for this family.
    fn csum_kind() -> u64;
    /// Writes addresses, and counts `hops` off the TTL; keeps the header's own sum right.
    fn write_header(header: &mut Self::Header, src: Self, dst: Self, delta: u32, hops: u8);
    /// Sends the header back to where it came from, with a TTL of 64; keeps its own sum right.
    fn turn_header(header: &mut Self::Header);
}

macro_rules! family_maps {
    ($frontends:ident, $backends:ident, $flows:ident, $ring:ident, $scratch:ident, $parsed:ident, $ranges:ident, $cidrs:ident, $fragments:ident) => {
        #[inline(always)]
        fn frontend(key: &FrontendKey<Self>) -> Option<*const Frontend> {
            maps::$frontends.get_ptr(key)
        }
        #[inline(always)]
        fn backend(id: u32) -> Option<*const Backend<Self>> {
            maps::$backends.get_ptr(id)
        }
        #[inline(always)]
        fn flow(key: &FlowKey<Self>) -> Option<*mut Flow<Self>> {
            maps::$flows.get_ptr_mut(key)
        }
        #[inline(always)]
        fn in_ranges(key: &RangeKey<Self>) -> bool {
            // SAFETY: the map's key has the layout of `RangeKey`, which aya spells as a packed pair.
            let row = unsafe {
                bpf_map_lookup_elem((&raw const maps::$ranges).cast_mut().cast(), (&raw const *key).cast())
            };
            !row.is_null()
        }
        #[inline(always)]
        fn in_service_cidr(self) -> bool {
            let Some(all) = maps::SERVICE_CIDRS.get_ptr(0) else { return false };
            let mut i = 0;
            while i < SERVICE_CIDRS {
                // SAFETY: a row of an array map lives as long as the program.
                if unsafe { (*all).$cidrs[i].contains(&self) } {
                    return true;
                }
                i += 1;
            }
            false
        }
        #[inline(always)]
        fn insert_flow(key: &FlowKey<Self>, row: &Flow<Self>) -> Result<(), i32> {
            maps::$flows.insert(key, row, u64::from(BPF_NOEXIST))
        }
        #[inline(always)]
        fn remove_flow(key: &FlowKey<Self>) {
            // Another CPU may have removed it first; either way it is gone.
            let _ = maps::$flows.remove(key);
        }
        #[inline(always)]
        fn ring(slot: u32) -> Option<*mut FlowKey<Self>> {
            maps::$ring.get_ptr_mut(slot)
        }
        #[inline(always)]
        fn fragment(key: &FragmentKey<Self>) -> Option<*const Fragment<Self>> {
            maps::$fragments.get_ptr(key)
        }
        #[inline(always)]
        fn remember_fragment(key: &FragmentKey<Self>, row: &Fragment<Self>) {
            // Without a row the later fragments are lost, and counted.
            let _ = maps::$fragments.insert(key, row, 0);
        }
        #[inline(always)]
        fn scratch() -> Option<*mut Scratch<Self>> {
            maps::$scratch.get_ptr_mut(0)
        }
        #[inline(always)]
        fn parsed() -> Option<*mut Parsed<Self>> {
            maps::$parsed.get_ptr_mut(0)
        }
    };
}

impl Family for Ip4 {
    const INDEX: u32 = 0;
    const AF: u8 = 2;
    const ETHERTYPE: u16 = 0x0800u16.to_be();
    const FEATURE: u32 = feature::IPV4;
    const ROUTE_NAMES_SOURCE: bool = true;
    const ICMP: Proto = Proto::Icmp;
    const ECHO: (u8, u8) = (8, 0);
    // Destination unreachable, time exceeded, parameter problem (RFC 792).
    const ERRORS: u32 = 1 << 3 | 1 << 11 | 1 << 12;
    const ICMP_COVERS_ADDRESSES: bool = false;
    const CLIENT: (u32, u32) = (client::ADDR4, client::NETNS4);
    const HEADER: u32 = 20;
    type Header = Ip4Header;

    family_maps!(FRONTENDS4, BACKENDS4, FLOWS4, RING4, SCRATCH4, PARSED4, SOURCE_RANGES4, v4, FRAGMENTS4);

    #[inline(always)]
    fn to_words(self) -> [u32; 4] {
        [self.0[0], 0, 0, 0]
    }
    #[inline(always)]
    fn from_words(words: &[u32; 4]) -> Self {
        Self([words[0]])
    }
    #[inline(always)]
    fn device_addr(device: &Device) -> Self {
        device.addr4
    }
    #[inline(always)]
    fn node_addr() -> Self {
        config::node4()
    }
    #[inline(always)]
    fn csum_kind() -> u64 {
        0
    }
    #[inline(always)]
    fn write_header(header: &mut Ip4Header, src: Self, dst: Self, delta: u32, hops: u8) {
        header.src = src.0[0];
        header.dst = dst.0[0];
        header.ttl -= hops;
        // The TTL is the first octet of its 16-bit word: in memory order, the low byte.
        let ttl = shunt_common::csum::delta(u32::from(hops), 0);
        header.check = shunt_common::csum::update(header.check, shunt_common::csum::add(delta, ttl));
    }
    #[inline(always)]
    fn turn_header(header: &mut Ip4Header) {
        let ttl = shunt_common::csum::delta(u32::from(header.ttl), u32::from(TTL));
        (header.src, header.dst, header.ttl) = (header.dst, header.src, TTL);
        header.check = shunt_common::csum::update(header.check, ttl);
    }
}

impl Family for Ip6 {
    const INDEX: u32 = 1;
    const AF: u8 = 10;
    const ETHERTYPE: u16 = 0x86ddu16.to_be();
    const FEATURE: u32 = feature::IPV6;
    const ROUTE_NAMES_SOURCE: bool = false;
    const ICMP: Proto = Proto::Icmp6;
    const ECHO: (u8, u8) = (128, 129);
    // Destination unreachable, packet too big, time exceeded, parameter problem (RFC 4443).
    const ERRORS: u32 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4;
    const ICMP_COVERS_ADDRESSES: bool = true;
    const CLIENT: (u32, u32) = (client::ADDR6, client::NETNS6);
    const HEADER: u32 = 40;
    type Header = Ip6Header;

    family_maps!(FRONTENDS6, BACKENDS6, FLOWS6, RING6, SCRATCH6, PARSED6, SOURCE_RANGES6, v6, FRAGMENTS6);

    #[inline(always)]
    fn to_words(self) -> [u32; 4] {
        self.0
    }
    #[inline(always)]
    fn from_words(words: &[u32; 4]) -> Self {
        Self(*words)
    }
    #[inline(always)]
    fn device_addr(device: &Device) -> Self {
        device.addr6
    }
    #[inline(always)]
    fn node_addr() -> Self {
        config::node6()
    }
    #[inline(always)]
    fn csum_kind() -> u64 {
        if config::has(feature::CSUM_IPV6) { packet::KIND_IPV6 } else { 0 }
    }
    #[inline(always)]
    fn write_header(header: &mut Ip6Header, src: Self, dst: Self, _delta: u32, hops: u8) {
        header.src = src.0;
        header.dst = dst.0;
        header.hop_limit -= hops;
    }
    #[inline(always)]
    fn turn_header(header: &mut Ip6Header) {
        (header.src, header.dst, header.hop_limit) = (header.dst, header.src, TTL);
    }
}
