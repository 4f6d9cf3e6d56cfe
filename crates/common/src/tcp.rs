//! TCP as far as a translator needs it: what a segment says about its flow, and how long a flow may stay silent.

use crate::seen;

/// The FIN bit of the TCP flags octet (RFC 9293 3.1).
pub const FIN: u8 = 0x01;
/// The SYN bit.
pub const SYN: u8 = 0x02;
/// The RST bit.
pub const RST: u8 = 0x04;
/// The ACK bit.
pub const ACK: u8 = 0x10;

/// Whether a segment opens a connection: SYN without ACK. Only such a segment may pick a backend again.
#[inline(always)]
pub const fn opens(flags: u8) -> bool {
    flags & (SYN | ACK) == SYN
}

/// What a segment adds to the `seen` bits of its direction.
#[inline(always)]
pub const fn seen_by(flags: u8) -> u8 {
    let mut bits = 0;
    if flags & SYN != 0 {
        bits |= seen::SYN;
    } else if flags & ACK != 0 {
        bits |= seen::ACK;
    }
    if flags & FIN != 0 {
        bits |= seen::FIN;
    }
    if flags & RST != 0 {
        bits |= seen::RST;
    }
    bits
}

/// The TCP flags that mean what an SCTP packet's first chunk means (RFC 9260 3.2), so that one state machine serves both:
/// INIT opens, INIT ACK answers, SHUTDOWN and SHUTDOWN ACK are the two FINs, ABORT resets.
#[inline(always)]
pub const fn of_sctp(chunk: u8) -> u8 {
    match chunk {
        1 => SYN,
        2 => SYN | ACK,
        6 => RST,
        7 | 8 => FIN | ACK,
        _ => ACK,
    }
}

/// Whether a flow counts as confirmed: the backend answered and the client answered that (the third segment of the
/// handshake), so that a forged SYN whose SYN-ACK goes nowhere never counts.
#[inline(always)]
pub const fn confirmed(client: u8, backend: u8) -> bool {
    client & seen::ACK != 0 && backend & (seen::SYN | seen::ACK) != 0
}

/// Whether what a backend says is not about this flow: the client has done nothing but open, and the backend goes on with a
/// connection. It has one with the same client by the same ports, past the service (RFC 5961 4: it acknowledges that one when it
/// hears the SYN), or remembers one for a while (TIME-WAIT).
#[inline(always)]
pub const fn crossed(client: u8, backend: u8) -> bool {
    client == seen::SYN && backend & (seen::SYN | seen::ACK | seen::RST) == seen::ACK
}

/// The phase of a flow that its lifetime follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Handshake not finished.
    Opening,
    /// Data may flow.
    Established,
    /// One side has sent FIN.
    Closing,
    /// Both sides have sent FIN, or one a RST.
    Closed,
}

/// The phase of a TCP flow from what both directions have sent.
#[inline(always)]
pub const fn phase(client: u8, backend: u8) -> Phase {
    let both = client | backend;
    if both & seen::RST != 0 || client & backend & seen::FIN != 0 {
        Phase::Closed
    } else if both & seen::FIN != 0 {
        Phase::Closing
    } else if confirmed(client, backend) {
        Phase::Established
    } else {
        Phase::Opening
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_syn_answered_by_a_syn_ack_is_not_confirmed_until_the_client_acks() {
        let client = seen_by(SYN);
        let backend = seen_by(SYN | ACK);
        assert!(!confirmed(client, backend));
        assert!(confirmed(client | seen_by(ACK), backend));
    }

    #[test]
    fn an_answer_to_a_syn_that_neither_accepts_nor_refuses_is_another_connection_s() {
        let opened = seen_by(SYN);
        assert!(crossed(opened, seen_by(ACK)) && crossed(opened, seen_by(FIN | ACK)));
        for answer in
            [0, seen_by(SYN | ACK), seen_by(RST | ACK), seen_by(RST), seen_by(SYN | ACK) | seen_by(ACK)]
        {
            assert!(!crossed(opened, answer), "{answer:#x}");
        }
        assert!(!crossed(opened | seen_by(ACK), seen_by(ACK)), "the client has had its answer");
        assert!(!crossed(seen_by(ACK), seen_by(ACK)), "begun before we looked");
    }

    #[test]
    fn phases_follow_fin_and_rst() {
        let open = (seen::SYN | seen::ACK, seen::SYN | seen::ACK);
        assert_eq!(phase(seen::SYN, 0), Phase::Opening);
        assert_eq!(phase(open.0, open.1), Phase::Established);
        assert_eq!(phase(open.0 | seen::FIN, open.1), Phase::Closing);
        assert_eq!(phase(open.0 | seen::FIN, open.1 | seen::FIN), Phase::Closed);
        assert_eq!(phase(open.0, open.1 | seen::RST), Phase::Closed);
    }
}
