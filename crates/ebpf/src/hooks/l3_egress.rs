//! tc egress of a device without a link layer header: [`super::tc_egress`] on packets that begin with their IP header.

use crate::hooks::{choose, tc_egress};
use crate::outcome::NEXT;
use crate::packet::{Skb, bare::Bare};
use aya_ebpf::bindings::__sk_buff;
use shunt_common::{Ip4, Ip6};

#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
extern "C" fn l3_egress(skb: *mut __sk_buff) -> i32 {
    choose(Bare(Skb(skb)), tc_egress::verdict::<_, Ip4>, tc_egress::verdict::<_, Ip6>, NEXT)
}
