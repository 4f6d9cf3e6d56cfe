//! Writing a row's tuple into a packet.

use crate::family::Family;
use crate::headers::{ETH_LEN, TcpHeader, UdpHeader};
use crate::packet::{KIND_UDP, Packet};
use crate::steps::parse::{Parsed, bounded};
use shunt_common::{Flow, FlowKey};

/// The two ports as one word in memory order.
#[inline(always)]
fn ports<A>(key: &FlowKey<A>) -> u32 {
    u32::from(key.sport.0) | u32::from(key.dport.0) << 16
}

/// Gives the packet the row's tuple and takes `hops` off its TTL. `false` when the kernel refuses; the packet must then
/// be dropped, since it may be half written.
#[inline(always)]
pub fn rewrite<P: Packet, A: Family>(pkt: P, p: &Parsed<A>, row: &Flow<A>, hops: u8) -> bool {
    let old = ports(&p.key);
    let new = u32::from(row.sport.0) | u32::from(row.dport.0) << 16;
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
    let Some(header) = pkt.at::<A::Header>(ETH_LEN) else { return false };
    // SAFETY: `at` checked the bounds.
    A::write_header(unsafe { &mut *header }, row.src, row.dst, row.delta, hops);
    true
}
