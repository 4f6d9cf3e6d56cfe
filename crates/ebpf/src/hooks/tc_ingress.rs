//! tc ingress of a device: clients outside the cluster, and the replies of remote backends.

use crate::hooks::by_family;
use crate::outcome::{NEXT, Outcome, tc_verdict};
use crate::packet::{Packet, Skb};
use crate::steps::known::{Entered, Known};
use crate::steps::parse::{Parse, Parsed, parse};
use crate::steps::reject::Reject;
use crate::steps::rewrite::rewrite;
use crate::steps::{forward, known, local_socket, start, vip};
use aya_ebpf::bindings::__sk_buff;
use shunt_common::{Direction, Ip4, Ip6, Reason, Scope, flow_flag, frontend_flag};

#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
extern "C" fn tc_ingress(skb: *mut __sk_buff) -> i32 {
    // Every node that hears a flooded frame has the frontend that it is for; one of them is meant.
    if Skb(skb).is_foreign() {
        return NEXT;
    }
    by_family(skb, verdict::<_, Ip4>, verdict::<_, Ip6>)
}

#[inline(never)]
fn verdict<P: Packet, A: Parse + Reject>(pkt: P) -> i32 {
    tc_verdict(pkt, ingress::<P, A>(pkt), Direction::Ingress)
}

/// parse -> known flow? -> frontend? -> start a flow.
#[inline(always)]
fn ingress<P: Packet, A: Parse + Reject>(pkt: P) -> Outcome {
    let Some(p) = parse::<P, A>(pkt) else { return Outcome::Pass };
    if p.is_icmp() {
        return vip::icmp(pkt, p, Scope::External);
    }
    // XDP has looked for what is looked for below.
    if pkt.is_settled() {
        return Outcome::Pass;
    }
    if let Some(row) = known::find(p) {
        // A local backend speaks to the outside at egress; a pod hears its service at the pod's own interface.
        let elsewhere = row.has(flow_flag::POD) || (row.has(flow_flag::REPLY) && !row.has(flow_flag::SNAT));
        if elsewhere {
            return Outcome::Pass;
        }
        match known::enter(p, row) {
            Entered::Follow(row) => return go_on(pkt, p, &row),
            Entered::Fragment => return Outcome::Drop(Reason::Fragment),
            Entered::Anew => {}
        }
    }
    let Some(frontend) = start::frontend(p) else {
        // Not to a service: a port that none has, or a clash with a flow of the same client, may still concern us.
        let outcome =
            vip::refuse(pkt, p, Scope::External).or_else(|| local_socket::move_client_aside(pkt, p));
        return outcome.unwrap_or(Outcome::Pass);
    };
    if frontend.flags & frontend_flag::EXTERNAL == 0 {
        return Outcome::Left(Reason::ClusterIpFromOutside);
    }
    start::start(pkt, p, frontend, Scope::External, 0)
}

/// Rewrites a packet of a known flow and sends it on.
#[inline(always)]
fn go_on<P: Packet, A: Parse + Reject>(pkt: P, p: &Parsed<A>, known: &Known<A>) -> Outcome {
    let forwards = known.has(flow_flag::FIB);
    if !forwards {
        let written = rewrite(pkt, p, known.get(), 0);
        return if written { Outcome::Stack } else { Outcome::Drop(Reason::RewriteFailed) };
    }
    if known.get().egress.ifindex != 0 && !known.due {
        return forward::by_cache(pkt, p, known.get());
    }
    let Some(scratch) = A::scratch() else { return Outcome::Drop(Reason::NoRoute) };
    // SAFETY: a per-CPU value; programs of one CPU do not interleave at these hooks.
    let fib = unsafe { &mut (*scratch).fib };
    let code = forward::route(pkt, p.key.proto, known.get().src, known.get().dst, fib);
    // SAFETY: a value of the flow map; at worst another CPU writes the answer it got at the same moment.
    unsafe { (*known.row).egress = forward::cacheable(code, fib) };
    forward::by_fib(pkt, p, known.get(), code, fib)
}
