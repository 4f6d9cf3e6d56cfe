//! Making a flow: both rows or none.

use crate::config;
use crate::family::Family;
use crate::maps::Scratch;
use crate::outcome::count;
use crate::packet::Packet;
use crate::steps::dsr::fail_over;
use crate::steps::parse::Parsed;
use crate::steps::{jiffies, local_socket, pick, ring};
use aya_ebpf::helpers::generated::bpf_loop;
use core::ffi::c_void;
use shunt_common::{Backend, Direction, Egress, FlowKey, PortBe, Reason, csum, flow_flag, seen, snat, tcp};

/// The flow that is wanted.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Wanted<A> {
    /// Source after rewriting: the client's address, or the node's for SNAT.
    pub src: A,
    /// Destination after rewriting.
    pub backend: Backend<A>,
    /// The backend's id.
    pub id: u32,
    /// Service id.
    pub service: u32,
    /// Flags that both rows carry; SNAT among them makes the source port ours to choose.
    pub flags: u16,
}

/// Why there is no new flow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Another CPU has just made it.
    Race,
    /// Every port tried was taken.
    Exhausted,
    /// The table is full.
    Full,
}

/// `-EEXIST` from a map update that must not overwrite.
const EEXIST: i32 = -17;

/// Reserves a pair: the reply row first, which no other flow may have, then the forward row, which is left in `scratch`
/// for the packet at hand. A failure leaves nothing behind.
#[inline(never)]
pub fn reserve<P: Packet, A: Family>(pkt: P, p: &Parsed<A>, scratch: &mut Scratch<A>) -> Result<(), Refused> {
    // No answer will tell that a DSR flow's client lives, only its second datagram; one that XDP passes up comes twice.
    let first = if P::AT_DRIVER { 0 } else { seen::SYN };
    let datagram = if scratch.wanted.flags & flow_flag::DSR != 0 { first } else { seen::ACK };
    let said = if p.is_udp() { datagram } else { tcp::seen_by(p.tcp) };
    let wanted = &scratch.wanted;
    let row = &mut scratch.row;
    row.src = p.key.dst;
    row.dst = p.key.src;
    row.sport = p.key.dport;
    row.dport = p.key.sport;
    row.stamp = jiffies();
    row.service = wanted.service;
    row.backend = wanted.id;
    row.ring = 0;
    row.flags = wanted.flags | flow_flag::REPLY;
    row.seen = 0;
    row.peer_seen = said;
    row.egress = Egress { ifindex: 0, dmac: [0; 6], smac: [0; 6] };
    let there = csum::add(
        csum::delta_words(p.key.dst.words(), wanted.backend.addr.words()),
        csum::delta_words(p.key.src.words(), wanted.src.words()),
    );
    // In ones' complement, the way back is the complement of the way there.
    row.delta = !there;
    scratch.reply = FlowKey {
        src: wanted.backend.addr,
        dst: wanted.src,
        sport: wanted.backend.port,
        dport: p.key.sport,
        proto: p.key.proto,
    };
    reserve_reply(pkt, scratch)?;

    let port = scratch.reply.dport;
    let wanted = &scratch.wanted;
    let row = &mut scratch.row;
    row.src = wanted.src;
    row.dst = wanted.backend.addr;
    row.sport = port;
    row.dport = wanted.backend.port;
    row.delta = there;
    // Nothing but what the packet says, unless the flow came another way before.
    row.flags = wanted.flags | row.flags & flow_flag::CONFIRMED;
    (row.seen, row.peer_seen) = (row.peer_seen, row.seen);
    row.ring = ring::take(&p.key);
    match A::insert_flow(&p.key, &scratch.row) {
        Ok(()) => Ok(()),
        Err(error) => {
            A::remove_flow(&scratch.reply);
            Err(if error == EEXIST { Refused::Race } else { Refused::Full })
        }
    }
}

/// What the attempts at a port share.
#[repr(C)]
struct Attempts<P, A> {
    pkt: P,
    scratch: *mut Scratch<A>,
    random: u32,
    client: u16,
    /// The attempt to begin with: 1 when the client's own port has been tried, or is known to be taken.
    first: u32,
    snat: bool,
    result: u8,
}

const TAKEN: u8 = 0;
const RESERVED: u8 = 1;
const FULL: u8 = 2;

/// Inserts the reply row under the first free port and leaves that port in its key.
#[inline(always)]
fn reserve_reply<P: Packet, A: Family>(pkt: P, scratch: &mut Scratch<A>) -> Result<(), Refused> {
    let snat = scratch.row.flags & flow_flag::SNAT != 0;
    let moved = scratch.row.flags & flow_flag::MOVED != 0;
    if !snat {
        // The client's port stays unless the client has another flow, or a connection, to this very backend.
        if !moved {
            match A::insert_flow(&scratch.reply, &scratch.row) {
                Ok(()) => return Ok(()),
                Err(EEXIST) if fail_over::comes_directly(scratch) => return Ok(()),
                Err(EEXIST) => count(Reason::SnatCollision, Direction::Ingress, 0),
                Err(_) => return Err(Refused::Full),
            }
        }
        // The backend answers a DSR client itself, so its port is not ours to change.
        if scratch.row.flags & flow_flag::DSR != 0 {
            return Err(Refused::Exhausted);
        }
    }
    let mut attempts = Attempts {
        pkt,
        scratch: &raw mut *scratch,
        random: pick::random(),
        client: scratch.row.dport.host(),
        first: u32::from(moved || !snat),
        snat,
        result: TAKEN,
    };
    // A helper's loop, not our own: the verifier looks at its body once instead of once for each turn.
    // SAFETY: the callback has the signature that bpf_loop wants, and the context outlives the call.
    unsafe {
        bpf_loop(
            snat::TRIES - attempts.first,
            try_port::<P, A> as *mut c_void,
            (&raw mut attempts).cast(),
            0,
        );
    }
    match attempts.result {
        RESERVED => Ok(()),
        FULL => Err(Refused::Full),
        _ => Err(Refused::Exhausted),
    }
}

/// One attempt; 1 ends the loop.
extern "C" fn try_port<P: Packet, A: Family>(attempt: u32, attempts: *mut Attempts<P, A>) -> i64 {
    // SAFETY: the context of the loop. The room is reached through it and not looked up again: the caller borrows it, and
    // LLVM would not see it change otherwise.
    let (attempts, scratch) = unsafe { (&mut *attempts, &mut *(*attempts).scratch) };
    let attempt = attempt + attempts.first;
    let (min, max) = (config::snat_min(), config::snat_max());
    scratch.reply.dport = PortBe::new(snat::candidate(attempts.client, attempts.random, attempt, min, max));
    if !attempts.snat || !local_socket::owns(attempts.pkt, &scratch.reply) {
        match A::insert_flow(&scratch.reply, &scratch.row) {
            Ok(()) => {
                attempts.result = RESERVED;
                return 1;
            }
            Err(EEXIST) => {}
            Err(_) => {
                attempts.result = FULL;
                return 1;
            }
        }
    }
    count(Reason::SnatCollision, Direction::Ingress, 0);
    0
}
