//! ICMP errors about translated flows: Calico's related-ICMP cases (too big, TTL exceeded, port unreachable, from either
//! side, NATed) and Katran's error that quotes a VIP, in the terms of our flows.

use crate::dsr;
use crate::packet::{ACK, IcmpError, Kind, Packet, SYN, SYN_ACK};
use crate::world::{BOTH, DROP, Family, NEXT, REDIRECT, World};
use shunt_common::FrontendKind::LoadBalancer;
use shunt_common::Reason;
use std::net::IpAddr;

const TCP: u8 = 6;
const UDP: u8 = 17;
const MTU: u32 = 1300;

/// Type and code.
pub type Code = (u8, u8);

/// Every kind of error that quotes a packet: for IPv4 and IPv6, and whether it names an MTU.
const ERRORS: [(Code, Code, bool); 4] =
    [((3, 3), (1, 4), false), ((3, 4), (2, 0), true), ((11, 0), (3, 0), false), ((12, 0), (4, 0), false)];

/// How much of the packet a router quotes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quote {
    Whole,
    /// The IP header and 8 bytes (RFC 792).
    Short,
    /// With options, or an extension header, in the quoted packet.
    Options,
}

const QUOTES: [Quote; 3] = [Quote::Whole, Quote::Short, Quote::Options];

fn ask(f: Family, kind: Kind) -> Packet {
    Packet::new((f.client(), 40_000), (f.vip(), 80), kind)
}

fn world(f: Family, local: bool) -> World {
    let mut w = World::new(f);
    let to = if local { f.local_pod() } else { f.remote_pod() };
    for proto in [TCP, UDP] {
        w.service(LoadBalancer, (f.vip(), 80), proto, (to, 8080), local);
    }
    w
}

pub fn middlebox(f: Family) -> IpAddr {
    if f == Family::V4 { "192.0.2.9" } else { "2001:db8:9::9" }.parse().unwrap()
}

pub fn quote(packet: &Packet, how: Quote) -> Vec<u8> {
    let ip = packet.bytes()[14..].to_vec();
    let v4 = packet.src.is_ipv4();
    let header = if v4 { 20 } else { 40 };
    match how {
        Quote::Whole => ip,
        Quote::Short => ip[..header + 8].to_vec(),
        Quote::Options if v4 => {
            let mut out = ip[..20].to_vec();
            out[0] = 0x46;
            // Four no-operations.
            out.extend([1, 1, 1, 1]);
            out.extend(&ip[20..]);
            let len = (out.len() as u16).to_be_bytes();
            out[2..4].copy_from_slice(&len);
            out[10..12].fill(0);
            let sum = !sum16(&out[..24]);
            out[10..12].copy_from_slice(&sum.to_be_bytes());
            out
        }
        Quote::Options => {
            let mut out = ip[..40].to_vec();
            // A destination options header of padding.
            out.extend([out[6], 0, 1, 4, 0, 0, 0, 0]);
            out[6] = 60;
            out.extend(&ip[40..]);
            let len = (out.len() as u16 - 40).to_be_bytes();
            out[4..6].copy_from_slice(&len);
            out
        }
    }
}

fn sum16(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], *c.get(1).unwrap_or(&0)]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The frame of an error from `src` to `dst`.
pub fn error(src: IpAddr, dst: IpAddr, (kind, code): (u8, u8), mtu: u32, quoted: &[u8]) -> Vec<u8> {
    let mut icmp = vec![kind, code, 0, 0];
    icmp.extend(mtu.to_be_bytes());
    icmp.extend(quoted);
    let eth = etherparse::PacketBuilder::ethernet2(crate::packet::SENDER, crate::packet::NODE);
    let mut frame = Vec::new();
    match (src, dst) {
        (IpAddr::V4(s), IpAddr::V4(d)) => {
            let sum = !sum16(&icmp);
            icmp[2..4].copy_from_slice(&sum.to_be_bytes());
            eth.ipv4(s.octets(), d.octets(), 64).write(&mut frame, etherparse::IpNumber::ICMP, &icmp)
        }
        (IpAddr::V6(s), IpAddr::V6(d)) => {
            let mut pseudo = [&s.octets()[..], &d.octets()[..]].concat();
            pseudo.extend((icmp.len() as u32).to_be_bytes());
            pseudo.extend([0, 0, 0, 58]);
            pseudo.extend(&icmp);
            let sum = !sum16(&pseudo);
            icmp[2..4].copy_from_slice(&sum.to_be_bytes());
            eth.ipv6(s.octets(), d.octets(), 64).write(&mut frame, etherparse::IpNumber::IPV6_ICMP, &icmp)
        }
        _ => panic!("one family"),
    }
    .unwrap();
    frame
}

/// Runs every error about `lost` in every quotation through a hook, and expects `sent` to be quoted to its sender, from
/// `speaker`.
fn each_error(
    w: &World,
    hook: &str,
    verdict: i32,
    lost: &Packet,
    sent: &Packet,
    from: IpAddr,
    speaker: IpAddr,
) {
    for (v4, v6, mtu) in ERRORS {
        for how in QUOTES {
            let type_code = if w.family == Family::V4 { v4 } else { v6 };
            let mtu = if mtu { MTU } else { 0 };
            let frame = error(from, lost.src, type_code, mtu, &quote(lost, how));
            let outcome = w.raw(hook, &frame);
            assert_eq!(outcome.verdict, verdict, "{hook} {type_code:?} {how:?} {:?}", w.reasons());
            let got = IcmpError::read(&outcome.packet);
            assert_eq!((got.src, got.dst, got.type_code, got.mtu), (speaker, sent.src, type_code, mtu));
            let said = quote(sent, how);
            // TCP's own sum is the sum of the whole; all else is what the sender sent, to the byte.
            assert_eq!(got.quoted, said, "{hook} {how:?}");
        }
    }
}

#[test]
fn an_error_from_between_node_and_remote_backend_reaches_the_client() {
    for f in BOTH {
        for kind in [SYN, Kind::Udp] {
            let w = world(f, false);
            let wire = w.expect("tc_ingress", &ask(f, kind), REDIRECT);
            let sent = Packet { ttl: wire.ttl, ..ask(f, kind) };
            each_error(&w, "tc_ingress", REDIRECT, &wire, &sent, middlebox(f), f.vip());
            // The backend itself says that nobody listens.
            each_error(&w, "tc_ingress", REDIRECT, &wire, &sent, f.remote_pod(), f.vip());
        }
    }
}

#[test]
fn an_error_from_the_client_s_side_about_a_reply_reaches_the_remote_backend() {
    for f in BOTH {
        for kind in [SYN_ACK, Kind::Udp] {
            let w = world(f, false);
            let first = if kind == SYN_ACK { SYN } else { kind };
            let wire = w.expect("tc_ingress", &ask(f, first), REDIRECT);
            let reply = w.expect("tc_ingress", &wire.reply(kind), REDIRECT);
            let sent = Packet { ttl: reply.ttl, ..wire.reply(kind) };
            each_error(&w, "tc_ingress", REDIRECT, &reply, &sent, middlebox(f), f.node());
        }
    }
}

/// With direct server return the client's side answers to the service's address, and so to the node that was asked.
#[test]
fn an_error_about_a_reply_that_went_past_this_node_reaches_the_backend() {
    for f in BOTH {
        for (first, kind) in [(SYN, SYN_ACK), (Kind::Udp, Kind::Udp)] {
            let mut w = World::new(f);
            let proto = if first == SYN { TCP } else { UDP };
            let id = w.backend(f.remote_pod(), 8080, proto, false);
            dsr::serve(&mut w, LoadBalancer, (f.vip(), 80), proto, &[id], dsr::DSR);
            dsr::redirected(&w, &ask(f, first));
            let reply = ask(f, first).reply(kind);
            let sent = Packet { src: f.remote_pod(), sport: 8080, ..reply };
            each_error(&w, "tc_ingress", REDIRECT, &reply, &sent, middlebox(f), middlebox(f));
        }
    }
}

/// What the node that was asked sends on is about the pod's packet as the pod sent it.
#[test]
fn at_the_backend_s_node_an_error_about_a_direct_reply_passes_to_the_pod_as_it_is() {
    for f in BOTH {
        for (first, kind) in [(SYN, SYN_ACK), (Kind::Udp, Kind::Udp)] {
            let mut w = World::new(f);
            let proto = if first == SYN { TCP } else { UDP };
            let id = w.backend(f.local_pod(), 8080, proto, true);
            dsr::serve(&mut w, LoadBalancer, (f.vip(), 80), proto, &[id], dsr::DSR);
            let onward = Packet { dst: f.local_pod(), dport: 8080, ..ask(f, first) };
            w.raw("tc_ingress", &dsr::informed(&onward, (f.vip(), 80)));
            let sent = onward.reply(kind);
            let frame = error(
                middlebox(f),
                sent.src,
                if f == Family::V4 { (3, 4) } else { (2, 0) },
                MTU,
                &quote(&sent, Quote::Whole),
            );
            let outcome = w.raw("tc_ingress", &frame);
            assert_eq!((outcome.verdict, outcome.packet), (NEXT, frame), "{:?}", w.reasons());
        }
    }
}

#[test]
fn a_pod_s_error_about_a_packet_that_came_by_direct_return_quotes_the_service_to_the_client() {
    for f in BOTH {
        let mut w = World::new(f);
        let id = w.backend(f.local_pod(), 8080, UDP, true);
        dsr::serve(&mut w, LoadBalancer, (f.vip(), 80), UDP, &[id], dsr::DSR);
        let onward = Packet { dst: f.local_pod(), dport: 8080, ..ask(f, Kind::Udp) };
        w.raw("tc_ingress", &dsr::informed(&onward, (f.vip(), 80)));
        each_error(&w, "tc_egress", NEXT, &onward, &ask(f, Kind::Udp), f.local_pod(), f.vip());
    }
}

#[test]
fn errors_pass_between_a_local_backend_and_its_client_both_ways() {
    for f in BOTH {
        for kind in [SYN_ACK, Kind::Udp] {
            let w = world(f, true);
            let first = if kind == SYN_ACK { SYN } else { kind };
            let got = w.expect("tc_ingress", &ask(f, first), NEXT);
            let reply = w.expect("tc_egress", &got.reply(kind), NEXT);
            // A router on the client's side, seen as itself: the backend sees the client as itself too.
            each_error(&w, "tc_ingress", NEXT, &reply, &got.reply(kind), middlebox(f), middlebox(f));
            // The pod refuses the client's packet.
            each_error(&w, "tc_egress", NEXT, &got, &ask(f, first), f.local_pod(), f.vip());
        }
    }
}

#[test]
fn errors_about_a_pod_s_flow_pass_at_its_own_interface_both_ways() {
    for f in BOTH {
        let mut w = World::new(f);
        w.service(LoadBalancer, (f.vip(), 80), UDP, (f.remote_pod(), 8080), false);
        let sent = Packet::new((f.local_pod(), 40_000), (f.vip(), 80), Kind::Udp);
        let wire = w.expect("pod_ingress", &sent, NEXT);
        each_error(&w, "pod_egress", NEXT, &wire, &sent, middlebox(f), f.vip());
        let reply = w.expect("pod_egress", &wire.reply(Kind::Udp), NEXT);
        // The pod's socket is closed by now, and the pod says so.
        each_error(&w, "pod_ingress", NEXT, &reply, &wire.reply(Kind::Udp), f.local_pod(), f.local_pod());
        // A device leaves it to the pod's interface.
        let frame = error(middlebox(f), wire.src, (3, 3), 0, &quote(&wire, Quote::Whole));
        let outcome = w.raw("tc_ingress", &frame);
        assert_eq!((outcome.verdict, &outcome.packet), (NEXT, &frame));
    }
}

#[test]
fn a_pod_that_reaches_itself_hears_its_own_errors() {
    for f in BOTH {
        let mut w = World::new(f);
        w.service(LoadBalancer, (f.vip(), 80), UDP, (f.local_pod(), 8080), true);
        let sent = Packet::new((f.local_pod(), 40_000), (f.vip(), 80), Kind::Udp);
        let seen = w.expect("pod_ingress", &sent, REDIRECT);
        each_error(&w, "pod_ingress", REDIRECT, &seen, &sent, f.local_pod(), f.vip());
    }
}

#[test]
fn a_hop_is_counted_off_an_error_that_is_sent_on() {
    for f in BOTH {
        let w = world(f, false);
        let wire = w.expect("tc_ingress", &ask(f, SYN), REDIRECT);
        let reply = w.expect("tc_ingress", &wire.reply(SYN_ACK), REDIRECT);
        for lost in [wire, reply] {
            let type_code = if f == Family::V4 { (3, 4) } else { (2, 0) };
            let frame = error(middlebox(f), lost.src, type_code, MTU, &quote(&lost, Quote::Short));
            let outcome = w.raw("tc_ingress", &frame);
            assert_eq!(outcome.verdict, REDIRECT);
            // One hop is counted off the error, and none off what it quotes.
            let ttl = if f == Family::V4 { outcome.packet[22] } else { outcome.packet[21] };
            assert_eq!(ttl, 63);
        }
    }
}

#[test]
fn a_quoted_sum_that_is_wrong_stays_wrong_by_as_much() {
    for f in BOTH {
        let w = world(f, false);
        let wire = w.expect("tc_ingress", &ask(f, Kind::Udp), REDIRECT);
        let at = if f == Family::V4 { 26 } else { 46 };
        let spoil = |mut quoted: Vec<u8>| {
            quoted[at] ^= 0x10;
            quoted
        };
        let sum = |quoted: &[u8]| u16::from_be_bytes([quoted[at], quoted[at + 1]]);
        let type_code = if f == Family::V4 { (3, 3) } else { (1, 4) };
        let good =
            w.raw("tc_ingress", &error(middlebox(f), wire.src, type_code, 0, &quote(&wire, Quote::Whole)));
        let bad = w.raw(
            "tc_ingress",
            &error(middlebox(f), wire.src, type_code, 0, &spoil(quote(&wire, Quote::Whole))),
        );
        let (good, bad) = (IcmpError::read(&good.packet).quoted, IcmpError::read(&bad.packet).quoted);
        let wire = quote(&wire, Quote::Whole);
        let off = |was: u16, is: u16| (u32::from(is) + 0xffff - u32::from(was)) % 0xffff;
        assert_eq!(off(sum(&good), sum(&bad)), off(sum(&wire), sum(&spoil(wire.clone()))));
    }
}

#[test]
fn what_is_none_of_ours_passes_untouched() {
    for f in BOTH {
        let w = world(f, false);
        let wire = w.expect("tc_ingress", &ask(f, SYN), REDIRECT);
        let unreachable = if f == Family::V4 { (3, 3) } else { (1, 4) };
        let redirect = if f == Family::V4 { (5, 1) } else { (137, 0) };
        let own = Packet { sport: 22, ..wire };
        let whole = |packet: &Packet| quote(packet, Quote::Whole);
        let cut = whole(&wire)[..if f == Family::V4 { 24 } else { 44 }].to_vec();
        for (why, frame) in [
            ("a socket of the node's own", error(middlebox(f), f.node(), unreachable, 0, &whole(&own))),
            ("not to whom it quotes", error(middlebox(f), f.vip(), unreachable, 0, &whole(&wire))),
            ("a redirect is for the node", error(middlebox(f), f.node(), redirect, 0, &whole(&wire))),
            ("no ports are quoted", error(middlebox(f), f.node(), unreachable, 0, &cut)),
        ] {
            let outcome = w.raw("tc_ingress", &frame);
            assert_eq!((outcome.verdict, &outcome.packet), (NEXT, &frame), "{why}");
        }
        w.expect("tc_ingress", &Packet { kind: ACK, ..ask(f, SYN) }, REDIRECT);
    }
}

#[test]
fn an_error_whose_own_hops_run_out_is_dropped_in_silence() {
    for f in BOTH {
        let w = world(f, false);
        let wire = w.expect("tc_ingress", &ask(f, SYN), REDIRECT);
        let type_code = if f == Family::V4 { (3, 3) } else { (1, 4) };
        let mut frame = error(middlebox(f), wire.src, type_code, 0, &quote(&wire, Quote::Whole));
        frame[if f == Family::V4 { 22 } else { 21 }] = 1;
        assert_eq!(w.raw("tc_ingress", &frame).verdict, DROP);
        assert_eq!(w.counted(Reason::TtlExceeded), 1);
    }
}
