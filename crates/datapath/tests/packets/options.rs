//! IPv4 options and IPv6 extension headers: what is stepped over, and kept, and what passes untouched since its ports are not to
//! be seen, or its addresses are not those of its ends.

use crate::dsr::{node, onward, redirected};
use crate::packet::{ACK, Kind, Packet, SYN, SYN_ACK};
use crate::world::{BOTH, Family, NEXT, REDIRECT, World};
use shunt_common::FrontendKind::LoadBalancer;
use shunt_common::feature;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Extension headers by their numbers (RFC 8200 4).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const ESP: u8 = 50;
const AH: u8 = 51;
const NOTHING: u8 = 59;
const DESTINATION: u8 = 60;
const MOBILITY: u8 = 135;

/// What stands between the fixed IP header and the transport's: options for IPv4; for IPv6 headers, each with its number and
/// its bytes behind the next header's.
type Row = (&'static str, &'static [u8], Chain);
/// IPv6 extension headers.
type Chain = &'static [(u8, &'static [u8])];

const PADDING: &[u8] = &[0, 1, 4, 0, 0, 0, 0];
/// Of type 0 and type 2 (RFC 8200 4.4, RFC 6275 6.4) with an address, nothing left to do.
const ROUTE_0_DONE: &[u8] = &[2, 0, 0, 0, 0, 0, 0, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
const ROUTE_2_DONE: &[u8] = &[2, 2, 0, 0, 0, 0, 0, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
/// And with a leg left, also of type 4 (RFC 8754).
const ROUTE_0: &[u8] = &[2, 0, 1, 0, 0, 0, 0, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
const ROUTE_4: &[u8] = &[2, 4, 1, 0, 0, 0, 0, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];

/// What is translated, with all of this kept as it is.
const KEPT: &[Row] = &[
    ("one header", &[0x94, 4, 0, 0], &[(HOP_BY_HOP, &[0, 5, 2, 0, 0, 1, 0])]),
    ("destination options", &[7, 7, 4, 0, 0, 0, 0, 0], &[(DESTINATION, PADDING)]),
    ("timestamps, a route that was taken", &[68, 8, 5, 0, 0, 0, 0, 0], &[(ROUTING, ROUTE_0_DONE)]),
    ("no operations, a mobile node's address", &[1, 1, 1, 0], &[(ROUTING, ROUTE_2_DONE)]),
    (
        "the most that there may be",
        &[1; 40],
        &[(HOP_BY_HOP, PADDING), (DESTINATION, PADDING), (ROUTING, ROUTE_0_DONE), (DESTINATION, PADDING)],
    ),
];

/// What passes as it came: protocols without ports, more headers than are looked through, and addresses of one leg of a way.
const LEFT: &[(&str, u8, Chain)] = &[
    (
        "authentication header",
        AH,
        &[(AH, &[4, 0, 0, 0, 0, 1, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])],
    ),
    ("encrypted", ESP, &[(ESP, &[0; 15])]),
    (
        "GRE, five headers",
        47,
        &[
            (HOP_BY_HOP, PADDING),
            (DESTINATION, PADDING),
            (DESTINATION, PADDING),
            (DESTINATION, PADDING),
            (DESTINATION, PADDING),
        ],
    ),
    ("IGMP, routing header of type 0 with a leg left", 2, &[(ROUTING, ROUTE_0)]),
    ("OSPF, segment routing with a leg left", 89, &[(ROUTING, ROUTE_4)]),
    ("unknown, mobility header", 253, &[(MOBILITY, PADDING)]),
    ("unknown, no next header", 254, &[(NOTHING, PADDING)]),
];

fn sum16(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes.chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], c[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Writes an IPv4 header's lengths and its sum.
fn seal4(frame: &mut [u8], header: usize) {
    frame[14] = 0x40 | (header / 4) as u8;
    let len = (frame.len() as u16 - 14).to_be_bytes();
    frame[16..18].copy_from_slice(&len);
    frame[24..26].fill(0);
    let sum = !sum16(&frame[14..14 + header]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

/// A frame with a row's headers, and how long those are.
fn with(packet: &Packet, (_, options, headers): &Row) -> (Vec<u8>, usize) {
    let mut frame = packet.bytes();
    if packet.src.is_ipv4() {
        frame.splice(34..34, options.iter().copied());
        seal4(&mut frame, 20 + options.len());
        return (frame, options.len());
    }
    let mut chain = Vec::new();
    let mut next = frame[20];
    for (number, bytes) in headers.iter().rev() {
        chain.splice(0..0, std::iter::once(next).chain(bytes.iter().copied()));
        next = *number;
    }
    frame[20] = next;
    let len = (u16::from_be_bytes([frame[18], frame[19]]) + chain.len() as u16).to_be_bytes();
    frame[18..20].copy_from_slice(&len);
    let more = chain.len();
    frame.splice(54..54, chain);
    (frame, more)
}

/// The packet without its headers, which must be those of the row.
fn without(frame: &[u8], row: &Row) -> Packet {
    let mut frame = frame.to_vec();
    if frame[12..14] == [8, 0] {
        let len = 20 + row.1.len();
        assert_eq!(sum16(&frame[14..14 + len]), 0xffff, "{}: the header's own sum", row.0);
        let kept: Vec<u8> = frame.splice(34..34 + row.1.len(), []).collect();
        assert_eq!(kept, row.1, "{}", row.0);
        seal4(&mut frame, 20);
        return Packet::read(&frame);
    }
    for (number, bytes) in row.2 {
        assert_eq!(frame[20], *number, "{}", row.0);
        let kept: Vec<u8> = frame.splice(54..55 + bytes.len(), []).collect();
        assert_eq!(&kept[1..], *bytes, "{}", row.0);
        frame[20] = kept[0];
        let len = (u16::from_be_bytes([frame[18], frame[19]]) - kept.len() as u16).to_be_bytes();
        frame[18..20].copy_from_slice(&len);
    }
    Packet::read(&frame)
}

fn through(w: &World, hook: &str, packet: &Packet, row: &Row, verdict: i32) -> Packet {
    let outcome = w.raw(hook, &with(packet, row).0);
    assert_eq!(outcome.verdict, verdict, "{}: {packet:?}: {:?}", row.0, w.reasons());
    without(&outcome.packet, row)
}

fn world(f: Family, local: bool) -> World {
    let mut w = World::new(f);
    let to = if local { f.local_pod() } else { f.remote_pod() };
    for proto in [TCP, UDP] {
        w.service(LoadBalancer, (f.vip(), 80), proto, (to, 8080), local);
    }
    w
}

fn ask(f: Family, kind: Kind, n: usize) -> Packet {
    Packet::new((f.client(), 40_000 + n as u16), (f.vip(), 80), kind)
}

const KINDS: [(Kind, Kind); 2] = [(SYN, SYN_ACK), (Kind::Udp, Kind::Udp)];

#[test]
fn options_and_extension_headers_are_kept_on_the_way_to_a_local_backend_and_back() {
    for f in BOTH {
        let w = world(f, true);
        for (n, row) in KEPT.iter().enumerate() {
            for (kind, reply) in KINDS {
                let sent = ask(f, kind, n);
                let seen = through(&w, "tc_ingress", &sent, row, NEXT);
                assert_eq!(seen, Packet { dst: f.local_pod(), dport: 8080, ..sent }, "{}", row.0);
                assert_eq!(through(&w, "tc_egress", &seen.reply(reply), row, NEXT), sent.reply(reply));
            }
        }
    }
}

#[test]
fn options_and_extension_headers_are_kept_on_the_way_to_a_remote_backend_and_back() {
    for f in BOTH {
        let w = world(f, false);
        for (n, row) in KEPT.iter().enumerate() {
            for (kind, reply) in KINDS {
                let sent = ask(f, kind, n);
                let wire = through(&w, "tc_ingress", &sent, row, REDIRECT);
                assert_eq!((wire.src, wire.dst, wire.dport, wire.ttl), (f.node(), f.remote_pod(), 8080, 63));
                let back = Packet { ttl: 64, ..wire.reply(reply) };
                let heard = through(&w, "tc_ingress", &back, row, REDIRECT);
                assert_eq!(heard, Packet { ttl: 63, ..sent.reply(reply) }, "{}", row.0);
            }
        }
    }
}

#[test]
fn a_refusal_answers_what_came_with_options_without_any() {
    for f in BOTH {
        let mut w = World::new(f);
        w.frontend(LoadBalancer, f.vip(), 80, TCP, &[]);
        for (n, row) in KEPT.iter().enumerate() {
            let outcome = w.raw("tc_ingress", &with(&ask(f, SYN, n), row).0);
            let reset = Packet::read(&outcome.packet);
            assert!(matches!(reset.kind, Kind::Tcp { rst: true, acked: 1012, .. }), "{}: {reset:?}", row.0);
            assert_eq!((outcome.verdict, reset.src, reset.dst), (REDIRECT, f.vip(), f.client()));
        }
    }
}

#[test]
fn what_has_no_ports_or_a_leg_left_passes_untouched_both_ways() {
    for f in BOTH {
        for local in [false, true] {
            let w = world(f, local);
            let ingress =
                through(&w, "tc_ingress", &ask(f, SYN, 0), &KEPT[0], if local { NEXT } else { REDIRECT });
            let rows = w.rows();
            for (name, proto, headers) in LEFT {
                for packet in [ask(f, SYN, 0), ingress.reply(SYN_ACK)] {
                    let (mut frame, _) = with(&packet, &(name, &[], headers));
                    if f == Family::V4 {
                        frame[23] = *proto;
                        seal4(&mut frame, 20);
                    }
                    for hook in ["tc_ingress", "tc_egress"] {
                        let outcome = w.raw(hook, &frame);
                        assert_eq!((outcome.verdict, &outcome.packet), (NEXT, &frame), "{name}: {hook}");
                    }
                }
            }
            assert_eq!(w.rows(), rows, "nothing is remembered");
        }
    }
}

/// Rows that leave no room for what a dispatched packet says: no bytes for an option, or a header that must stay the first.
fn leaves_no_room(f: Family, row: &Row) -> bool {
    match f {
        Family::V4 => row.1.len() > 32,
        Family::V6 => row.2[0].0 == HOP_BY_HOP,
    }
}

#[test]
fn what_leaves_no_room_for_an_option_of_ours_begins_a_flow_by_snat_and_follows_one_plainly() {
    for f in BOTH {
        let rows = || KEPT.iter().enumerate().filter(|(_, row)| leaves_no_room(f, row));
        assert_ne!(rows().count(), 0);
        for (n, row) in rows() {
            for kind in [SYN, Kind::Udp] {
                let w = node(f, feature::DSR_OPT, false);
                let wire = through(&w, "tc_ingress", &ask(f, kind, n), row, REDIRECT);
                assert_eq!((wire.src, wire.dst, wire.dport), (f.node(), f.remote_pod(), 8080), "{}", row.0);
            }
            for kind in [ACK, Kind::Udp] {
                let (w, sent) = (node(f, feature::DSR_OPT, false), ask(f, kind, n));
                redirected(&w, &sent);
                let wire = through(&w, "tc_ingress", &sent, row, REDIRECT);
                assert_eq!(wire, onward(&sent, f.remote_pod()), "{}", row.0);
            }
        }
    }
}
