//! tc ingress of a device: clients outside the cluster, and the replies of remote backends.

use crate::hooks::{by_family, ingress_verdict};
use crate::outcome::{NEXT, Outcome};
use crate::packet::{Packet, Skb};
use crate::steps::dsr::Dispatch;
use crate::steps::dsr::{end, error::Tell};
use crate::steps::known::{Entered, Known};
use crate::steps::parse::{Parse, Parsed, parse};
use crate::steps::reject::Reject;
use crate::steps::rewrite::rewrite;
use crate::steps::{dsr, forward, fragments, icmp_error, known, local_socket, start, vip};
use aya_ebpf::bindings::__sk_buff;
use shunt_common::{Ip4, Ip6, Reason, Scope, flow_flag, frontend_flag};

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
pub fn verdict<P: Packet, A: Parse + Reject + Dispatch + Tell>(pkt: P) -> i32 {
    ingress_verdict::<P, A>(pkt, ingress::<P, A>(pkt))
}

/// parse -> known flow? -> frontend? -> start a flow.
#[inline(always)]
fn ingress<P: Packet, A: Parse + Reject + Dispatch + Tell>(pkt: P) -> Outcome {
    let mut carried = 0;
    if end::may_carry::<P, A>(pkt) {
        carried = end::uncover::<P, A>(pkt);
        if carried == 0 {
            return Outcome::Pass;
        }
    }
    let Some(p) = parse::<P, A>(pkt) else {
        return fragments::follow(pkt, serves, |p: &Parsed<A>| fragments::orphan(pkt, p, Scope::External));
    };
    if p.is_icmp() {
        return dsr::error::relay(pkt, p)
            .or_else(|| icmp_error::relay(pkt, p, serves_errors))
            .unwrap_or_else(|| vip::icmp(pkt, p, Scope::External));
    }
    if end::may_inform(p, carried)
        && let Some(outcome) = end::arrive(pkt, p, carried)
    {
        return outcome;
    }
    // XDP has looked for what is looked for below.
    if pkt.is_settled() {
        return Outcome::Pass;
    }
    let mut flags = 0;
    if let Some(row) = known::find(p) {
        if !serves(row.get().flags) {
            return Outcome::Pass;
        }
        match known::enter(p, row) {
            Entered::Follow(row) => return go_on(pkt, p, &row),
            Entered::Refused(reason) => return Outcome::Drop(reason),
            Entered::Direct => return Outcome::Pass,
            Entered::Anew(next) => flags = next,
        }
    }
    if carried != 0 {
        let Some(frontend) = end::serving(p.key.proto as u8, p.key.dst, p.key.dport) else {
            return Outcome::Drop(Reason::DsrRefused);
        };
        return start::start(pkt, p, frontend, Scope::External, 0, carried);
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
    start::start(pkt, p, frontend, Scope::External, flags, 0)
}

/// Whether this hook serves flows with these flags: a local backend speaks to the outside at egress; a pod hears its service
/// at the pod's own interface.
#[inline(always)]
pub(super) fn serves(flags: u16) -> bool {
    flags & flow_flag::POD == 0 && flags & (flow_flag::REPLY | flow_flag::SNAT) != flow_flag::REPLY
}

/// The same of errors: those about a DSR flow's plain packets meet no other hook, and may pass here on their way to the client.
#[inline(always)]
fn serves_errors(flags: u16) -> bool {
    const ANSWERS: u16 = flow_flag::DSR | flow_flag::REPLY;
    serves(flags) || flags & ANSWERS == ANSWERS
}

/// Rewrites a packet of a known flow and sends it on.
#[inline(always)]
fn go_on<P: Packet, A: Parse + Reject + Dispatch>(pkt: P, p: &Parsed<A>, known: &Known<A>) -> Outcome {
    if known.has(flow_flag::DSR_END) {
        // It is addressed to the backend already.
        return Outcome::Stack;
    }
    let forwards = known.has(flow_flag::FIB);
    if !forwards {
        let written = rewrite(pkt, p, known.get(), 0);
        return if written { Outcome::Stack } else { Outcome::Drop(Reason::RewriteFailed) };
    }
    if known.get().egress.ifindex != 0 && !known.due && !dsr::may_exceed(pkt, p, known.get()) {
        return forward::by_cache(pkt, p, known.get());
    }
    forward::by_route(pkt, p, known.row)
}
