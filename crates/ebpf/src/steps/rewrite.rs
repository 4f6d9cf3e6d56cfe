//! Writing a row's tuple into a packet.

use crate::family::Family;
use crate::headers::{ETH_LEN, SctpHeader, TcpHeader, UdpHeader};
use crate::packet::{KIND_UDP, Packet};
use crate::steps::fragments;
use crate::steps::parse::{Parsed, bounded, reach};
use aya_ebpf::helpers::generated::bpf_loop;
use core::ffi::c_void;
use shunt_common::{Flow, FlowKey, crc32c};

/// The two ports as one word in memory order.
#[inline(always)]
fn ports<A>(key: &FlowKey<A>) -> u32 {
    u32::from(key.sport.0) | u32::from(key.dport.0) << 16
}

/// Gives the packet the row's tuple and takes `hops` off its TTL. `false` when the kernel refuses; the packet must then
/// be dropped, since it may be half written.
#[inline(always)]
pub fn rewrite<P: Packet, A: Family>(pkt: P, p: &Parsed<A>, row: &Flow<A>, hops: u8) -> bool {
    if p.fragment {
        fragments::remember(p, row);
    }
    let old = ports(&p.key);
    let new = u32::from(row.sport.0) | u32::from(row.dport.0) << 16;
    if p.is_sctp() {
        return rewrite_sctp(pkt, p, old, new) && rewrite_addresses(pkt, row, hops);
    }
    let (check, kind) = if p.is_udp() {
        (core::mem::offset_of!(UdpHeader, check), KIND_UDP | A::csum_kind())
    } else {
        (core::mem::offset_of!(TcpHeader, check), A::csum_kind())
    };
    if !pkt.fix_l4_csum(p.l4 + check as u32, kind, row.delta, old, new) {
        return false;
    }
    // The checksum helper has made the headers writable and may have moved them: look again.
    let Some(transport) = pkt.at::<u32>(bounded(p.l4)) else { return false };
    // SAFETY: `at` checked the bounds.
    unsafe { *transport = new };
    rewrite_addresses(pkt, row, hops)
}

/// SCTP's sum does not cover addresses, but all of its own packet.
#[inline(never)]
fn rewrite_sctp<P: Packet, A>(pkt: P, p: &Parsed<A>, old: u32, new: u32) -> bool {
    let mut ports = Ports { len: p.l4_len, change: old ^ new };
    // A helper's loop: the verifier looks at its body once.
    // SAFETY: the callback has the signature that bpf_loop wants, and the context outlives the call.
    unsafe {
        bpf_loop(crc32c::POWERS as u32, shift as *mut c_void, (&raw mut ports).cast(), 0);
    }
    let Some(header) = reach::<P, SctpHeader>(pkt, p.l4) else { return false };
    // SAFETY: `reach` gave a pointer to a whole header.
    unsafe {
        // Zero: left to the NIC, or to the kernel in its place, which sums the field up as it stands.
        if (*header).check != 0 {
            (*header).check ^= ports.change;
        }
        *header.cast::<u32>() = new;
    }
    true
}

/// A change of ports on its way to becoming a change of the sum.
#[repr(C)]
struct Ports {
    len: u32,
    change: u32,
}

/// One step of [`crc32c`]; never ends the loop early.
extern "C" fn shift(k: u32, ports: *mut Ports) -> i64 {
    // SAFETY: the context of the loop.
    let ports = unsafe { &mut *ports };
    ports.change = crc32c::step(k as usize, ports.len, ports.change);
    0
}

/// The IP header, whose own sum is kept right.
#[inline(always)]
fn rewrite_addresses<P: Packet, A: Family>(pkt: P, row: &Flow<A>, hops: u8) -> bool {
    let Some(header) = pkt.at::<A::Header>(ETH_LEN) else { return false };
    // SAFETY: `at` checked the bounds.
    A::write_header(unsafe { &mut *header }, row.src, row.dst, row.delta, hops);
    true
}
