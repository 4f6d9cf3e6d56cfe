//! The decision about one row: pure.

use super::lifetimes::Ticks;
use crate::clock::age;
use shunt_common::{Flow, Proto, flow_flag, tcp};

/// What a row says that matters here, whatever its family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Row {
    /// IP protocol number.
    pub(super) proto: u32,
    /// Low half of jiffies at the last packet of its direction.
    pub(super) stamp: u32,
    /// Bits of [`flow_flag`].
    pub(super) flags: u16,
    /// TCP flags seen in its direction.
    pub(super) seen: u8,
    /// TCP flags seen in the other.
    pub(super) peer_seen: u8,
}

impl Row {
    pub(super) const fn new<A: Copy>(proto: u32, flow: &Flow<A>) -> Self {
        let Flow { stamp, flags, seen, peer_seen, .. } = *flow;
        Self { proto, stamp, flags, seen, peer_seen }
    }

    /// What the client and the backend have sent, as this row knows it.
    const fn sides(&self) -> (u8, u8) {
        if self.flags & flow_flag::REPLY != 0 {
            (self.peer_seen, self.seen)
        } else {
            (self.seen, self.peer_seen)
        }
    }

    /// How long the flow may be silent, as this row alone knows it.
    fn lifetime(&self, rules: &Ticks) -> u32 {
        if self.proto == Proto::Tcp as u32 || self.proto == Proto::Sctp as u32 {
            let (client, backend) = self.sides();
            rules.tcp(tcp::phase(client, backend))
        } else {
            rules.other(self.flags & flow_flag::CONFIRMED != 0)
        }
    }

    /// Whether the row has been silent long enough to look at its partner.
    pub(super) fn is_silent(&self, now: u32, rules: &Ticks) -> bool {
        age(now, self.stamp) > self.lifetime(rules)
    }
}

/// What to do with a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Nothing.
    Keep,
    /// Remove both rows.
    Expired,
    /// Remove the row: it has no partner.
    Orphan,
}

/// Judges a silent row beside its partner.
pub(super) fn judge(row: &Row, partner: Option<&Row>, now: u32, rules: &Ticks) -> Verdict {
    let Some(partner) = partner else { return Verdict::Orphan };
    // Each row is sure of its own direction; its copy of the other's may lag behind.
    let whole = Row {
        flags: row.flags | (partner.flags & flow_flag::CONFIRMED),
        peer_seen: row.peer_seen | partner.seen,
        ..*row
    };
    let silent = age(now, row.stamp).min(age(now, partner.stamp));
    if silent > whole.lifetime(rules) { Verdict::Expired } else { Verdict::Keep }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lifetimes;
    use shunt_common::seen::{ACK, FIN, RST, SYN};

    const HZ: u32 = 250;
    const NOW: u32 = 4_000_000;
    const TCP: u32 = Proto::Tcp as u32;
    const UDP: u32 = Proto::Udp as u32;

    fn row(proto: u32, seconds_ago: u32, flags: u16, seen: u8, peer_seen: u8) -> Row {
        Row { proto, stamp: NOW.wrapping_sub(seconds_ago * HZ), flags, seen, peer_seen }
    }

    /// Forward and reply rows, with how long ago each was used.
    fn pair(proto: u32, ago: (u32, u32), confirmed: bool, seen: (u8, u8)) -> (Row, Row) {
        let flags = if confirmed { flow_flag::CONFIRMED } else { 0 };
        let forward = row(proto, ago.0, flags, seen.0, seen.1);
        (forward, row(proto, ago.1, flags | flow_flag::REPLY, seen.1, seen.0))
    }

    fn verdict((forward, reply): (Row, Row)) -> Verdict {
        let rules = Lifetimes::default().in_ticks(HZ);
        let judged = |row: &Row, partner: &Row| match row.is_silent(NOW, &rules) {
            true => judge(row, Some(partner), NOW, &rules),
            false => Verdict::Keep,
        };
        let (by_forward, by_reply) = (judged(&forward, &reply), judged(&reply, &forward));
        if by_forward == Verdict::Expired { by_forward } else { by_reply }
    }

    #[test]
    fn lifetimes_follow_protocol_and_state() {
        let open = (SYN | ACK, SYN | ACK);
        let table = [
            ("syn, 59 s", TCP, 59, (SYN, 0), Verdict::Keep),
            ("syn, 62 s", TCP, 62, (SYN, 0), Verdict::Expired),
            ("established, 7999 s", TCP, 7999, open, Verdict::Keep),
            ("established, 8002 s", TCP, 8002, open, Verdict::Expired),
            ("one fin, 119 s", TCP, 119, (open.0 | FIN, open.1), Verdict::Keep),
            ("one fin, 122 s", TCP, 122, (open.0 | FIN, open.1), Verdict::Expired),
            ("both fin, 9 s", TCP, 9, (open.0 | FIN, open.1 | FIN), Verdict::Keep),
            ("both fin, 12 s", TCP, 12, (open.0 | FIN, open.1 | FIN), Verdict::Expired),
            ("reset, 12 s", TCP, 12, (open.0, open.1 | RST), Verdict::Expired),
        ];
        for (name, proto, ago, seen, wanted) in table {
            assert_eq!(verdict(pair(proto, (ago, ago), true, seen)), wanted, "{name}");
        }
        for (ago, confirmed, wanted) in [
            (29, false, Verdict::Keep),
            (32, false, Verdict::Expired),
            (119, true, Verdict::Keep),
            (122, true, Verdict::Expired),
        ] {
            assert_eq!(
                verdict(pair(UDP, (ago, ago), confirmed, (ACK, ACK))),
                wanted,
                "udp {ago} {confirmed}"
            );
        }
    }

    #[test]
    fn a_flow_lives_while_either_direction_speaks() {
        for ago in [(9000, 1), (1, 9000)] {
            let seen = (SYN | ACK, SYN | ACK);
            assert_eq!(verdict(pair(TCP, ago, true, seen)), Verdict::Keep, "{ago:?}");
        }
    }

    #[test]
    fn what_only_the_partner_knows_counts() {
        let rules = Lifetimes::default().in_ticks(HZ);
        // The forward row has not heard of the reply yet: it looks unconfirmed, its partner knows better.
        let forward = row(UDP, 60, 0, ACK, 0);
        let reply = row(UDP, 60, flow_flag::REPLY | flow_flag::CONFIRMED, ACK, ACK);
        assert!(forward.is_silent(NOW, &rules));
        assert_eq!(judge(&forward, Some(&reply), NOW, &rules), Verdict::Keep);
        let forward = row(TCP, 100, 0, SYN | ACK, 0);
        let reply = row(TCP, 100, flow_flag::REPLY, SYN | ACK, SYN | ACK);
        assert!(forward.is_silent(NOW, &rules));
        assert_eq!(judge(&forward, Some(&reply), NOW, &rules), Verdict::Keep);
    }

    #[test]
    fn a_silent_row_without_a_partner_is_an_orphan_and_a_fresh_one_is_left_to_whoever_makes_it() {
        let rules = Lifetimes::default().in_ticks(HZ);
        assert!(!row(TCP, 0, 0, SYN, 0).is_silent(NOW, &rules));
        assert_eq!(judge(&row(TCP, 100, 0, SYN, 0), None, NOW, &rules), Verdict::Orphan);
    }

    #[test]
    fn stamps_ahead_of_the_sample_and_across_the_wrap_are_right() {
        let rules = Lifetimes::default().in_ticks(HZ);
        let ahead = Row { stamp: NOW + 3, ..row(TCP, 0, 0, SYN, 0) };
        assert!(!ahead.is_silent(NOW, &rules));
        let wrapped = Row { stamp: u32::MAX - 62 * HZ, ..row(TCP, 0, 0, SYN, 0) };
        assert!(wrapped.is_silent(10, &rules));
    }
}
