//! Direct server return with the client's packet carried inside another: the node that balances, and the backend's node.

use crate::dsr::{DSR, ask, ip, node, redirected, serve, too_long};
use crate::packet::{ACK, Kind, Packet, SYN, SYN_ACK};
use crate::world::{BOTH, DROP, Family, NEXT, REMOTE_NODE, World};
use shunt_common::FrontendKind::{LoadBalancer, NodePort};
use shunt_common::{Reason, feature, frontend_flag};
use std::net::IpAddr;

const TCP: u8 = 6;

fn balancer(f: Family) -> World {
    node(f, feature::DSR_IPIP, false)
}

fn end(f: Family) -> World {
    node(f, feature::DSR_IPIP, true)
}

/// A packet inside another, from the node that balances to a pod.
pub fn carried(f: Family, packet: &Packet, pod: IpAddr) -> Vec<u8> {
    let mut frame = packet.bytes();
    cover(&mut frame, (f.node(), pod), if f == Family::V4 { 4 } else { 41 });
    frame
}

/// Puts an IP header with this protocol in front of what a frame carries.
pub fn cover(frame: &mut Vec<u8>, addrs: (IpAddr, IpAddr), proto: u8) {
    let outer = match addrs {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let total = (frame.len() as u16 - 14 + 20).to_be_bytes();
            let mut h = vec![0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, proto, 0, 0];
            h.extend(src.octets());
            h.extend(dst.octets());
            let mut sum: u32 = h.chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], c[1]]))).sum();
            while sum > 0xffff {
                sum = (sum & 0xffff) + (sum >> 16);
            }
            h[10..12].copy_from_slice(&(!sum as u16).to_be_bytes());
            h
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let payload = (frame.len() as u16 - 14).to_be_bytes();
            let mut h = vec![0x60, 0, 0, 0, payload[0], payload[1], proto, 64];
            h.extend(src.octets());
            h.extend(dst.octets());
            h
        }
        _ => unreachable!("one family"),
    };
    frame.splice(14..14, outer);
}

/// A client's packet as the node that balances passes it on.
pub fn passed(packet: &Packet) -> Packet {
    Packet { ttl: 63, ..*packet }
}

#[test]
fn every_packet_goes_to_the_backend_whole_inside_another() {
    for f in BOTH {
        for kinds in [[SYN, ACK, ACK], [Kind::Udp; 3], [ACK; 3]] {
            let w = balancer(f);
            for kind in kinds {
                let frame = redirected(&w, &ask(f, kind));
                assert_eq!(ip(&frame), ip(&carried(f, &passed(&ask(f, kind)), f.remote_pod())));
                w.age(&ask(f, kind));
            }
            // By the route that the last one, a second older, has cached.
            let frame = redirected(&w, &ask(f, kinds[2]));
            let frame = if frame[..6] == REMOTE_NODE { frame } else { redirected(&w, &ask(f, kinds[2])) };
            assert_eq!(frame[..6], REMOTE_NODE, "the next hop's MAC");
            assert_eq!(ip(&frame), ip(&carried(f, &passed(&ask(f, kinds[2])), f.remote_pod())));
        }
    }
}

#[test]
fn what_does_not_fit_any_more_is_answered_with_what_does() {
    too_long(balancer, |f| if f == Family::V4 { 20 } else { 40 });
}

#[test]
fn the_backend_s_node_takes_the_packet_out_and_answers_from_the_service() {
    for f in BOTH {
        for (first, reply) in [(SYN, SYN_ACK), (Kind::Udp, Kind::Udp), (ACK, ACK)] {
            let w = end(f);
            for kind in [first, if first == SYN { ACK } else { first }] {
                let asked = passed(&ask(f, kind));
                let inside = Packet { dst: f.local_pod(), dport: 8080, ..asked };
                let got = w.raw("tc_ingress", &carried(f, &asked, f.local_pod()));
                assert_eq!((got.verdict, got.packet), (NEXT, inside.bytes()), "{:?}", w.reasons());
                let back = Packet { ttl: 64, ..inside.reply(reply) };
                assert_eq!(w.expect("tc_egress", &back, NEXT), ask(f, first).reply(reply));
            }
            assert_eq!(w.rows(), 2);
        }
    }
}

#[test]
fn one_client_port_to_two_services_of_one_backend_is_told_apart_by_the_backend_s_node() {
    for f in BOTH {
        let mut w = end(f);
        let id = w.backend(f.local_pod(), 8080, TCP, true);
        let (other, any): (IpAddr, IpAddr) = match f {
            Family::V4 => ("10.0.0.2".parse().unwrap(), "0.0.0.0".parse().unwrap()),
            Family::V6 => ("fd00::2".parse().unwrap(), "::".parse().unwrap()),
        };
        serve(&mut w, NodePort, (any, 30080), TCP, &[id], frontend_flag::MARKER | frontend_flag::DSR);
        let first = ask(f, SYN);
        let second = Packet::new((f.client(), 40_000), (other, 30080), SYN);
        let inside = [first, second].map(|asked| {
            let got = w.raw("tc_ingress", &carried(f, &passed(&asked), f.local_pod()));
            assert_eq!(got.verdict, NEXT, "{:?}", w.reasons());
            Packet::read(&got.packet)
        });
        assert_ne!(inside[0].sport, inside[1].sport);
        for (inside, asked) in inside.iter().zip([first, second]) {
            let back = Packet { ttl: 64, ..inside.reply(SYN_ACK) };
            assert_eq!(w.expect("tc_egress", &back, NEXT), asked.reply(SYN_ACK));
        }
    }
}

#[test]
fn the_backend_is_the_one_that_was_picked() {
    for f in BOTH {
        let mut w = end(f);
        let other: IpAddr = if f == Family::V4 { "10.1.1.6" } else { "fd00:1:1::6" }.parse().unwrap();
        let ids = [w.backend(f.local_pod(), 8080, TCP, true), w.backend(other, 8080, TCP, true)];
        serve(&mut w, LoadBalancer, (f.vip(), 80), TCP, &ids, DSR);
        for sport in 41_000..41_016 {
            let asked = Packet { sport, ..ask(f, SYN) };
            let got = w.raw("tc_ingress", &carried(f, &passed(&asked), other));
            assert_eq!(Packet::read(&got.packet).dst, other);
        }
    }
}

#[test]
fn what_others_carry_passes_untouched() {
    for f in BOTH {
        let mut w = end(f);
        let id = w.backend(f.local_pod(), 8080, TCP, true);
        w.frontend(LoadBalancer, f.cluster_ip(), 80, TCP, &[id]);
        let to = |dst, dport| passed(&Packet { dst, dport, ..ask(f, SYN) });
        for (what, inside, pod, refused) in [
            ("a packet between pods", to(f.remote_pod(), 80), f.local_pod(), 0),
            ("a port that no service has", to(f.vip(), 81), f.local_pod(), 0),
            ("a service without DSR", to(f.cluster_ip(), 80), f.local_pod(), 0),
            ("to the node itself", to(f.vip(), 80), f.node(), 1),
            ("to a backend elsewhere", to(f.vip(), 80), f.remote_pod(), 2),
        ] {
            let frame = carried(f, &inside, pod);
            let got = w.raw("tc_ingress", &frame);
            assert_eq!((got.verdict, got.packet, w.rows()), (NEXT, frame, 0), "{what}");
            assert_eq!(w.counted(Reason::DsrRefused), refused, "{what}");
        }
    }
}

#[test]
fn source_ranges_hold_for_the_carried_client() {
    for f in BOTH {
        let mut w = end(f);
        let id = w.backend(f.local_pod(), 8080, TCP, true);
        serve(&mut w, LoadBalancer, (f.vip(), 80), TCP, &[id], DSR | frontend_flag::SOURCE_RANGES);
        let got = w.raw("tc_ingress", &carried(f, &passed(&ask(f, SYN)), f.local_pod()));
        assert_eq!((got.verdict, w.counted(Reason::SourceRange), w.rows()), (DROP, 1, 0));
    }
}
