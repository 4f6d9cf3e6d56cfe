//! Direct server return with the service's address in the header of a tunnel: the node that balances, and the backend's node.

use crate::dsr::{
    apart, ask, forged, go_on_plainly, ip, node, onward, ranges, redirected, takes_off, too_long,
};
use crate::dsr_ipip::cover;
use crate::packet::{ACK, Kind, Packet, SYN};
use crate::world::{BOTH, Family, NEXT, REDIRECT, World};
use shunt_common::{Reason, feature};
use shunt_datapath::testrun::About;
use std::net::IpAddr;

/// Where the outer UDP header stands, and the tunnel's.
const fn udp(f: Family) -> usize {
    match f {
        Family::V4 => 34,
        Family::V6 => 54,
    }
}
const fn tunnel(f: Family) -> usize {
    udp(f) + 8
}

fn balancer(f: Family) -> World {
    node(f, feature::DSR_GENEVE, false)
}

fn end(f: Family) -> World {
    node(f, feature::DSR_GENEVE, true)
}

fn family(packet: &Packet) -> Family {
    if packet.dst.is_ipv4() { Family::V4 } else { Family::V6 }
}

/// A packet in a tunnel to `pod` that names a service, from a source port (RFC 768, RFC 8926 3.4 and 3.5).
pub fn enclosed(packet: &Packet, pod: IpAddr, service: (IpAddr, u16), source: u16) -> Vec<u8> {
    let mut frame = packet.bytes();
    let (protocol, addr) = match service.0 {
        IpAddr::V4(addr) => (0x0800u16, addr.octets().to_vec()),
        IpAddr::V6(addr) => (0x86dd, addr.octets().to_vec()),
    };
    let words = addr.len() as u8 / 4 + 1;
    let mut header = vec![words + 1, 0x40];
    header.extend(protocol.to_be_bytes());
    header.extend([0, 0, 0, 0, 0x01, 0x4b, 0x81, words]);
    header.extend(addr);
    header.extend(service.1.to_be_bytes());
    header.extend([0, 0]);
    let len = (frame.len() - 14 + header.len() + 8) as u16;
    let udp = [source, 6081, len, 0].map(u16::to_be_bytes).concat();
    frame.splice(14..14, [udp, header].concat());
    cover(&mut frame, (family(packet).node(), pod), 17);
    frame
}

pub fn told(packet: &Packet, service: (IpAddr, u16)) -> Vec<u8> {
    enclosed(packet, packet.dst, service, 50_000)
}

/// The port that a node sent from.
pub fn source(f: Family, frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[udp(f)], frame[udp(f) + 1]])
}

/// A client's packet as it leaves the node that balances, which must be in a tunnel.
fn sent(f: Family, w: &World, packet: &Packet) -> u16 {
    let frame = redirected(w, packet);
    let from = source(f, &frame);
    let want = enclosed(&onward(packet, f.remote_pod()), f.remote_pod(), (f.vip(), 80), from);
    assert_eq!(ip(&frame), ip(&want));
    from
}

#[test]
fn a_syn_goes_to_the_backend_in_a_tunnel_that_names_the_service() {
    for f in BOTH {
        let w = balancer(f);
        // Again: the first may have been lost.
        for _ in 0..2 {
            sent(f, &w, &ask(f, SYN));
        }
    }
}

#[test]
fn later_segments_are_plain_and_take_the_cached_route() {
    for f in BOTH {
        let w = balancer(f);
        sent(f, &w, &ask(f, SYN));
        go_on_plainly(f, &w);
    }
}

#[test]
fn every_datagram_and_every_segment_of_a_flow_whose_beginning_was_not_seen_names_the_service() {
    for f in BOTH {
        for kind in [Kind::Udp, ACK] {
            let w = balancer(f);
            for _ in 0..3 {
                sent(f, &w, &ask(f, kind));
                w.age(&ask(f, kind));
            }
        }
    }
}

/// Uncut datagrams of a client as they leave the node that balances.
fn batch(w: &World, packet: &Packet) -> Packet {
    let about = About { ifindex: w.eth0, segment: 500, ..About::default() };
    let got = w.with_about("tc_ingress", &Packet { len: 1300, ..*packet }.bytes(), about);
    assert_eq!(got.verdict, REDIRECT, "{:?}", w.reasons());
    Packet::read(&got.packet)
}

#[test]
fn a_batch_of_datagrams_goes_plainly_behind_one_that_named_the_service() {
    for f in BOTH {
        let w = balancer(f);
        let whole = Packet { len: 1300, ..onward(&ask(f, Kind::Udp), f.remote_pod()) };
        let from = sent(f, &w, &ask(f, Kind::Udp));
        // By the cached route, and by a fresh one.
        for _ in 0..2 {
            assert_eq!(batch(&w, &ask(f, Kind::Udp)), whole);
            w.age(&ask(f, Kind::Udp));
        }
        assert_eq!(sent(f, &w, &ask(f, Kind::Udp)), from, "the next one by itself is told again");
    }
}

#[test]
fn a_flow_that_begins_with_a_batch_of_datagrams_goes_by_snat() {
    for f in BOTH {
        let w = balancer(f);
        let first = batch(&w, &ask(f, Kind::Udp));
        assert_eq!((first.src, first.dst), (f.node(), f.remote_pod()));
        let next = Packet::read(&redirected(&w, &ask(f, Kind::Udp)));
        assert_eq!((next.src, next.sport), (first.src, first.sport), "and stays there");
    }
}

#[test]
fn a_flow_keeps_its_source_port_and_others_have_others() {
    for f in BOTH {
        let w = balancer(f);
        let from = |sport| sent(f, &w, &Packet { sport, ..ask(f, Kind::Udp) });
        let mut ports: Vec<u16> = (2000..2064).map(from).collect();
        assert_eq!(from(2000), ports[0]);
        assert!(ports.iter().all(|&port| port >= 0xc000), "a port of those that nobody is given: {ports:?}");
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 64);
    }
}

#[test]
fn a_node_whose_network_cannot_carry_tunnels_falls_back_to_snat_and_is_an_end_of_others_all_the_same() {
    for f in BOTH {
        let w = node(f, feature::DSR_GENEVE | feature::DSR_BY_SNAT, false);
        assert_eq!(w.expect("tc_ingress", &ask(f, SYN), REDIRECT).src, f.node());
        let w = node(f, feature::DSR_GENEVE | feature::DSR_BY_SNAT, true);
        let plain = onward(&ask(f, SYN), f.local_pod());
        let got = w.raw("tc_ingress", &told(&plain, (f.vip(), 80)));
        assert_eq!((got.verdict, got.packet), (NEXT, plain.bytes()));
    }
}

#[test]
fn a_datagram_that_the_tunnel_makes_too_long_is_answered_with_what_fits() {
    too_long(balancer, |f| if f == Family::V4 { 48 } else { 80 });
}

#[test]
fn one_client_port_to_two_services_of_one_backend_is_told_apart_by_snat() {
    apart(balancer);
}

#[test]
fn the_backend_s_node_takes_the_packet_out_and_answers_from_the_service() {
    takes_off(end, told);
}

#[test]
fn forged_information_is_not_believed() {
    forged(end, told);
}

#[test]
fn source_ranges_hold_for_the_client_in_the_tunnel() {
    ranges(|f| World::with_features(f, feature::IPV4 | feature::IPV6 | feature::DSR_GENEVE), told);
}

#[test]
fn a_tunnel_to_another_than_the_packet_in_it_is_not_believed() {
    for f in BOTH {
        let w = end(f);
        let inside = onward(&ask(f, SYN), f.local_pod());
        let frame = enclosed(&inside, f.node(), (f.vip(), 80), 50_000);
        let got = w.raw("tc_ingress", &frame);
        assert_eq!((got.verdict, got.packet, w.rows()), (NEXT, frame, 0));
        assert_eq!(w.counted(Reason::DsrRefused), 1);
    }
}

#[test]
fn other_people_s_tunnels_pass_untouched() {
    for f in BOTH {
        let w = end(f);
        let good = told(&onward(&ask(f, SYN), f.local_pod()), (f.vip(), 80));
        for (what, at, byte) in [
            ("another port", udp(f) + 3, 0xc2),
            ("with a sum, which nobody here checks", udp(f) + 7, 1),
            ("another version", tunnel(f), good[tunnel(f)] | 0x40),
            ("more options", tunnel(f), good[tunnel(f)] + 1),
            ("a control packet", tunnel(f) + 1, 0xc0),
            ("an Ethernet frame inside", tunnel(f) + 2, 0x65),
            ("another network", tunnel(f) + 6, 1),
            ("another class of options", tunnel(f) + 9, 0x4c),
            ("another option", tunnel(f) + 10, 0x82),
            ("an option of another length", tunnel(f) + 11, 1),
        ] {
            let mut frame = good.clone();
            frame[at] = byte;
            let got = w.raw("tc_ingress", &frame);
            assert_eq!((got.verdict, got.packet, w.rows()), (NEXT, frame, 0), "{what}");
            assert_eq!(w.counted(Reason::DsrRefused), 0, "{what}");
        }
        assert_eq!(w.raw("tc_ingress", &good).verdict, NEXT);
        assert_eq!(w.rows(), 2, "the one that is ours");
    }
}
