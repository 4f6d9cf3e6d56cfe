//! Keeping flows, and sockets that know nothing of them, out of each other's way.

use crate::config;
use crate::family::Family;
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

/// Whether a socket of this node would receive a packet with this tuple. The kernel finds no SCTP sockets for us.
#[inline(always)]
pub fn owns<P: Packet, A: Family>(pkt: P, key: &FlowKey<A>) -> bool {
    // A key without its protocol is exactly the part of struct bpf_sock_tuple for its family.
    let tuple = (&raw const *key).cast_mut().cast::<bpf_sock_tuple>();
    let size = (size_of::<FlowKey<A>>() - size_of::<u32>()) as u32;
    // SAFETY: the helpers only read `size` bytes of the tuple; a socket found is released.
    unsafe {
        let socket = if key.proto == Proto::Sctp as u32 {
            return false;
        } else if key.proto == Proto::Tcp as u32 {
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
pub fn move_aside<P: Packet, A: Family>(pkt: P, p: &Parsed<A>) -> Option<Outcome> {
    move_from(pkt, p, flow_flag::SNAT)
}

/// The same for a socket that talks to a pod of this node, on the tuple by which the pod reaches itself through a service.
#[inline(always)]
pub fn move_aside_of_hairpin<P: Packet, A: Family>(pkt: P, p: &Parsed<A>) -> Option<Outcome> {
    move_from(pkt, p, flow_flag::SNAT | flow_flag::HAIRPIN)
}

/// Out of the way of flows with these flags. Theirs are ports of the SNAT range, and forwarded packets are nobody's here.
#[inline(always)]
fn move_from<P: Packet, A: Family>(pkt: P, p: &Parsed<A>, flags: u16) -> Option<Outcome> {
    let port = p.key.sport.host();
    let may_clash = pkt.ingress_ifindex() == 0 && port >= config::snat_min() && port <= config::snat_max();
    if may_clash && taken(p, flags | flow_flag::REPLY) {
        return Some(aside(pkt, p, flags));
    }
    None
}

/// The same for a pod that talks to a backend directly from the port that a flow of its own, through a service, already
/// has with that backend: to the pod these are two tuples, to the backend one.
#[inline(always)]
pub fn move_pod_aside<P: Packet, A: Family>(pkt: P, p: &Parsed<A>) -> Option<Outcome> {
    if taken(p, flow_flag::POD | flow_flag::REPLY) {
        return Some(aside(pkt, p, flow_flag::POD));
    }
    None
}

/// The same for a client outside that opens a connection to a pod directly, past the service whose flow it already has
/// with that pod from the same port. TCP only: the question would cost every datagram that is merely forwarded a lookup.
#[inline(always)]
pub fn move_client_aside<P: Packet, A: Family>(pkt: P, p: &Parsed<A>) -> Option<Outcome> {
    if tcp::opens(p.tcp) && taken(p, flow_flag::REPLY) {
        return Some(aside(pkt, p, 0));
    }
    None
}

/// Whether this packet begins an exchange whose answers a row with these flags would take for its own flow's.
#[inline(always)]
fn taken<A: Family>(p: &Parsed<A>, flags: u16) -> bool {
    if !p.is_udp() && !tcp::opens(p.tcp) {
        return false;
    }
    match A::flow(&p.key.reversed()) {
        // SAFETY: a value of the flow map; the kernel keeps it in place while the program runs.
        Some(reply) => unsafe { (*reply).flags & flags == flags },
        None => false,
    }
}

/// Gives the sender another source port.
#[inline(always)]
fn aside<P: Packet, A: Family>(pkt: P, p: &Parsed<A>, flags: u16) -> Outcome {
    let Some(scratch) = A::scratch() else { return Outcome::Drop(Reason::FlowTableFull) };
    // SAFETY: a per-CPU value; programs of one CPU do not interleave at these hooks.
    let scratch = unsafe { &mut *scratch };
    scratch.wanted = Wanted {
        src: p.key.src,
        backend: Backend { addr: p.key.dst, port: p.key.dport, ..Backend::ZERO },
        id: 0,
        service: 0,
        flags: flags | flow_flag::LOCAL_SOCKET,
    };
    count(Reason::LocalSocketMoved, Direction::Egress, pkt.len());
    match reserve(pkt, p, scratch) {
        Ok(()) if rewrite(pkt, p, &scratch.row, 0) => Outcome::Stack,
        Ok(()) => Outcome::Drop(Reason::RewriteFailed),
        Err(_) => Outcome::Drop(Reason::SnatExhausted),
    }
}
