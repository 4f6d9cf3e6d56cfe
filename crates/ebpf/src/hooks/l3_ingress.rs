//! tc ingress of a device without a link layer header: [`super::tc_ingress`] on packets that begin with their IP header.
//!
//! A program of its own, so that no packet of any other device pays for the difference.

use crate::hooks::{choose, tc_ingress};
use crate::outcome::NEXT;
use crate::packet::{Skb, bare::Bare};
use aya_ebpf::bindings::__sk_buff;
use shunt_common::{Ip4, Ip6};

#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
extern "C" fn l3_ingress(skb: *mut __sk_buff) -> i32 {
    choose(Bare(Skb(skb)), tc_ingress::verdict::<_, Ip4>, tc_ingress::verdict::<_, Ip6>, NEXT)
}
