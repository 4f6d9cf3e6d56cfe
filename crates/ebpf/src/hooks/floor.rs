//! Not a hook: the least that any translating program must do, for the benchmark to compare with. Parses, rewrites
//! the addresses to themselves with the same checksum calls, and redirects, with no lookup of any kind.

use crate::hooks::by_family;
use crate::outcome::{Outcome, tc_verdict};
use crate::packet::Packet;
use crate::steps::parse::{Parse, parse};
use crate::steps::rewrite::rewrite;
use aya_ebpf::bindings::__sk_buff;
use shunt_common::{Direction, Egress, Flow, Ip4, Ip6, Reason};

#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
extern "C" fn floor(skb: *mut __sk_buff) -> i32 {
    by_family(skb, verdict::<_, Ip4>, verdict::<_, Ip6>)
}

#[inline(never)]
fn verdict<P: Packet, A: Parse>(pkt: P) -> i32 {
    tc_verdict(pkt, bare::<P, A>(pkt), Direction::Ingress)
}

#[inline(always)]
fn bare<P: Packet, A: Parse>(pkt: P) -> Outcome {
    let Some(p) = parse::<P, A>(pkt) else { return Outcome::Pass };
    // A delta of ones'-complement zero that is not the number zero: the checksum helpers run and change nothing.
    let row = Flow {
        src: p.key.src,
        dst: p.key.dst,
        sport: p.key.sport,
        dport: p.key.dport,
        delta: u32::MAX,
        stamp: 0,
        service: 0,
        backend: 0,
        ring: 0,
        flags: 0,
        seen: 0,
        peer_seen: 0,
        egress: Egress { ifindex: 0, dmac: [0; 6], smac: [0; 6] },
    };
    if rewrite(pkt, p, &row, 0) && pkt.send(pkt.ifindex()) {
        Outcome::Redirected
    } else {
        Outcome::Drop(Reason::RewriteFailed)
    }
}
