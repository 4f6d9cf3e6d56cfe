//! Making a flow: both rows or none.

use crate::config;
use crate::family::Family;
use crate::outcome::count;
use crate::packet::Packet;
use crate::steps::parse::Parsed;
use crate::steps::{jiffies, local_socket, pick, ring};
use shunt_common::{Backend, Direction, Egress, Flow, FlowKey, PortBe, Reason, csum, flow_flag, seen, snat, tcp};

/// The flow that is wanted.
pub struct Wanted<A: Family> {
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

/// Reserves a pair: the reply row first, which no other flow may have, then the forward row, which is written to
/// `forward` too. A failure leaves nothing behind.
#[inline(never)]
pub fn reserve<P: Packet, A: Family>(
    pkt: P,
    p: &Parsed<A>,
    wanted: &Wanted<A>,
    forward: &mut Flow<A>,
) -> Result<(), Refused> {
    let said = if p.is_udp() { seen::ACK } else { tcp::seen_by(p.tcp) };
    *forward = Flow {
        src: p.key.dst,
        dst: p.key.src,
        sport: p.key.dport,
        dport: p.key.sport,
        delta: csum::add(
            csum::delta_words(wanted.backend.addr.words(), p.key.dst.words()),
            csum::delta_words(wanted.src.words(), p.key.src.words()),
        ),
        stamp: jiffies(),
        service: wanted.service,
        backend: wanted.id,
        ring: 0,
        flags: wanted.flags | flow_flag::REPLY,
        seen: 0,
        peer_seen: said,
        egress: Egress { ifindex: 0, dmac: [0; 6], smac: [0; 6] },
    };
    let mut reply_key = FlowKey {
        src: wanted.backend.addr,
        dst: wanted.src,
        sport: wanted.backend.port,
        dport: p.key.sport,
        proto: p.key.proto,
    };
    reserve_reply(pkt, &mut reply_key, forward)?;

    // The same struct becomes the forward row: the stack is 512 bytes for the whole chain of calls.
    forward.src = wanted.src;
    forward.dst = wanted.backend.addr;
    forward.sport = reply_key.dport;
    forward.dport = wanted.backend.port;
    forward.delta = csum::add(
        csum::delta_words(p.key.dst.words(), wanted.backend.addr.words()),
        csum::delta_words(p.key.src.words(), wanted.src.words()),
    );
    forward.flags = wanted.flags;
    forward.seen = said;
    forward.peer_seen = 0;
    forward.ring = ring::take(&p.key);
    match A::insert_flow(&p.key, forward) {
        Ok(()) => Ok(()),
        Err(error) => {
            A::remove_flow(&reply_key);
            Err(if error == EEXIST { Refused::Race } else { Refused::Full })
        }
    }
}

/// Inserts the reply row under the first free port and leaves that port in the key.
#[inline(always)]
fn reserve_reply<P: Packet, A: Family>(
    pkt: P,
    key: &mut FlowKey<A>,
    row: &Flow<A>,
) -> Result<(), Refused> {
    let client = row.dport.host();
    let snat = row.flags & flow_flag::SNAT != 0;
    let random = pick::random();
    let mut attempt = 0;
    while attempt < snat::TRIES {
        // Without SNAT the client's port stays unless the client has another flow to this very backend.
        if snat || attempt > 0 {
            key.dport =
                PortBe::new(snat::candidate(client, random, attempt, config::snat_min(), config::snat_max()));
        }
        attempt += 1;
        if !snat || !local_socket::owns(pkt, key) {
            match A::insert_flow(key, row) {
                Ok(()) => return Ok(()),
                Err(EEXIST) => {}
                Err(_) => return Err(Refused::Full),
            }
        }
        count(Reason::SnatCollision, Direction::Ingress, 0);
    }
    Err(Refused::Exhausted)
}
