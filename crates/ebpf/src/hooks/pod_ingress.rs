//! tc ingress of a pod interface: pods whose sockets bypass the socket path reach services here.

use crate::hooks::{by_family, ingress_verdict};
use crate::outcome::Outcome;
use crate::packet::Packet;
use crate::steps::dsr::Dispatch;
use crate::steps::known::Entered;
use crate::steps::parse::{Parse, Parsed, parse};
use crate::steps::reject::Reject;
use crate::steps::rewrite::rewrite;
use crate::steps::{fragments, icmp_error, known, local_socket, start, vip};
use aya_ebpf::bindings::__sk_buff;
use shunt_common::{Ip4, Ip6, Reason, Scope, flow_flag};

#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
extern "C" fn pod_ingress(skb: *mut __sk_buff) -> i32 {
    by_family(skb, verdict::<_, Ip4>, verdict::<_, Ip6>)
}

#[inline(never)]
fn verdict<P: Packet, A: Parse + Reject + Dispatch>(pkt: P) -> i32 {
    ingress_verdict::<P, A>(pkt, from_pod::<P, A>(pkt))
}

/// parse -> known flow of this pod? -> frontend? -> start a flow. The node routes the rewritten packet.
#[inline(always)]
fn from_pod<P: Packet, A: Parse + Reject + Dispatch>(pkt: P) -> Outcome {
    let Some(p) = parse::<P, A>(pkt) else {
        return fragments::follow(pkt, serves, |p: &Parsed<A>| fragments::orphan(pkt, p, Scope::Internal));
    };
    if p.is_icmp() {
        return icmp_error::relay(pkt, p, serves).unwrap_or_else(|| vip::icmp(pkt, p, Scope::Internal));
    }
    let mut flags = flow_flag::POD;
    if let Some(row) = known::find(p) {
        let hairpin = row.has(flow_flag::HAIRPIN) && !row.has(TO_SOCKET);
        if !serves(row.get().flags) {
            return Outcome::Pass;
        }
        match known::enter(p, row) {
            Entered::Follow(row) => {
                let written = rewrite(pkt, p, row.get(), 0);
                return match (hairpin, written) {
                    (true, _) => start::turn_round(pkt, written),
                    (false, true) => Outcome::Stack,
                    (false, false) => Outcome::Drop(Reason::RewriteFailed),
                };
            }
            Entered::Refused(reason) => return Outcome::Drop(reason),
            Entered::Direct => return Outcome::Pass,
            Entered::Anew(next) => flags |= next,
        }
    }
    match start::frontend(p) {
        Some(frontend) => start::start(pkt, p, frontend, Scope::Internal, flags, 0),
        // Not to a service: a port that none has, or a clash with a flow of the same pod, may still concern us.
        None => vip::refuse(pkt, p, Scope::Internal)
            .or_else(|| local_socket::move_pod_aside(pkt, p))
            .unwrap_or(Outcome::Pass),
    }
}

/// The answer to a socket of the node that was moved out of the way of a pod that reaches itself.
const TO_SOCKET: u16 = flow_flag::LOCAL_SOCKET | flow_flag::HAIRPIN | flow_flag::REPLY;

/// Whether this hook serves flows with these flags: what pods send to services, all that they say to themselves, and
/// [`TO_SOCKET`].
#[inline(always)]
fn serves(flags: u16) -> bool {
    flags & TO_SOCKET == TO_SOCKET
        || (flags & flow_flag::POD != 0 && (flags & flow_flag::REPLY == 0 || flags & flow_flag::HAIRPIN != 0))
}
