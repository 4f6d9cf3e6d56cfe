//! How long silent flows are remembered.

use shunt_common::tcp::Phase;
use std::time::Duration;

/// For how long a flow may be silent in both directions before it is forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lifetimes {
    /// TCP whose handshake is done.
    pub tcp_established: Duration,
    /// TCP whose handshake is not done.
    pub tcp_syn: Duration,
    /// TCP of which one side has sent FIN. The other may go on sending, so this is netfilter's time for it, which
    /// services behind kube-proxy live with.
    pub tcp_closing: Duration,
    /// TCP of which both sides have sent FIN, or one a RST.
    pub tcp_closed: Duration,
    /// UDP (and all else) that has seen no reply.
    pub udp_unconfirmed: Duration,
    /// UDP (and all else) that has seen a reply.
    pub udp_confirmed: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            tcp_established: Duration::from_secs(8000),
            tcp_syn: Duration::from_secs(60),
            tcp_closing: Duration::from_secs(120),
            tcp_closed: Duration::from_secs(10),
            udp_unconfirmed: Duration::from_secs(30),
            udp_confirmed: Duration::from_secs(120),
        }
    }
}

/// [`Lifetimes`] in ticks of the kernel's clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ticks {
    established: u32,
    opening: u32,
    closing: u32,
    closed: u32,
    unconfirmed: u32,
    confirmed: u32,
}

impl Lifetimes {
    /// In ticks, `hz` of which make a second. A stamp may be a second old before it is written again, so each
    /// lifetime is a second longer.
    pub(super) fn in_ticks(&self, hz: u32) -> Ticks {
        // Half the range of a stamp is the future; a longer lifetime than that cannot be told from it.
        let most = u64::from(u32::MAX / 2 - 1);
        let ticks =
            |d: Duration| (u64::from(hz).saturating_mul(d.as_secs().saturating_add(1))).min(most) as u32;
        Ticks {
            established: ticks(self.tcp_established),
            opening: ticks(self.tcp_syn),
            closing: ticks(self.tcp_closing),
            closed: ticks(self.tcp_closed),
            unconfirmed: ticks(self.udp_unconfirmed),
            confirmed: ticks(self.udp_confirmed),
        }
    }
}

impl Ticks {
    /// Of a TCP flow.
    pub(super) const fn tcp(&self, phase: Phase) -> u32 {
        match phase {
            Phase::Opening => self.opening,
            Phase::Established => self.established,
            Phase::Closing => self.closing,
            Phase::Closed => self.closed,
        }
    }

    /// Of any other flow.
    pub(super) const fn other(&self, confirmed: bool) -> u32 {
        if confirmed { self.confirmed } else { self.unconfirmed }
    }
}
