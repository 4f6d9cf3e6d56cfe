//! Access to a packet, the same for every hook that sees one.

use crate::config;
use crate::family::Family;
use crate::headers::ETH_LEN;
use crate::outcome::REDIRECT;
use aya_ebpf::bindings::{__sk_buff, bpf_redir_neigh};
use aya_ebpf::helpers::generated::{
    bpf_check_mtu, bpf_fib_lookup, bpf_l4_csum_replace, bpf_redirect, bpf_redirect_neigh,
    bpf_skb_adjust_room, bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_pull_data, bpf_skb_store_bytes,
};
use core::ffi::c_void;
use shunt_common::{Mark, csum, feature};

/// Pseudo-header flag of `bpf_l4_csum_replace`: the change is in addresses, which offloaded sums cover too.
const PSEUDO_HDR: u64 = 0x10;
/// Checksum kind: UDP. A sum of zero (none) is left alone, a computed zero is written as 0xffff (RFC 768).
pub const KIND_UDP: u64 = 0x20;
/// Checksum kind: the pseudo-header is IPv6's (BPF_F_IPV6, kernel 6.16): there the header has no sum of its own, so a
/// complete sum taken by the NIC stays what it is.
pub const KIND_IPV6: u64 = 0x80;

/// A packet in the hands of a hook. Offsets and lengths count from an Ethernet header, which a packet of a device without one
/// is taken to have ([`bare::Bare`]), so that every step finds the IP header at the same offset.
///
/// Pointers from [`Packet::at`] die at the next call that may move the packet: every method that takes an offset.
pub trait Packet: Copy {
    /// The stack has not seen the packet yet, nor has tc: what cannot be done here is passed up as it came.
    const AT_DRIVER: bool;

    /// Whole length in bytes.
    fn len(self) -> u32;
    /// The device it is on.
    fn ifindex(self) -> u32;
    /// The device it came in by; zero when this node made it.
    fn ingress_ifindex(self) -> u32;
    /// EtherType, network order, VLAN tags looked through.
    fn protocol(self) -> u16;
    /// The context to give to helpers.
    fn ctx(self) -> *mut c_void;
    /// A typed pointer into the packet, when it reaches that far in one piece.
    fn at<T>(self, offset: u32) -> Option<*mut T>;
    /// Makes the first `len` bytes writable and in one piece.
    fn pull(self, len: u32) -> bool;
    /// Copies bytes out.
    fn load<T: Copy>(self, offset: u32, to: &mut T) -> bool;
    /// Copies bytes in.
    fn store<T: Copy>(self, offset: u32, from: &T) -> bool;
    /// The same, and a sum that the NIC took of the whole packet follows the change.
    fn store_summed<T: Copy>(self, offset: u32, from: &T) -> bool;
    /// Whether [`Packet::open`] and [`Packet::cover`] have room for `len` bytes, which must be asked before anything is
    /// written where a packet that has none is passed on as it came.
    fn can_grow(self, len: u32) -> bool;
    /// Opens `len` bytes of room behind the family's fixed IP header. What stands there is undefined. Segments of a stream
    /// that the packet will be cut into are cut shorter by as much.
    fn open<A: Family>(self, len: u32, segments: Segments) -> bool;
    /// Takes `len` bytes away from behind the fixed IP header.
    fn close(self, len: u32) -> bool;
    /// Opens room for outer headers of `len` bytes in front of the packet's own, as [`Packet::open`] does.
    fn cover(self, len: u32, outer: Outer, segments: Segments) -> bool;
    /// Takes outer headers of `len` bytes away.
    fn uncover(self, len: u32) -> bool;
    /// Bytes that each of the segments carries which it will be cut into; zero when it will not be cut.
    fn segment(self) -> u32;
    /// Adjusts the transport checksum at `offset` for addresses that changed by `delta` and ports from `old` to `new`.
    /// `kind` is a set of `KIND_*` bits.
    fn fix_l4_csum(self, offset: u32, kind: u64, delta: u32, old: u32, new: u32) -> bool;
    /// Cuts or grows the packet to `len` bytes.
    fn resize(self, len: u32) -> bool;
    /// Whether the packet, or each of its segments, is too long for a device.
    fn exceeds_mtu(self, ifindex: u32, mtu: &mut u32) -> bool;
    /// Asks the FIB with a set of `FIB_*` flags; returns the kernel's BPF_FIB_LKUP_RET_* code or a negative error.
    fn fib(self, params: &mut Fib, flags: u32) -> i64;
    /// Whether [`Packet::send`] can send it out of a device.
    fn reaches(self, ifindex: u32) -> bool;
    /// Sends it out of a device as it is. Last step: the packet is gone.
    fn send(self, ifindex: u32) -> bool;
    /// Sends it out of a device to a next hop that the kernel resolves. Last step: the packet is gone.
    fn send_to_neighbour(self, ifindex: u32, family: u8, next_hop: &[u32; 4]) -> bool;
    /// Writes the link layer's addresses, the receiver's first.
    #[inline(always)]
    fn set_macs(self, macs: [[u8; 6]; 2]) -> bool {
        let Some(room) = self.at::<[[u8; 6]; 2]>(0) else { return false };
        // SAFETY: `at` checked the bounds.
        unsafe { *room = macs };
        true
    }
    /// Makes the link layer's sender its receiver.
    #[inline(always)]
    fn swap_macs(self) -> bool {
        let Some(macs) = self.at::<[[u8; 6]; 2]>(0) else { return false };
        // SAFETY: `at` checked the bounds.
        unsafe { *macs = [(*macs)[1], (*macs)[0]] };
        true
    }
    /// Whether XDP has found that no flow and no frontend of ours is concerned.
    fn is_settled(self) -> bool;
}

/// What a packet that will be cut into segments carries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Segments {
    /// Parts of a stream: segments may be cut shorter, to make room in each.
    Stream,
    /// Datagrams, whose length is what tells them apart.
    Datagrams,
}

/// What an outer header is; its value are the kernel's flags (`BPF_F_ADJ_ROOM_ENCAP_*`).
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Outer {
    /// IPv4.
    Ip4 = 2,
    /// IPv6.
    Ip6 = 4,
    /// UDP on IPv4, and what the tunnel has behind that.
    Udp4 = 2 | 16,
    /// The same on IPv6.
    Udp6 = 4 | 16,
}

/// `struct bpf_fib_lookup` (include/uapi/linux/bpf.h), with its unions resolved to what is used here.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Fib {
    pub family: u8,
    pub l4_proto: u8,
    pub sport: u16,
    pub dport: u16,
    /// In: length to check, zero to let the kernel look at the packet. Out: MTU of the route.
    pub mtu: u16,
    pub ifindex: u32,
    pub tos: u32,
    /// In: source, or zero. Out, with [`FIB_SOURCE`]: the source that the route asks for.
    pub src: [u32; 4],
    /// In: destination. Out: next hop.
    pub dst: [u32; 4],
    pub tbid: u32,
    pub smac: [u8; 6],
    pub dmac: [u8; 6],
}

const _: () = assert!(size_of::<Fib>() == 64);

/// `BPF_FIB_LOOKUP_SRC` (6.7): tell the source address that the route asks for, too.
pub const FIB_SOURCE: u32 = 1 << 4;

/// `BPF_MTU_CHK_SEGS`: look at the segments of a packet that the device will cut.
const MTU_SEGMENTS: u64 = 1;
/// `BPF_F_RECOMPUTE_CSUM`.
const RECOMPUTE: u64 = 1;
/// `BPF_ADJ_ROOM_NET`: behind the fixed IP header.
const BEHIND_IP: u32 = 0;
/// `BPF_ADJ_ROOM_MAC`: behind the link layer's header.
const BEFORE_IP: u32 = 1;
/// `BPF_F_ADJ_ROOM_FIXED_GSO`: segments keep their length of payload.
const FIXED_GSO: u64 = 1;

/// A packet at a tc hook.
#[derive(Clone, Copy)]
pub struct Skb(pub *mut __sk_buff);

/// Reads a context field in a way that LLVM neither moves nor turns into an argument of another function.
macro_rules! field {
    ($skb:expr, $name:ident) => {
        // SAFETY: the kernel hands a valid context to the program.
        unsafe { (&raw const (*$skb.0).$name).read_volatile() }
    };
}

pub mod bare;
// Below the macro, which it uses too.
pub mod xdp;

/// `PACKET_OTHERHOST` (include/uapi/linux/if_packet.h): a promiscuous device heard a frame for somebody else.
const OTHER_HOST: u32 = 3;
/// The VLAN's number in a tag (IEEE 802.1Q); zero is a mere priority.
const VLAN_ID: u32 = 0xfff;

impl Skb {
    /// Whether the frame is one of a VLAN of the interface's.
    #[inline(always)]
    pub fn is_tagged(self) -> bool {
        field!(self, vlan_present) != 0 && field!(self, vlan_tci) & VLAN_ID != 0
    }
    /// Whether the frame is for another host's MAC, so that the stack will drop it.
    #[inline(always)]
    pub fn is_foreign(self) -> bool {
        field!(self, pkt_type) == OTHER_HOST
    }
}

impl Packet for Skb {
    const AT_DRIVER: bool = false;

    #[inline(always)]
    fn len(self) -> u32 {
        field!(self, len)
    }
    #[inline(always)]
    fn ifindex(self) -> u32 {
        field!(self, ifindex)
    }
    #[inline(always)]
    fn ingress_ifindex(self) -> u32 {
        field!(self, ingress_ifindex)
    }
    #[inline(always)]
    fn protocol(self) -> u16 {
        field!(self, protocol) as u16
    }
    #[inline(always)]
    fn ctx(self) -> *mut c_void {
        self.0.cast()
    }

    #[inline(always)]
    fn at<T>(self, offset: u32) -> Option<*mut T> {
        let start = field!(self, data) as usize + offset as usize;
        let end = field!(self, data_end) as usize;
        if start + size_of::<T>() > end { None } else { Some(start as *mut T) }
    }

    #[inline(always)]
    fn pull(self, len: u32) -> bool {
        // SAFETY: the context is valid.
        unsafe { bpf_skb_pull_data(self.0, len) == 0 }
    }

    #[inline(always)]
    fn load<T: Copy>(self, offset: u32, to: &mut T) -> bool {
        // SAFETY: `to` is exactly the length given.
        unsafe {
            bpf_skb_load_bytes(self.0.cast(), offset, (&raw mut *to).cast(), size_of::<T>() as u32) == 0
        }
    }

    #[inline(always)]
    fn store<T: Copy>(self, offset: u32, from: &T) -> bool {
        // SAFETY: `from` is exactly the length given; the helper only reads it.
        unsafe {
            bpf_skb_store_bytes(
                self.0,
                offset,
                (&raw const *from).cast_mut().cast(),
                size_of::<T>() as u32,
                0,
            ) == 0
        }
    }

    #[inline(always)]
    fn store_summed<T: Copy>(self, offset: u32, from: &T) -> bool {
        let from = (&raw const *from).cast_mut().cast();
        // SAFETY: `from` is exactly the length given; the helper only reads it.
        unsafe { bpf_skb_store_bytes(self.0, offset, from, size_of::<T>() as u32, RECOMPUTE) == 0 }
    }

    /// The kernel makes room wherever it has memory.
    #[inline(always)]
    fn can_grow(self, _: u32) -> bool {
        true
    }

    #[inline(always)]
    fn open<A: Family>(self, len: u32, segments: Segments) -> bool {
        // Datagrams that will be cut apart keep their length: it is what tells them apart.
        let flags = if segments == Segments::Datagrams { FIXED_GSO } else { 0 };
        // SAFETY: the context is valid.
        unsafe { bpf_skb_adjust_room(self.0, len as i32, BEHIND_IP, flags) == 0 }
    }

    #[inline(always)]
    fn close(self, len: u32) -> bool {
        // SAFETY: the context is valid.
        unsafe { bpf_skb_adjust_room(self.0, -(len as i32), BEHIND_IP, FIXED_GSO) == 0 }
    }

    #[inline(always)]
    fn cover(self, len: u32, outer: Outer, segments: Segments) -> bool {
        let flags = outer as u64 | if segments == Segments::Datagrams { FIXED_GSO } else { 0 };
        // SAFETY: the context is valid.
        unsafe { bpf_skb_adjust_room(self.0, len as i32, BEFORE_IP, flags) == 0 }
    }

    #[inline(always)]
    fn uncover(self, len: u32) -> bool {
        // SAFETY: the context is valid.
        unsafe { bpf_skb_adjust_room(self.0, -(len as i32), BEFORE_IP, FIXED_GSO) == 0 }
    }

    #[inline(always)]
    fn segment(self) -> u32 {
        let bytes: u64;
        // SAFETY: a load of a field of a valid context. Spelled out, since LLVM else shares the field's address among several
        // reads, and the verifier refuses a load from a context pointer that was moved.
        unsafe {
            core::arch::asm!(
                "{bytes} = *(u32 *)({skb} + {at})",
                bytes = out(reg) bytes,
                skb = in(reg) self.0,
                at = const core::mem::offset_of!(__sk_buff, gso_size),
                options(readonly, nostack, preserves_flags),
            );
        }
        bytes as u32
    }

    #[inline(always)]
    fn fix_l4_csum(self, offset: u32, kind: u64, delta: u32, old: u32, new: u32) -> bool {
        // SAFETY: the context is valid. The helper knows about offloaded sums (CHECKSUM_PARTIAL) and does not touch
        // them for ports, which they do not cover yet.
        unsafe {
            let addresses = delta == 0
                || bpf_l4_csum_replace(self.0, offset, 0, u64::from(delta), PSEUDO_HDR | kind) == 0;
            let ports = old == new
                || bpf_l4_csum_replace(self.0, offset, 0, u64::from(csum::delta(old, new)), kind) == 0;
            addresses && ports
        }
    }

    #[inline(always)]
    fn resize(self, len: u32) -> bool {
        // SAFETY: the context is valid.
        unsafe { bpf_skb_change_tail(self.0, len, 0) == 0 }
    }

    #[inline(always)]
    fn exceeds_mtu(self, ifindex: u32, mtu: &mut u32) -> bool {
        exceeds_mtu(self, self.len(), ifindex, mtu)
    }

    #[inline(always)]
    fn fib(self, params: &mut Fib, flags: u32) -> i64 {
        fib(self, self.len(), params, flags)
    }

    #[inline(always)]
    fn reaches(self, _: u32) -> bool {
        true
    }

    #[inline(always)]
    fn send(self, ifindex: u32) -> bool {
        // SAFETY: no pointers.
        unsafe { bpf_redirect(ifindex, 0) == i64::from(REDIRECT) }
    }

    #[inline(always)]
    fn send_to_neighbour(self, ifindex: u32, family: u8, next_hop: &[u32; 4]) -> bool {
        // struct bpf_redir_neigh: a u32 family and 16 bytes of address.
        let mut params = [u32::from(family), next_hop[0], next_hop[1], next_hop[2], next_hop[3]];
        // SAFETY: `params` has the layout of struct bpf_redir_neigh and outlives the call.
        unsafe {
            bpf_redirect_neigh(
                ifindex,
                params.as_mut_ptr().cast::<bpf_redir_neigh>(),
                size_of::<bpf_redir_neigh>() as i32,
                0,
            ) == i64::from(REDIRECT)
        }
    }

    #[inline(always)]
    fn is_settled(self) -> bool {
        if !config::has(feature::XDP) {
            return false;
        }
        let start = field!(self, data_meta) as usize;
        if start + size_of::<Mark>() > field!(self, data) as usize {
            return false;
        }
        // SAFETY: the bounds were checked.
        unsafe { *(start as *const Mark) == Mark::new(config::host_netns_cookie(), self.ifindex()) }
    }
}

/// As [`Packet::exceeds_mtu`], of a packet of `len` bytes with its Ethernet header. The kernel is told the length of the IP
/// packet: by itself it would take the packet's headers for those that the device puts in front, which may have none.
#[inline(always)]
fn exceeds_mtu(skb: Skb, len: u32, ifindex: u32, mtu: &mut u32) -> bool {
    let whole = skb.segment() == 0;
    // Of what will be cut it looks at the segments, and takes no length.
    *mtu = if whole { len - ETH_LEN } else { 0 };
    let flags = if whole { 0 } else { MTU_SEGMENTS };
    // SAFETY: `mtu` outlives the call.
    unsafe { bpf_check_mtu(skb.0.cast(), ifindex, &raw mut *mtu, 0, flags) > 0 }
}

/// As [`Packet::fib`]. Here too the kernel must be told the length, or it counts what is no part of the IP packet; of what
/// will be cut into segments it takes none.
#[inline(always)]
fn fib(skb: Skb, len: u32, params: &mut Fib, flags: u32) -> i64 {
    if params.mtu == 0 && skb.segment() == 0 {
        params.mtu = (len - ETH_LEN) as u16;
    }
    // SAFETY: `Fib` has the layout of struct bpf_fib_lookup.
    unsafe { bpf_fib_lookup(skb.0.cast(), (&raw mut *params).cast(), size_of::<Fib>() as i32, flags) }
}
