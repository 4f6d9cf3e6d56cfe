//! What a virtual address answers beside its services: pings, and ports that no service has.

use crate::family::Family;
use crate::headers::{ETH_LEN, IcmpHeader};
use crate::outcome::Outcome;
use crate::packet::Packet;
use crate::steps::parse::{Parsed, bounded};
use crate::steps::reject::{self, Reject};
use shunt_common::{FrontendKey, PortBe, Reason, Scope, frontend_flag};

/// Whether an address is one of a service's, and answers in this scope.
#[inline(always)]
pub fn is_vip<A: Family>(dst: A, scope: Scope) -> bool {
    match A::frontend(&FrontendKey::new(dst, PortBe(0), 0)) {
        // SAFETY: a value of the frontend map; the kernel keeps it in place while the program runs.
        Some(row) => {
            matches!(scope, Scope::Internal) || unsafe { (*row).flags & frontend_flag::EXTERNAL != 0 }
        }
        None => false,
    }
}

/// A packet to no frontend: refused when its address is a service's, and otherwise none of our business (`None`).
#[inline(always)]
pub fn refuse<P: Packet, A: Reject>(pkt: P, p: &Parsed<A>, scope: Scope) -> Option<Outcome> {
    // Most packets that are not to a service are to the node itself.
    if p.key.dst == A::node_addr() || !is_vip(p.key.dst, scope) {
        return None;
    }
    Some(reject::nobody_listens(pkt, p, Reason::UnknownPort))
}

/// A packet that leaves the node untranslated, to an address of a ServiceCIDR that no service has, is dropped: it would go
/// to the default gateway, and perhaps round in circles. Not sooner: whoever comes after us on the packet's way (another
/// proxy, with services of its own) may translate it, as may kube-proxy's rules, which drop such packets at the same place.
#[inline(always)]
pub fn leave<A: Family>(dst: A) -> Outcome {
    if dst.in_service_cidr() && A::frontend(&FrontendKey::new(dst, PortBe(0), 0)).is_none() {
        return Outcome::Drop(Reason::Unallocated);
    }
    Outcome::Pass
}

/// An ICMP packet: a ping of a service's address is answered, everything else passes.
#[inline(always)]
pub fn icmp<P: Packet, A: Reject>(pkt: P, p: &Parsed<A>, scope: Scope) -> Outcome {
    let (request, reply) = A::ECHO;
    if p.tcp != request || p.fragment || !is_vip(p.key.dst, scope) {
        return Outcome::Pass;
    }
    reject::answer(pkt, Reason::EchoReply, || echo(pkt, p, reply))
}

/// Turns an echo request into its reply.
#[inline(never)]
fn echo<P: Packet, A: Family>(pkt: P, p: &Parsed<A>, reply: u8) -> bool {
    let check = core::mem::offset_of!(IcmpHeader, check) as u32;
    // The addresses change places, which no sum notices.
    if !pkt.fix_l4_csum(p.l4 + check, 0, 0, u32::from(p.tcp), u32::from(reply)) {
        return false;
    }
    let Some(icmp) = pkt.at::<IcmpHeader>(bounded(p.l4)) else { return false };
    // SAFETY: `at` checked the bounds.
    unsafe { (*icmp).kind = reply };
    let Some(header) = pkt.at::<A::Header>(ETH_LEN) else { return false };
    // SAFETY: `at` checked the bounds.
    A::turn_header(unsafe { &mut *header });
    true
}
