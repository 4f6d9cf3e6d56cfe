//! XDP of a device: what is for remote backends, and their replies, never leave the driver. All else goes up to tc.

use crate::headers::ETH_LEN;
use crate::hooks::{choose, tc_ingress};
use crate::outcome::{Outcome, XDP_PASS, xdp_verdict};
use crate::packet::Packet;
use crate::packet::xdp::Xdp;
use crate::steps::dsr::Dispatch;
use crate::steps::known::{Entered, Known};
use crate::steps::parse::{Parse, Parsed, parse};
use crate::steps::reject::Reject;
use crate::steps::{dsr, forward, known, start, vip};
use aya_ebpf::bindings::xdp_md;
use shunt_common::{Ip4, Ip6, Scope, flow_flag, frontend_flag, tcp};

/// "frags": drivers whose MTU asks for several buffers a packet take us too, and show us packets that lie in several.
#[unsafe(no_mangle)]
#[unsafe(link_section = "xdp.frags")]
extern "C" fn xdp(ctx: *mut xdp_md) -> i32 {
    let pkt = Xdp(ctx);
    if !pkt.is_ours() || pkt.is_split() {
        return XDP_PASS;
    }
    choose(pkt, verdict::<Ip4>, verdict::<Ip6>, XDP_PASS)
}

#[inline(never)]
fn verdict<A: Parse + Reject + Dispatch>(pkt: Xdp) -> i32 {
    xdp_verdict(pkt, at_driver::<Xdp, A>(pkt))
}

/// parse -> known flow that is forwarded? -> frontend? -> start a flow.
///
/// What passes is as it came, so that tc may decide as if we had not been there, and finds what we have reserved.
#[inline(always)]
fn at_driver<P: Packet, A: Parse + Reject + Dispatch>(pkt: P) -> Outcome {
    let Some(p) = parse::<P, A>(pkt) else { return Outcome::Pass };
    if p.is_icmp() || p.fragment || p.l4 != ETH_LEN + A::HEADER {
        return Outcome::Pass;
    }
    let mut flags = 0;
    if let Some(row) = known::find(p) {
        // The replies of a DSR flow go past this node, or through it as through any router. What may be no reply goes up
        // before it is noted, or tc would not know it for the first.
        if !row.has(flow_flag::FIB)
            || !tc_ingress::serves(row.get().flags)
            || known::is_direct(row.get(), tcp::seen_by(p.tcp))
        {
            return Outcome::Pass;
        }
        match known::enter(p, row) {
            Entered::Follow(row) => return go_on(pkt, p, &row),
            Entered::Refused(_) | Entered::Direct => return Outcome::Pass,
            Entered::Anew(next) => flags = next,
        }
    }
    let Some(frontend) = start::frontend(p) else {
        if let Some(outcome) = vip::refuse(pkt, p, Scope::External) {
            return outcome;
        }
        // Who opens a connection may clash with a flow of its own, which tc looks into.
        return if tcp::opens(p.tcp) { Outcome::Pass } else { Outcome::Settled };
    };
    if frontend.flags & frontend_flag::EXTERNAL == 0 {
        return Outcome::Pass;
    }
    start::start(pkt, p, frontend, Scope::External, flags, 0)
}

/// Sends a packet of a known flow by its cached route. Once a second, and while none is cached, one goes up instead: there the
/// kernel's neighbour code sends it, which keeps the next hop known and finds out when it has moved.
#[inline(always)]
fn go_on<P: Packet, A: Parse + Reject + Dispatch>(pkt: P, p: &Parsed<A>, known: &Known<A>) -> Outcome {
    if known.due || known.get().egress.ifindex == 0 {
        // The stamp is renewed, so this is what tells tc.
        // SAFETY: a value of the flow map; at worst another CPU passes a packet up as well.
        unsafe { (*known.row).egress.ifindex = 0 };
        return Outcome::Pass;
    }
    // tc asks for the route, too, where it is the one that sends.
    if dsr::may_exceed(pkt, p, known.get()) && pkt.reaches(known.get().egress.ifindex) {
        return forward::by_route(pkt, p, known.row);
    }
    forward::by_cache(pkt, p, known.get())
}
