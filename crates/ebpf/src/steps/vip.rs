//! What a virtual address answers beside its services: pings, and ports that no service has.

use crate::family::Family;
use crate::headers::{ETH_LEN, IcmpHeader};
use crate::outcome::Outcome;
use crate::packet::Packet;
use crate::steps::parse::{Parsed, bounded};
use crate::steps::reject::{self, Reject};
use shunt_common::{FrontendKey, PortBe, Reason, Scope, frontend_flag};

/// What an address is to us.
#[derive(Clone, Copy)]
pub enum Whose {
    /// A service's, which answers in this scope.
    Vip,
    /// In a ServiceCIDR, and no service has it.
    Unallocated,
    /// None of our business.
    Nobodys,
}

/// What an address is to us in this scope.
#[inline(always)]
pub fn whose<A: Family>(dst: A, scope: Scope) -> Whose {
    let Some(row) = A::frontend(&FrontendKey::new(dst, PortBe(0), 0)) else {
        return if dst.in_service_cidr() { Whose::Unallocated } else { Whose::Nobodys };
    };
    // SAFETY: a value of the frontend map; the kernel keeps it in place while the program runs.
    let external = unsafe { (*row).flags & frontend_flag::EXTERNAL != 0 };
    if matches!(scope, Scope::Internal) || external { Whose::Vip } else { Whose::Nobodys }
}

/// A packet to no frontend: refused when its address is a service's, dropped when it could be one's and is not (as
/// kube-proxy does: it would go to the default gateway and perhaps round in circles), and otherwise none of our business
/// (`None`).
#[inline(always)]
pub fn refuse<P: Packet, A: Reject>(pkt: P, p: &Parsed<A>, scope: Scope) -> Option<Outcome> {
    // Most packets that are not to a service are to the node itself.
    if p.key.dst == A::node_addr() {
        return None;
    }
    match whose(p.key.dst, scope) {
        Whose::Vip => Some(reject::nobody_listens(pkt, p, Reason::UnknownPort)),
        Whose::Unallocated => Some(Outcome::Drop(Reason::Unallocated)),
        Whose::Nobodys => None,
    }
}

/// An ICMP packet: a ping of a service's address is answered, of one that could be one's dropped, everything else passes.
#[inline(always)]
pub fn icmp<P: Packet, A: Reject>(pkt: P, p: &Parsed<A>, scope: Scope) -> Outcome {
    let (request, reply) = A::ECHO;
    if p.tcp != request || p.fragment {
        return Outcome::Pass;
    }
    match whose(p.key.dst, scope) {
        Whose::Vip => reject::answer(pkt, Reason::EchoReply, || echo(pkt, p, reply)),
        Whose::Unallocated => Outcome::Drop(Reason::Unallocated),
        Whose::Nobodys => Outcome::Pass,
    }
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
