//! One file a hook.

mod clock;
mod connect;
mod floor;
mod getpeername;
mod pod_egress;
mod pod_ingress;
mod post_bind;
mod recvmsg;
mod sendmsg;
mod socket;
mod tc_egress;
mod tc_ingress;

use crate::family::Family;
use crate::outcome::{Outcome, tc_verdict};
use crate::packet::{Packet, Skb};
use crate::config;
use aya_ebpf::bindings::__sk_buff;
use shunt_common::{Direction, Ip4, Ip6};

/// Runs a hook's two instances, one for each family, and turns the outcome into its verdict.
#[inline(always)]
fn by_family(
    skb: *mut __sk_buff,
    direction: Direction,
    v4: fn(Skb) -> Outcome,
    v6: fn(Skb) -> Outcome,
) -> i32 {
    let pkt = Skb(skb);
    let protocol = pkt.protocol();
    let outcome = if protocol == Ip4::ETHERTYPE && config::has(Ip4::FEATURE) {
        v4(pkt)
    } else if protocol == Ip6::ETHERTYPE && config::has(Ip6::FEATURE) {
        v6(pkt)
    } else {
        Outcome::Pass
    };
    tc_verdict(pkt, outcome, direction)
}
