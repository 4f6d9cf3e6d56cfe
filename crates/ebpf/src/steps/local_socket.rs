//! Keeping SNAT flows and the node's own sockets out of each other's way.

use crate::config;
use crate::family::Family;
use crate::maps::Scratch;
use crate::outcome::{Outcome, count};
use crate::packet::Packet;
use crate::steps::parse::Parsed;
use crate::steps::reserve::{Wanted, reserve};
use crate::steps::rewrite::rewrite;
use aya_ebpf::bindings::bpf_sock_tuple;
use aya_ebpf::helpers::generated::{bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp};
use shunt_common::{Backend, Direction, FlowKey, Proto, Reason, flow_flag, tcp};

/// Look in the network namespace of the packet's device.
const THIS_NETNS: u64 = u64::MAX;

/// Whether a socket of this node would receive a packet with this tuple.
#[inline(always)]
pub fn owns<P: Packet, A: Family>(pkt: P, key: &FlowKey<A>) -> bool {
    // A key without its protocol is exactly the part of struct bpf_sock_tuple for its family.
    let tuple = (&raw const *key).cast_mut().cast::<bpf_sock_tuple>();
    let size = (size_of::<FlowKey<A>>() - size_of::<u32>()) as u32;
    // SAFETY: the helpers only read `size` bytes of the tuple; a socket found is released.
    unsafe {
        let socket = if key.proto == Proto::Tcp as u32 {
            bpf_skc_lookup_tcp(pkt.ctx(), tuple, size, THIS_NETNS, 0)
        } else {
            bpf_sk_lookup_udp(pkt.ctx(), tuple, size, THIS_NETNS, 0)
        };
        if socket.is_null() {
            return false;
        }
        bpf_sk_release(socket.cast());
        true
    }
}

/// A packet that a socket of this node sends on a tuple that a SNAT flow already has: the socket came later, so it gets
/// another port on the wire. `None` when there is no such clash.
#[inline(always)]
pub fn move_aside<P: Packet, A: Family>(pkt: P, p: &Parsed<A>, scratch: &mut Scratch<A>) -> Option<Outcome> {
    let port = p.key.sport.host();
    let may_clash = pkt.ingress_ifindex() == 0
        && (port >= config::snat_min() && port <= config::snat_max())
        && (p.is_udp() || tcp::opens(p.tcp));
    if !may_clash {
        return None;
    }
    let reply = A::flow(&p.key.reversed())?;
    // SAFETY: a value of the flow map; the kernel keeps it in place while the program runs.
    if unsafe { (*reply).flags } & (flow_flag::SNAT | flow_flag::REPLY) != flow_flag::SNAT | flow_flag::REPLY
    {
        return None;
    }
    scratch.wanted = Wanted {
        src: p.key.src,
        backend: Backend { addr: p.key.dst, port: p.key.dport, ..Backend::ZERO },
        id: 0,
        service: 0,
        flags: flow_flag::SNAT | flow_flag::LOCAL_SOCKET,
    };
    count(Reason::LocalSocketMoved, Direction::Egress, pkt.len());
    Some(match reserve(pkt, p, scratch) {
        Ok(()) if rewrite(pkt, p, &scratch.row, 0) => Outcome::Stack,
        Ok(()) => Outcome::Drop(Reason::RewriteFailed),
        Err(_) => Outcome::Drop(Reason::SnatExhausted),
    })
}
