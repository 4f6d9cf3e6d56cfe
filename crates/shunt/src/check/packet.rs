//! Probe packets, and what an answer to one looks like: pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How a probe, which is an ICMP echo request, is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Carrier {
    /// As any ping.
    Plain,
    /// With the option of `loadBalancer.dsrDispatch: opt` behind its IP header.
    Opt,
    /// Inside of another packet, as `ipip` sends them.
    Ipip,
    /// Inside of UDP, as `geneve` sends them.
    Geneve,
}

/// What came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// The echo.
    Echo,
    /// An ICMP error: who sent it, its type and its code.
    Error {
        /// Who says it.
        from: IpAddr,
        /// ICMP type.
        kind: u8,
        /// ICMP code.
        code: u8,
    },
}

const ICMP4: u8 = 1;
const IPIP: u8 = 4;
const UDP: u8 = 17;
const IPV6: u8 = 41;
const ICMP6: u8 = 58;
const DESTINATION_OPTIONS: u8 = 60;
/// So far a packet goes.
const HOPS: u8 = 64;
/// The option of the programs (`steps/dsr/info.rs`): its type, its length, then port and address. They are zero here,
/// which no node takes for a service's.
const OPTION4: [u8; 8] = [0x9a, 8, 0, 0, 0, 0, 0, 0];
/// The same for IPv6: an extension header of 24 bytes (length 2: units of 8 beyond the first) that the option fills.
const OPTION6: [u8; 23] = [2, 0x1b, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Geneve's port, and its header up to the option's address (`steps/dsr/geneve.rs`): flags, the option's class and type. The
/// lengths and the EtherType are the family's.
const GENEVE_PORT: u16 = 6081;
const GENEVE_FLAGS: u8 = 0x40;
const GENEVE_OPTION: [u8; 3] = [0x01, 0x4b, 0x81];

/// A probe, from its IP header on; `token` is in every header, so that an error that quotes little is known too.
pub(super) fn probe(carrier: Carrier, src: IpAddr, dst: IpAddr, token: u16) -> Vec<u8> {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let mut echo = vec![8, 0, 0, 0, 0, 0, 0, 1];
            echo[4..6].copy_from_slice(&token.to_be_bytes());
            let check = checksum(&[&echo]);
            echo[2..4].copy_from_slice(&check.to_be_bytes());
            let packet = |options: &[u8]| header4(src, dst, ICMP4, token, options, &echo);
            match carrier {
                Carrier::Plain => packet(&[]),
                Carrier::Opt => packet(&OPTION4),
                Carrier::Ipip => header4(src, dst, IPIP, token, &[], &packet(&[])),
                // Without a sum, as the programs send it.
                Carrier::Geneve => {
                    header4(src, dst, UDP, token, &[], &udp(&geneve(0x0800, 4, &packet(&[])), |_| 0))
                }
            }
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let mut echo = vec![128, 0, 0, 0, 0, 0, 0, 1];
            echo[4..6].copy_from_slice(&token.to_be_bytes());
            let pseudo = [0, 0, 0, echo.len() as u8, 0, 0, 0, ICMP6];
            let check = checksum(&[&src.octets(), &dst.octets(), &pseudo, &echo]);
            echo[2..4].copy_from_slice(&check.to_be_bytes());
            match carrier {
                Carrier::Plain => header6(src, dst, ICMP6, token, &echo),
                Carrier::Opt => {
                    let body = [&[ICMP6][..], &OPTION6, &echo].concat();
                    header6(src, dst, DESTINATION_OPTIONS, token, &body)
                }
                Carrier::Ipip => header6(src, dst, IPV6, token, &header6(src, dst, ICMP6, token, &echo)),
                // With a sum: a kernel that has no such tunnel says nothing to a datagram without one (RFC 6936).
                Carrier::Geneve => {
                    let body = geneve(0x86dd, 16, &header6(src, dst, ICMP6, token, &echo));
                    let sum = |datagram: &[u8]| {
                        let pseudo = [0, 0, (datagram.len() >> 8) as u8, datagram.len() as u8, 0, 0, 0, UDP];
                        checksum(&[&src.octets(), &dst.octets(), &pseudo, datagram])
                    };
                    header6(src, dst, UDP, token, &udp(&body, sum))
                }
            }
        }
        // Routes have one family at both ends.
        _ => Vec::new(),
    }
}

/// A Geneve header whose option has an address of this length and a port, all zero, before what it carries.
fn geneve(ethertype: u16, address: usize, inner: &[u8]) -> Vec<u8> {
    let option = (address + 4) / 4;
    let mut packet = vec![option as u8 + 1, GENEVE_FLAGS];
    packet.extend(ethertype.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(GENEVE_OPTION);
    packet.push(option as u8);
    packet.resize(packet.len() + option * 4, 0);
    packet.extend(inner);
    packet
}

/// A datagram to Geneve's port.
fn udp(body: &[u8], sum: impl Fn(&[u8]) -> u16) -> Vec<u8> {
    let mut datagram = [GENEVE_PORT, GENEVE_PORT, 8 + body.len() as u16, 0].map(u16::to_be_bytes).concat();
    datagram.extend(body);
    let sum = sum(&datagram).to_be_bytes();
    datagram[6..8].copy_from_slice(&sum);
    datagram
}

fn header4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, id: u16, options: &[u8], body: &[u8]) -> Vec<u8> {
    let words = 5 + options.len() / 4;
    let length = words * 4 + body.len();
    let mut header = vec![0x40 | words as u8, 0, (length >> 8) as u8, length as u8];
    header.extend(id.to_be_bytes());
    // No flags and no fragment offset; the checksum follows.
    header.extend([0, 0, HOPS, protocol, 0, 0]);
    header.extend(src.octets());
    header.extend(dst.octets());
    header.extend(options);
    let check = checksum(&[&header]);
    header[10..12].copy_from_slice(&check.to_be_bytes());
    header.extend(body);
    header
}

/// The flow label tells what IPv4's identification does.
fn header6(src: Ipv6Addr, dst: Ipv6Addr, next: u8, label: u16, body: &[u8]) -> Vec<u8> {
    let mut header = vec![0x60, 0];
    header.extend(label.to_be_bytes());
    header.extend((body.len() as u16).to_be_bytes());
    header.extend([next, HOPS]);
    header.extend(src.octets());
    header.extend(dst.octets());
    header.extend(body);
    header
}

/// RFC 1071; each part but the last has an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u32 = words.map(|w| u32::from(w[0]) << 8 | u32::from(w.get(1).copied().unwrap_or(0))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

/// The answer to the probe with a token to `dst` that an ICMP message is, if it is one; `icmp` begins at its header.
pub(super) fn answer(icmp: &[u8], from: IpAddr, dst: IpAddr, token: u16) -> Option<Answer> {
    let (&[kind, code, ..], quoted) = (icmp.get(..8)?, icmp.get(8..)?) else { return None };
    let reply = if dst.is_ipv4() { 0 } else { 129 };
    if kind == reply {
        return (from == dst && icmp[4..6] == token.to_be_bytes()).then_some(Answer::Echo);
    }
    let is_error = if dst.is_ipv4() { [3, 11, 12].contains(&kind) } else { (1..=4).contains(&kind) };
    let (id, to) = match dst {
        IpAddr::V4(_) => (quoted.get(4..6)?, IpAddr::from(<[u8; 4]>::try_from(quoted.get(16..20)?).ok()?)),
        IpAddr::V6(_) => (quoted.get(2..4)?, IpAddr::from(<[u8; 16]>::try_from(quoted.get(24..40)?).ok()?)),
    };
    (is_error && to == dst && id == token.to_be_bytes()).then_some(Answer::Error { from, kind, code })
}

/// Where the ICMP message begins in an IPv4 packet.
pub(super) fn icmp_of_ipv4(packet: &[u8]) -> Option<&[u8]> {
    packet.get(usize::from(packet.first()? & 0xf) * 4..)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
    const V6: [&str; 2] = ["2001:db8::1", "2001:db8::2"];

    fn made(carrier: Carrier, [src, dst]: [&str; 2]) -> Vec<u8> {
        probe(carrier, src.parse().unwrap(), dst.parse().unwrap(), 0xabcd)
    }

    #[test]
    fn packets_have_the_lengths_and_sums_that_their_headers_say() {
        for (carrier, length, words) in
            [(Carrier::Plain, 28, 5), (Carrier::Opt, 36, 7), (Carrier::Ipip, 48, 5), (Carrier::Geneve, 76, 5)]
        {
            let packet = made(carrier, V4);
            assert_eq!((packet.len(), u16::from_be_bytes([packet[2], packet[3]])), (length, length as u16));
            assert_eq!(packet[0], 0x40 | words);
            assert_eq!(checksum(&[&packet[..usize::from(words) * 4]]), 0);
            assert_eq!(checksum(&[&packet[length - 8..]]), 0);
        }
        for (carrier, length, next) in [
            (Carrier::Plain, 48, 58),
            (Carrier::Opt, 72, 60),
            (Carrier::Ipip, 88, 41),
            (Carrier::Geneve, 128, 17),
        ] {
            let packet = made(carrier, V6);
            assert_eq!((packet.len(), packet[6]), (length, next));
            assert_eq!(usize::from(u16::from_be_bytes([packet[4], packet[5]])), length - 40);
            let pseudo = [0, 0, 0, 8, 0, 0, 0, ICMP6];
            assert_eq!(checksum(&[&packet[8..40], &pseudo, &packet[length - 8..]]), 0);
        }
    }

    #[test]
    fn options_are_those_of_the_programs() {
        assert_eq!(made(Carrier::Opt, V4)[20..22], [0x9a, 8]);
        assert_eq!(made(Carrier::Opt, V6)[40..44], [58, 2, 0x1b, 20]);
        let port = [0x17, 0xc1];
        let (v4, v6) = (made(Carrier::Geneve, V4), made(Carrier::Geneve, V6));
        assert_eq!(
            (&v4[22..24], &v4[26..40]),
            (&port[..], &[0, 0, 3, 0x40, 8, 0, 0, 0, 0, 0, 1, 0x4b, 0x81, 2][..])
        );
        assert_eq!(
            (&v6[42..44], &v6[48..60]),
            (&port[..], &[6, 0x40, 0x86, 0xdd, 0, 0, 0, 0, 1, 0x4b, 0x81, 5][..])
        );
        let pseudo = [0, 0, 0, 88, 0, 0, 0, UDP];
        assert_eq!(checksum(&[&v6[8..40], &pseudo, &v6[40..]]), 0);
    }

    #[test]
    fn an_answer_is_known_by_its_token_and_an_error_by_what_it_quotes() {
        for [src, dst] in [V4, V6] {
            let (peer, router): (IpAddr, IpAddr) = (dst.parse().unwrap(), src.parse().unwrap());
            let (reply, unreachable) = if peer.is_ipv4() { (0, 3) } else { (129, 1) };
            let echo = [reply, 0, 0, 0, 0xab, 0xcd, 0, 1];
            assert_eq!(answer(&echo, peer, peer, 0xabcd), Some(Answer::Echo));
            assert_eq!(answer(&echo, peer, peer, 0xabce), None, "another's");
            assert_eq!(answer(&echo, router, peer, 0xabcd), None, "not from whom was asked");
            let error = [&[unreachable, 2, 0, 0, 0, 0, 0, 0][..], &made(Carrier::Ipip, [src, dst])].concat();
            let expected = Answer::Error { from: router, kind: unreachable, code: 2 };
            assert_eq!(answer(&error, router, peer, 0xabcd), Some(expected));
            assert_eq!(answer(&error, router, peer, 1), None);
            for length in 0..48 {
                _ = answer(&error[..length], router, peer, 0xabcd);
            }
        }
    }
}
