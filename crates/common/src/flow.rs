//! Flows: two rows for each connection or UDP exchange that a packet path translates.
//!
//! The *forward* row's key is the tuple as the client sends it; the *reply* row's key is the tuple as the backend
//! answers it. Each row's value is the tuple to write into the packet, so one lookup serves an established packet,
//! and each row leads to its partner: [`Flow::partner`].

use crate::{Addr, Ip4, Ip6, PortBe, pod};

/// Key of the `flows4`/`flows6` maps: a packet's addresses, ports and protocol as it arrives.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FlowKey<A> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Source port.
    pub sport: PortBe,
    /// Destination port.
    pub dport: PortBe,
    /// IP protocol number, widened so that the key has no padding.
    pub proto: u32,
}

const _: () = assert!(size_of::<FlowKey<Ip4>>() == 16 && size_of::<FlowKey<Ip6>>() == 40);

impl<A: Addr> FlowKey<A> {
    /// The all-zero key, which no packet has.
    pub const ZERO: Self = Self { src: A::ZERO, dst: A::ZERO, sport: PortBe(0), dport: PortBe(0), proto: 0 };

    /// The tuple of an answer to a packet with this tuple.
    #[inline(always)]
    pub const fn reversed(&self) -> Self {
        Self { src: self.dst, dst: self.src, sport: self.dport, dport: self.sport, proto: self.proto }
    }
}

/// The last FIB answer for a row. Good for as long as [`Flow::stamp`] is fresh (a second), so that a next hop that
/// changes is followed at once and the kernel's neighbour entry is kept alive.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Egress {
    /// Device to send on; zero when unknown.
    pub ifindex: u32,
    /// Destination MAC.
    pub dmac: [u8; 6],
    /// Source MAC.
    pub smac: [u8; 6],
}

/// Value of the `flows4`/`flows6` maps.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flow<A> {
    /// Source address after rewriting.
    pub src: A,
    /// Destination address after rewriting.
    pub dst: A,
    /// Source port after rewriting.
    pub sport: PortBe,
    /// Destination port after rewriting.
    pub dport: PortBe,
    /// What rewriting the addresses adds to a ones'-complement sum, see [`crate::csum`].
    pub delta: u32,
    /// Low 32 bits of jiffies at the last packet of this direction; written at most once a second.
    pub stamp: u32,
    /// Service id of the frontend that made the flow.
    pub service: u32,
    /// Backend id.
    pub backend: u32,
    /// Slot of the unconfirmed ring that owns this flow until it is confirmed: CPU in the top byte, index below.
    pub ring: u32,
    /// Bits of [`flow_flag`].
    pub flags: u16,
    /// TCP flags seen in this row's direction, bits of [`seen`].
    pub seen: u8,
    /// TCP flags seen in the partner's direction, copied here when they change.
    pub peer_seen: u8,
    /// Last FIB answer, for rows that forward.
    pub egress: Egress,
}

const _: () = assert!(size_of::<Flow<Ip4>>() == 52 && size_of::<Flow<Ip6>>() == 76);
pod!(FlowKey<Ip4>, FlowKey<Ip6>, Flow<Ip4>, Flow<Ip6>);

impl<A: Addr> Flow<A> {
    /// Key of the other row of this flow, for the row under `key`.
    ///
    /// The partner answers what this row sends, so its key is this row's rewritten tuple, reversed. At the far end of a
    /// DSR flow the client's packets are not rewritten, and it is the key itself that is reversed.
    #[inline(always)]
    pub const fn partner(&self, key: &FlowKey<A>) -> FlowKey<A> {
        if self.flags & flow_flag::DSR_END != 0 {
            return key.reversed();
        }
        FlowKey { src: self.dst, dst: self.src, sport: self.dport, dport: self.sport, proto: key.proto }
    }
}

/// Bits of [`Flow::flags`].
pub mod flow_flag {
    /// The row translates replies (backend to client).
    pub const REPLY: u16 = 1 << 0;
    /// Both ends have spoken: the flow is never evicted to make room.
    pub const CONFIRMED: u16 = 1 << 1;
    /// The source is rewritten too (remote backend).
    pub const SNAT: u16 = 1 << 2;
    /// Rewritten packets leave by the FIB, not by the stack.
    pub const FIB: u16 = 1 << 3;
    /// The flow came through a pod interface.
    pub const POD: u16 = 1 << 4;
    /// The flow belongs to a socket of this node whose port a SNAT flow already had.
    pub const LOCAL_SOCKET: u16 = 1 << 5;
    /// A pod reaches itself through a service, by packets: they turn round at its own interface. With [`LOCAL_SOCKET`], a
    /// socket of the node that talks to that pod and was moved out of such a flow's way.
    pub const HAIRPIN: u16 = 1 << 6;
    /// The client's port is not kept: a connection past the service has it at the backend.
    pub const MOVED: u16 = 1 << 7;
    /// The backend answers the client itself (direct server return): no reply comes back here, and both rows' source is
    /// the client.
    pub const DSR: u16 = 1 << 10;
    /// Every packet of this DSR flow carries the service's address and port, not only those that open it: its beginning
    /// was not seen here, or it is one of datagrams.
    pub const INFORM: u16 = 1 << 11;
    /// The flow is another node's DSR flow, and this is the backend's node. The forward row is keyed by the client and the
    /// backend, since that is how packets arrive, and its tuple is that of the client and the service, which is not
    /// written into them: it is what the reply row is made of.
    pub const DSR_END: u16 = 1 << 12;
}

/// Bits of [`Flow::seen`] and [`Flow::peer_seen`].
pub mod seen {
    /// A SYN.
    pub const SYN: u8 = 1 << 0;
    /// A segment with ACK and without SYN; for UDP, any datagram.
    pub const ACK: u8 = 1 << 1;
    /// A FIN.
    pub const FIN: u8 = 1 << 2;
    /// A RST.
    pub const RST: u8 = 1 << 3;
}
