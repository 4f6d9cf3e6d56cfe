//! The fixtures of Katran's tester, base and ICMP-too-big, in terms of our encapsulations: a table of every row, by the name of
//! the original case. Its balancer always encapsulates; ours does so with `dsrDispatch: ipip`, and that is what is tried
//! here.

use crate::dsr::{DSR, serve};
use crate::packet::{ACK, IcmpError, Kind, Packet, SYN};
use crate::table;
use crate::table::At::{self, Case, Here, No};
use crate::world::{Family, NEXT, REDIRECT, World};
use shunt_common::FrontendKind::LoadBalancer;
use shunt_common::{Reason, feature};
use std::net::IpAddr;

const TCP: u8 = 6;
const UDP: u8 = 17;

const NO_QUIC: &str = "no balancing by QUIC connection ids is promised: a flow is its tuple, and a client that moves is balanced anew";

/// Rows by the original names, in their order.
const BASE: &[(&str, At)] = &[
    ("packet to UDP based v4 VIP (and v4 real)", Here(udp_is_carried)),
    ("packet to TCP based v4 VIP (and v4 real)", Here(tcp_is_carried)),
    (
        "packet to TCP based v4 VIP (and v4 real; any dst ports)",
        No(
            "a frontend has one port; unknown ports are refused: vip::a_port_that_no_service_has_is_refused_and_served_ones_are_not",
        ),
    ),
    ("packet to TCP based v4 VIP (and v4 real) + ToS in IPV4", Here(the_class_of_traffic_is_copied)),
    (
        "packet to TCP based v4 VIP (and v6 real)",
        No("a service's backends have the frontend's family (EndpointSlices have one address type)"),
    ),
    ("packet to TCP based v6 VIP (and v6 real)", Here(tcp_is_carried)),
    ("packet to TCP based v6 VIP (and v6 real) with ToS / tc set", Here(the_class_of_traffic_is_copied)),
    ("v4 ICMP echo-request", Case("vip::a_ping_is_answered_by_the_address_itself")),
    ("v6 ICMP echo-request", Case("vip::a_ping_is_answered_by_the_address_itself")),
    (
        "v4 ICMP dest-unreachabe fragmentation-needed",
        Case("icmp_error::an_error_from_the_client_s_side_about_a_reply_reaches_the_remote_backend"),
    ),
    (
        "v6 ICMP packet-too-big",
        Case("icmp_error::an_error_from_the_client_s_side_about_a_reply_reaches_the_remote_backend"),
    ),
    (
        "drop of IPv4 packet w/ options",
        Case("options::options_and_extension_headers_are_kept_on_the_way_to_a_remote_backend_and_back"),
    ),
    (
        "drop of IPv4 fragmented packet",
        Case("fragments::a_large_datagram_reaches_a_remote_backend_and_its_large_reply_the_client"),
    ),
    (
        "drop of IPv6 fragmented packet",
        Case("fragments::a_large_datagram_reaches_a_remote_backend_and_its_large_reply_the_client"),
    ),
    ("pass of v4 packet with dst not equal to any configured VIP", Here(what_is_for_others_passes)),
    ("pass of v6 packet with dst not equal to any configured VIP", Here(what_is_for_others_passes)),
    ("pass of arp packet", Here(arp_passes)),
    ("LRU hit", Case("flows::a_flow_stays_with_a_backend_that_terminates_or_left_the_pool")),
    (
        "packet #1 dst port hashing only",
        No("the hash is over the client's address, or over the tuple: no service asks for the port alone"),
    ),
    ("packet #2 dst port hashing only", No("as #1")),
    ("ipinip packet", Case("dsr_ipip::the_backend_s_node_takes_the_packet_out_and_answers_from_the_service")),
    (
        "ipv6inipv6 packet",
        Case("dsr_ipip::the_backend_s_node_takes_the_packet_out_and_answers_from_the_service"),
    ),
    ("ipv4inipv6 packet", No("the outer header has the family of the packet: so has the backend")),
    ("QUIC: long header. Client Initial type. LRU miss", No(NO_QUIC)),
    ("QUIC: long header. 0-RTT Protected. CH. LRU hit.", No(NO_QUIC)),
    (
        "QUIC: long header. Handshake. v4 vip v6 real. Conn Id V1 based. server id is 1024 mapped to fc00::1.",
        No(NO_QUIC),
    ),
    (
        "QUIC: long header. Retry. v4 vip v6 real. Conn Id V1 based. server id is 1024 mapped to fc00::1.",
        No(NO_QUIC),
    ),
    ("QUIC: long header. client initial. v6 vip v6 real. LRU miss", No(NO_QUIC)),
    ("QUIC: short header. No connection id. LRU hit", No(NO_QUIC)),
    ("QUIC: short header w/ connection id", No(NO_QUIC)),
    ("QUIC: short header w/ connection id 1092 but non-existing mapping. LRU hit", No(NO_QUIC)),
    ("QUIC: short header w/ conn id. host id = 0. LRU hit", No(NO_QUIC)),
    (
        "UDP: big packet of length 1515. trigger PACKET TOOBIG",
        Here(a_datagram_too_long_for_any_link_is_answered),
    ),
    ("QUIC: short header w/ connection id. CIDv2", No(NO_QUIC)),
    ("QUIC: short header w/ connection id 197700 but non-existing mapping. CIDv2. LRU hit.", No(NO_QUIC)),
    (
        "Packet to udp vip with udp flow migration enabled",
        No(
            "a UDP flow's backend is changed by taking the endpoint away: flows::a_udp_flow_of_a_removed_backend_ends_at_once",
        ),
    ),
];

const TOO_BIG: &[(&str, At)] = &[
    ("ICMPv4 packet too big", Here(too_big_is_told_with_what_is_left)),
    ("ICMPv6 packet too big", Here(too_big_is_told_with_what_is_left)),
    (
        "ICMPv4 packet too big, origin GUE",
        Case("dsr::a_datagram_that_the_option_makes_too_long_is_answered_with_what_fits"),
    ),
    (
        "ICMPv6 packet too big for Origin GUE",
        Case("dsr::a_datagram_that_the_option_makes_too_long_is_answered_with_what_fits"),
    ),
];

fn balancer(f: Family) -> World {
    let mut w = World::with_features(f, feature::IPV4 | feature::IPV6 | feature::DSR_IPIP);
    for proto in [TCP, UDP] {
        let id = w.backend(f.remote_pod(), 80, proto, false);
        serve(&mut w, LoadBalancer, (f.vip(), 80), proto, &[id], DSR);
    }
    w
}

fn ask(f: Family, kind: Kind) -> Packet {
    Packet::new((f.client(), 31_337), (f.vip(), 80), kind)
}

/// The outer header of a carried packet (class of traffic, hops, protocol, ends), and the packet inside.
fn opened(f: Family, frame: &[u8]) -> ((u8, u8, u8, IpAddr, IpAddr), Packet) {
    let h = &frame[14..];
    let four = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&h[at..at + 4]).unwrap());
    let six = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&h[at..at + 16]).unwrap());
    let (outer, len) = match f {
        Family::V4 => ((h[1], h[8], h[9], four(12), four(16)), 20),
        Family::V6 => ((h[0] << 4 | h[1] >> 4, h[7], h[6], six(8), six(24)), 40),
    };
    (outer, Packet::read(&[&frame[..14], &h[len..]].concat()))
}

fn is_carried(f: Family, frame: &[u8], class: u8) {
    let w = balancer(f);
    let sent = Packet::read(frame);
    let outcome = w.raw("tc_ingress", frame);
    assert_eq!(outcome.verdict, REDIRECT, "{:?}", w.reasons());
    let (outer, inside) = opened(f, &outcome.packet);
    let carries = if f == Family::V4 { 4 } else { 41 };
    assert_eq!(outer, (class, 64, carries, f.node(), f.remote_pod()));
    assert_eq!(inside, Packet { ttl: sent.ttl - 1, ..sent });
}

fn udp_is_carried(f: Family) {
    is_carried(f, &ask(f, Kind::Udp).bytes(), 0);
}

fn tcp_is_carried(f: Family) {
    is_carried(f, &ask(f, SYN).bytes(), 0);
    is_carried(f, &ask(f, ACK).bytes(), 0);
}

/// A class of traffic that is none of the defaults (RFC 2474), in the packet.
fn the_class_of_traffic_is_copied(f: Family) {
    const CLASS: u8 = 0x8c;
    let mut frame = ask(f, SYN).bytes();
    match f {
        Family::V4 => {
            frame[15] = CLASS;
            // By difference (RFC 1624): the octet was zero.
            let sum = !u16::from_be_bytes([frame[24], frame[25]]);
            let (sum, carry) = sum.overflowing_add(u16::from(CLASS));
            frame[24..26].copy_from_slice(&(!(sum + u16::from(carry))).to_be_bytes());
        }
        Family::V6 => {
            frame[14] |= CLASS >> 4;
            frame[15] |= CLASS << 4;
        }
    }
    is_carried(f, &frame, CLASS);
}

fn what_is_for_others_passes(f: Family) {
    let w = balancer(f);
    for other in [Packet { dst: f.local_pod(), ..ask(f, ACK) }, Packet { dport: 82, ..ask(f, ACK) }] {
        assert_eq!(w.expect("tc_ingress", &other, NEXT), other);
    }
    assert!(w.rows() == 0 && w.reasons().is_empty());
}

fn arp_passes(f: Family) {
    let frame =
        [[0xff; 6].as_slice(), &[2, 0, 0, 0, 0, 9], &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &[7; 32]].concat();
    let outcome = balancer(f).raw("tc_ingress", &frame);
    assert_eq!((outcome.verdict, outcome.packet), (NEXT, frame));
}

fn overhead(f: Family) -> usize {
    if f == Family::V4 { 20 } else { 40 }
}

/// Theirs is dropped; ours is told, as their too-big table has it.
fn a_datagram_too_long_for_any_link_is_answered(f: Family) {
    let w = balancer(f);
    let big = Packet { len: 1515 - 14 - overhead(f) - 8, ..ask(f, Kind::Udp) };
    let outcome = w.hook("tc_ingress", &big);
    assert_eq!((outcome.verdict, w.counted(Reason::TooBig)), (REDIRECT, 1));
    assert_eq!(IcmpError::read(&outcome.packet).dst, f.client());
}

fn too_big_is_told_with_what_is_left(f: Family) {
    let w = balancer(f);
    for kind in [SYN, ACK, Kind::Udp] {
        let transport = if kind == Kind::Udp { 8 } else { 20 };
        let big = Packet { len: 1500 - overhead(f) - transport, ..ask(f, kind) };
        let outcome = w.hook("tc_ingress", &big);
        let error = IcmpError::read(&outcome.packet);
        let code = if f == Family::V4 { (3, 4) } else { (2, 0) };
        assert_eq!((outcome.verdict, error.type_code), (REDIRECT, code), "{kind:?}");
        assert_eq!((error.src, error.dst, error.mtu), (f.vip(), f.client(), 1500 - overhead(f) as u32));
        assert_eq!(error.quoted, big.bytes()[14..][..error.quoted.len()], "as it was sent");
    }
    // What fits now goes its way.
    let fits = Packet { len: 1500 - 2 * overhead(f) - 8, ..ask(f, Kind::Udp) };
    let outcome = w.hook("tc_ingress", &fits);
    let (outer, inside) = opened(f, &outcome.packet);
    assert_eq!((outer.4, inside), (f.remote_pod(), Packet { ttl: 63, ..fits }));
    assert_eq!((outcome.verdict, w.counted(Reason::TooBig)), (REDIRECT, 3));
}

#[test]
fn the_base_table() {
    table::run(BASE, 36);
}

#[test]
fn the_too_big_table() {
    table::run(TOO_BIG, 4);
}
