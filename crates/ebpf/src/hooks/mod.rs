//! One file a hook.

mod clock;
mod connect;
mod floor;
mod getpeername;
mod l3_egress;
mod l3_ingress;
mod pod_egress;
mod pod_ingress;
mod post_bind;
mod recvmsg;
mod sendmsg;
mod socket;
mod tc_egress;
mod tc_ingress;
mod translate;
mod xdp;

use crate::config;
use crate::family::Family;
use crate::outcome::{NEXT, Outcome, tc_verdict};
use crate::packet::{Packet, Skb};
use crate::steps::known::{Entered, Known};
use crate::steps::parse::Parsed;
use crate::steps::rewrite::rewrite;
use crate::steps::{fragments, known};
use aya_ebpf::bindings::__sk_buff;
use shunt_common::{Direction, Ip4, Ip6, Reason};

/// Runs a hook's instance for the packet's family. Other protocols go to the next program, and so do frames of a VLAN: they
/// meet us again on its own device.
#[inline(always)]
fn by_family(skb: *mut __sk_buff, v4: fn(Skb) -> i32, v6: fn(Skb) -> i32) -> i32 {
    let pkt = Skb(skb);
    if pkt.is_tagged() {
        return NEXT;
    }
    choose(pkt, v4, v6, NEXT)
}

/// Runs a hook's instance for the packet's family, when it is on; anything else is `other`'s.
#[inline(always)]
fn choose<P: Packet>(pkt: P, v4: fn(P) -> i32, v6: fn(P) -> i32, other: i32) -> i32 {
    let protocol = pkt.protocol();
    if protocol == Ip4::ETHERTYPE && config::has(Ip4::FEATURE) {
        v4(pkt)
    } else if protocol == Ip6::ETHERTYPE && config::has(Ip6::FEATURE) {
        v6(pkt)
    } else {
        other
    }
}

/// Ends a tc hook where packets come in and where a datagram's fragments are followed.
#[inline(always)]
fn ingress_verdict<P: Packet, A: Family>(pkt: P, outcome: Outcome) -> i32 {
    let verdict = tc_verdict(pkt, outcome, Direction::Ingress);
    // Last, where the verifier has forgotten the ways by which it came to be translated.
    if outcome.is_translated() {
        fragments::mourn::<A>();
    }
    verdict
}

/// What becomes of a packet of a known flow that leaves by a tc hook; `anew` says it where that flow is over.
#[inline(always)]
fn leave<P: Packet, A: Family>(
    pkt: P,
    p: &Parsed<A>,
    row: Known<A>,
    anew: impl FnOnce() -> Option<Outcome>,
) -> Outcome {
    match known::enter(p, row) {
        Entered::Follow(row) if rewrite(pkt, p, row.get(), 0) => Outcome::Stack,
        Entered::Follow(_) => Outcome::Drop(Reason::RewriteFailed),
        Entered::Refused(reason) => Outcome::Drop(reason),
        Entered::Direct => Outcome::Pass,
        Entered::Anew(_) => anew().unwrap_or(Outcome::Pass),
    }
}
