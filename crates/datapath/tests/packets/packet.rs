//! Building packets, and reading back what a program made of them.

use etherparse::{IpNumber, NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use std::net::IpAddr;

/// The MAC of whoever sends to the node in these tests, and of the node.
pub const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];
pub const NODE: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// What a TCP segment or a UDP datagram says, with everything that a translator may change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub sport: u16,
    pub dport: u16,
    pub ttl: u8,
    pub kind: Kind,
    /// Bytes of payload.
    pub len: usize,
}

/// Transport and what matters of its header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Udp,
    /// With the type of its one chunk (RFC 9260 3.2).
    Sctp(u8),
    Tcp {
        syn: bool,
        ack: bool,
        fin: bool,
        rst: bool,
        seq: u32,
        acked: u32,
    },
}

pub const SYN: Kind = Kind::Tcp { syn: true, ack: false, fin: false, rst: false, seq: 1000, acked: 0 };
pub const SYN_ACK: Kind = Kind::Tcp { syn: true, ack: true, fin: false, rst: false, seq: 5000, acked: 1001 };
pub const ACK: Kind = Kind::Tcp { syn: false, ack: true, fin: false, rst: false, seq: 1001, acked: 5001 };
pub const FIN: Kind = Kind::Tcp { syn: false, ack: true, fin: true, rst: false, seq: 1001, acked: 5001 };

impl Packet {
    pub fn new(src: (IpAddr, u16), dst: (IpAddr, u16), kind: Kind) -> Self {
        Self { src: src.0, dst: dst.0, sport: src.1, dport: dst.1, ttl: 64, kind, len: 11 }
    }

    /// The answer's direction: ends swapped.
    pub fn reply(self, kind: Kind) -> Self {
        Self { src: self.dst, dst: self.src, sport: self.dport, dport: self.sport, kind, ..self }
    }

    /// The frame, with right checksums.
    pub fn bytes(&self) -> Vec<u8> {
        let eth = PacketBuilder::ethernet2(SENDER, NODE);
        let ip = match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => eth.ipv4(src.octets(), dst.octets(), self.ttl),
            (IpAddr::V6(src), IpAddr::V6(dst)) => eth.ipv6(src.octets(), dst.octets(), self.ttl),
            _ => panic!("a packet has one family"),
        };
        let payload: Vec<u8> = (0..self.len).map(|i| i as u8).collect();
        let mut out = Vec::new();
        match self.kind {
            Kind::Udp => ip.udp(self.sport, self.dport).write(&mut out, &payload),
            Kind::Sctp(chunk) => {
                let sctp = self.sctp(chunk, &payload);
                ip.write(&mut out, IpNumber::SCTP, &sctp)
            }
            Kind::Tcp { syn, ack, fin, rst, seq, acked } => {
                let mut tcp = ip.tcp(self.sport, self.dport, seq, 4096);
                if syn {
                    tcp = tcp.syn();
                }
                if ack {
                    tcp = tcp.ack(acked);
                }
                if fin {
                    tcp = tcp.fin();
                }
                if rst {
                    tcp = tcp.rst();
                }
                tcp.write(&mut out, &payload)
            }
        }
        .expect("a Vec takes every packet");
        out
    }

    /// Common header and a chunk.
    fn sctp(&self, chunk: u8, payload: &[u8]) -> Vec<u8> {
        let mut sctp = [self.sport.to_be_bytes(), self.dport.to_be_bytes()].concat();
        sctp.extend([7, 7, 7, 7, 0, 0, 0, 0, chunk, 0]);
        sctp.extend((payload.len() as u16 + 4).to_be_bytes());
        sctp.extend(payload);
        let sum = crc32c(&sctp);
        sctp[8..12].copy_from_slice(&sum.to_le_bytes());
        sctp
    }

    /// Reads a TCP, UDP or SCTP packet and checks every checksum on the way.
    pub fn read(frame: &[u8]) -> Self {
        let sliced = SlicedPacket::from_ethernet(frame).expect("a well-formed frame");
        let (src, dst, ttl) = network(&sliced);
        let kind;
        let payload = sliced.ip_payload().expect("an IP payload");
        if payload.ip_number == IpNumber::SCTP {
            let mut sctp = payload.payload.to_vec();
            let sum = u32::from_le_bytes([sctp[8], sctp[9], sctp[10], sctp[11]]);
            sctp[8..12].fill(0);
            assert_eq!(sum, crc32c(&sctp), "SCTP checksum of {frame:02x?}");
            let port = |at: usize| u16::from_be_bytes([sctp[at], sctp[at + 1]]);
            let (kind, len) = (Kind::Sctp(sctp[12]), sctp.len() - 16);
            return Self { src, dst, sport: port(0), dport: port(2), ttl, kind, len };
        }
        let (sport, dport, len) = match sliced.transport.expect("a transport header") {
            TransportSlice::Tcp(t) => {
                let sum = match (src, dst) {
                    (IpAddr::V4(s), IpAddr::V4(d)) => t.calc_checksum_ipv4(s.octets(), d.octets()),
                    (IpAddr::V6(s), IpAddr::V6(d)) => t.calc_checksum_ipv6(s.octets(), d.octets()),
                    _ => unreachable!("one family"),
                };
                assert_eq!(t.checksum(), sum.unwrap(), "TCP checksum of {frame:02x?}");
                kind = Kind::Tcp {
                    syn: t.syn(),
                    ack: t.ack(),
                    fin: t.fin(),
                    rst: t.rst(),
                    seq: t.sequence_number(),
                    acked: if t.ack() { t.acknowledgment_number() } else { 0 },
                };
                (t.source_port(), t.destination_port(), t.payload().len())
            }
            TransportSlice::Udp(u) => {
                let header = u.to_header();
                let sum = match (src, dst) {
                    (IpAddr::V4(s), IpAddr::V4(d)) => {
                        header.calc_checksum_ipv4_raw(s.octets(), d.octets(), u.payload())
                    }
                    (IpAddr::V6(s), IpAddr::V6(d)) => {
                        header.calc_checksum_ipv6_raw(s.octets(), d.octets(), u.payload())
                    }
                    _ => unreachable!("one family"),
                };
                assert_eq!(u.checksum(), sum.unwrap(), "UDP checksum of {frame:02x?}");
                kind = Kind::Udp;
                (u.source_port(), u.destination_port(), u.payload().len())
            }
            other => panic!("neither TCP nor UDP: {other:?}"),
        };
        Self { src, dst, sport, dport, ttl, kind, len }
    }
}

/// CRC32c, bit by bit (RFC 9260 Appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & 0u32.wrapping_sub(crc & 1));
        }
    }
    !crc
}

/// Addresses and TTL; checks the IPv4 header's sum.
fn network(sliced: &SlicedPacket<'_>) -> (IpAddr, IpAddr, u8) {
    match sliced.net.as_ref().expect("an IP header") {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            assert_eq!(
                header.header_checksum(),
                header.to_header().calc_header_checksum(),
                "IPv4 header checksum"
            );
            (header.source_addr().into(), header.destination_addr().into(), header.ttl())
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            (header.source_addr().into(), header.destination_addr().into(), header.hop_limit())
        }
        other => panic!("not IP: {other:?}"),
    }
}

/// An ICMP error: who says it to whom, its type and code, the MTU it names, and the packet that it quotes.
#[derive(Debug)]
pub struct IcmpError {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub type_code: (u8, u8),
    pub mtu: u32,
    pub quoted: Vec<u8>,
}

impl IcmpError {
    /// Reads one and checks its checksum.
    pub fn read(frame: &[u8]) -> Self {
        let sliced = SlicedPacket::from_ethernet(frame).expect("a well-formed frame");
        let (src, dst, _) = network(&sliced);
        let body = sliced.ip_payload().expect("an IP payload");
        assert!(matches!(body.ip_number, IpNumber::ICMP | IpNumber::IPV6_ICMP));
        let icmp = body.payload;
        let mut sum: u32 =
            icmp.chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], *c.get(1).unwrap_or(&0)]))).sum();
        if let (IpAddr::V6(s), IpAddr::V6(d)) = (src, dst) {
            sum += s.segments().iter().chain(&d.segments()).map(|w| u32::from(*w)).sum::<u32>();
            sum += icmp.len() as u32 + 58;
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        assert_eq!(sum, 0xffff, "ICMP checksum of {frame:02x?}");
        let word = |i: usize| u32::from_be_bytes([icmp[i], icmp[i + 1], icmp[i + 2], icmp[i + 3]]);
        let mtu = if src.is_ipv4() { word(4) & 0xffff } else { word(4) };
        Self { src, dst, type_code: (icmp[0], icmp[1]), mtu, quoted: icmp[8..].to_vec() }
    }
}
