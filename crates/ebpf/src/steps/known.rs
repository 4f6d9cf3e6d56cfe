//! A packet of a flow that is remembered.

use crate::config;
use crate::family::Family;
use crate::steps::forward::due;
use crate::steps::jiffies;
use crate::steps::parse::Parsed;
use shunt_common::{BackendState, Egress, Flow, FlowKey, Reason, feature, flow_flag, seen, tcp};

/// A flow row that is still good for a packet.
pub struct Known<A: Family> {
    /// The row in the map.
    pub row: *mut Flow<A>,
    /// The row's stamp was a second old and has been renewed: the route must be asked for again.
    pub due: bool,
}

impl<A: Family> Known<A> {
    /// The row.
    #[inline(always)]
    pub fn get(&self) -> &Flow<A> {
        // SAFETY: a value of the flow map; the kernel keeps it in place while the program runs.
        unsafe { &*self.row }
    }
    /// Whether all of these flags are set.
    #[inline(always)]
    pub fn has(&self, flags: u16) -> bool {
        self.get().flags & flags == flags
    }
}

/// Finds the row of a packet. The flow's state does not change yet: a hook may see rows that another hook serves.
#[inline(always)]
pub fn find<A: Family>(p: &Parsed<A>) -> Option<Known<A>> {
    A::flow(&p.key).map(|row| Known { row, due: false })
}

/// What becomes of a packet whose flow is remembered.
pub enum Entered<A: Family> {
    /// It goes the flow's way.
    Follow(Known<A>),
    /// The flow was over, and its rows are gone: the packet is treated like one of no flow. A flow that it starts has these
    /// flags.
    Anew(u16),
    /// It is the backend's, and not about this flow but about a connection past the service that has the flow's tuple.
    Direct,
    /// It goes nowhere.
    Refused(Reason),
}

/// Takes a packet into its flow: TCP state, confirmation, stamp.
///
/// A client may already speak to the backend past the service by the ports of a flow that it opens: nobody translates that, and
/// nobody remembers it. The backend tells, since it answers the SYN by going on with what it has ([`tcp::crossed`]). The first
/// such answer goes to the flow's client, whose kernel then tries again at once and resets what it has not begun; the reset
/// ends here, and the next try gets another port. All others are left alone.
#[inline(always)]
pub fn enter<A: Family>(p: &Parsed<A>, mut known: Known<A>) -> Entered<A> {
    let mut said = if p.is_udp() { seen::ACK } else { tcp::seen_by(p.tcp) };
    let row = known.get();
    if is_direct(row, said) {
        if row.seen != 0 {
            return Entered::Direct;
        }
        // A FIN is not the flow's.
        said = seen::ACK;
    }
    let crossed = row.flags & flow_flag::REPLY == 0 && tcp::crossed(row.seen, row.peer_seen);
    if crossed && said & seen::RST != 0 {
        return Entered::Refused(Reason::Crossed);
    }
    let opens_crossed = crossed && tcp::opens(p.tcp);
    if opens_crossed || over(p, row) {
        end(p, row);
        return Entered::Anew(if opens_crossed { flow_flag::MOVED } else { 0 });
    }
    if p.fragment && p.is_sctp() {
        return Entered::Refused(Reason::Fragment);
    }
    if known.get().seen & said != said {
        hear(p, known.row, said);
    }
    if (known.get().seen | known.get().peer_seen) & seen::RST != 0 && said & seen::RST == 0 {
        doubt(p, known.row);
    }
    let now = jiffies();
    if due(now, known.get().stamp) {
        known.due = true;
        // SAFETY: as in `get`; a race with another CPU writes nearly the same number.
        unsafe { (*known.row).stamp = now };
        if !mend(p, known.get()) {
            A::remove_flow(&p.key);
            return Entered::Anew(0);
        }
    }
    Entered::Follow(known)
}

/// Whether a packet that says this is about a connection past the service that has the flow's tuple. At the far end of a DSR flow
/// the client's port is not ours to change, so there the two stay as they are.
#[inline(always)]
pub fn is_direct<A>(row: &Flow<A>, said: u8) -> bool {
    row.flags & (flow_flag::REPLY | flow_flag::DSR_END) == flow_flag::REPLY
        && tcp::crossed(row.peer_seen, row.seen | said)
}

/// Removes both rows.
///
/// This and the other steps that few packets take are functions of their own, for the stack's sake: what they keep there
/// does not count where a flow starts, which is the longest chain of calls.
#[inline(never)]
pub fn end<A: Family>(p: &Parsed<A>, row: &Flow<A>) {
    let partner = row.partner(&p.key);
    A::remove_flow(&partner);
    A::remove_flow(&p.key);
}

/// Once a second a flow makes sure that its other row is there, and writes it again when somebody has removed it: each
/// row holds all of its partner. `false` when the partner's tuple belongs to another flow by now.
#[inline(never)]
fn mend<A: Family>(p: &Parsed<A>, row: &Flow<A>) -> bool {
    let key = row.partner(&p.key);
    // What the partner writes: our key, reversed, or at the far end of a DSR flow the tuple that stands in our row.
    let answer = if row.flags & flow_flag::DSR_END == 0 {
        p.key.reversed()
    } else {
        FlowKey { src: row.dst, dst: row.src, sport: row.dport, dport: row.sport, proto: p.key.proto }
    };
    if let Some(partner) = A::flow(&key) {
        // SAFETY: as in `Known::get`.
        let partner = unsafe { &*partner };
        return partner.src == answer.src
            && partner.dst == answer.dst
            && partner.sport == answer.sport
            && partner.dport == answer.dport;
    }
    let Some(scratch) = A::scratch() else { return true };
    // SAFETY: a per-CPU value; programs of one CPU do not interleave at these hooks.
    let partner = unsafe { &mut (*scratch).row };
    partner.src = answer.src;
    partner.dst = answer.dst;
    partner.sport = answer.sport;
    partner.dport = answer.dport;
    partner.delta = !row.delta;
    partner.stamp = row.stamp;
    partner.service = row.service;
    partner.backend = row.backend;
    partner.ring = row.ring;
    partner.flags = row.flags ^ flow_flag::REPLY;
    partner.seen = row.peer_seen;
    partner.peer_seen = row.seen;
    partner.egress = Egress { ifindex: 0, dmac: [0; 6], smac: [0; 6] };
    A::insert_flow(&key, partner).is_ok()
}

/// Whether this packet must not follow the row: it opens a connection and the old one is closed or its backend takes no
/// new ones, or it is a datagram to a backend that is gone. Only opening packets of the client ever pick again. A SYN-ACK
/// on a closed flow answers a connection that goes past the service, by the same ports.
#[inline(always)]
fn over<A: Family>(p: &Parsed<A>, row: &Flow<A>) -> bool {
    let opens = tcp::opens(p.tcp);
    if row.flags & flow_flag::REPLY != 0 {
        let answers = p.tcp & (tcp::SYN | tcp::ACK) == tcp::SYN | tcp::ACK;
        return answers && tcp::phase(row.peer_seen, row.seen) == tcp::Phase::Closed;
    }
    if !(opens || p.is_udp()) {
        return false;
    }
    let phase = tcp::phase(row.seen, row.peer_seen);
    if row.flags & flow_flag::LOCAL_SOCKET != 0 {
        return opens && phase == tcp::Phase::Closed;
    }
    let state = match A::backend(row.backend) {
        // SAFETY: a row of an array map lives as long as the program.
        Some(backend) => unsafe {
            let (addr, port) = match row.flags & flow_flag::DSR_END {
                0 => (row.dst, row.dport),
                _ => (p.key.dst, p.key.dport),
            };
            let same = (*backend).addr == addr && (*backend).port == port;
            if same { (*backend).state } else { 0 }
        },
        None => 0,
    };
    if p.is_udp() {
        return state == 0 || state == BackendState::TerminatingNotServing as u8;
    }
    match phase {
        tcp::Phase::Closed => true,
        tcp::Phase::Opening => state != BackendState::Active as u8,
        // A forged SYN must not end a living flow.
        tcp::Phase::Established | tcp::Phase::Closing => state == 0,
    }
}

/// Takes a RST for a FIN, since somebody goes on speaking: whoever knows the tuple may have sent it, with a sequence number
/// that the ends do not believe (RFC 5961 3). The flow then lives as one that is closing.
#[inline(never)]
fn doubt<A: Family>(p: &Parsed<A>, row: *mut Flow<A>) {
    let heard = |bits: u8| if bits & seen::RST != 0 { bits & !seen::RST | seen::FIN } else { bits };
    // SAFETY: as in `Known::get`; a race with another CPU leaves the RST, for the next segment to doubt.
    unsafe {
        let row = &mut *row;
        row.seen = heard(row.seen);
        row.peer_seen = heard(row.peer_seen);
        if let Some(partner) = A::flow(&row.partner(&p.key)) {
            (*partner).seen = heard((*partner).seen);
            (*partner).peer_seen = heard((*partner).peer_seen);
        }
    }
}

/// Notes what a direction has said for the first time, in both rows, and confirms the flow when both ends have spoken.
#[inline(never)]
fn hear<A: Family>(p: &Parsed<A>, row: *mut Flow<A>, said: u8) {
    // SAFETY: as in `Known::get`. Bits are only ever added; a lost race is repaired by the next such packet.
    unsafe {
        let row = &mut *row;
        // Nothing yet: XDP has made the flow for this very datagram, or for the one before, which it sent.
        let silent = config::has(feature::XDP) && row.flags & flow_flag::DSR != 0 && row.seen == 0;
        let said = if silent && p.is_udp() { seen::SYN } else { said };
        row.seen |= said;
        if row.flags & flow_flag::DSR != 0 && row.seen & seen::SYN != 0 && row.seen & seen::ACK != 0 {
            // The backend's answers go past this node. A client that goes on has had one.
            row.peer_seen |= seen::SYN | seen::ACK;
        }
        let (client, backend) = if row.flags & flow_flag::REPLY != 0 {
            (row.peer_seen, row.seen)
        } else {
            (row.seen, row.peer_seen)
        };
        let confirmed = if tcp::confirmed(client, backend) { flow_flag::CONFIRMED } else { 0 };
        row.flags |= confirmed;
        if let Some(partner) = A::flow(&row.partner(&p.key)) {
            (*partner).peer_seen |= said;
            (*partner).seen |= row.peer_seen;
            (*partner).flags |= confirmed;
        }
    }
}
