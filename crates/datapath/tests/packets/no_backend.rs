//! Never silence: what a client hears when nobody can answer, and what is none of our business.

use crate::packet::{ACK, IcmpError, Kind, Packet, SYN};
use crate::world::{BOTH, DROP, Family, NEXT, REDIRECT, World};
use shunt_common::FrontendKind::{ClusterIp, LoadBalancer};
use shunt_common::Reason;

const TCP: u8 = 6;
const UDP: u8 = 17;

fn ask(f: Family, kind: Kind) -> Packet {
    Packet::new((f.client(), 40_000), (f.vip(), 80), kind)
}

fn empty(f: Family) -> World {
    let mut w = World::new(f);
    w.frontend(LoadBalancer, f.vip(), 80, TCP, &[]);
    w.frontend(LoadBalancer, f.vip(), 80, UDP, &[]);
    w
}

fn port_unreachable(f: Family) -> (u8, u8) {
    if f == Family::V4 { (3, 3) } else { (1, 4) }
}

#[test]
fn tcp_without_a_backend_is_reset() {
    for f in BOTH {
        for hook in ["tc_ingress", "pod_ingress"] {
            let w = empty(f);
            let got = w.expect(hook, &ask(f, SYN), REDIRECT);
            assert_eq!((got.src, got.sport, got.dst, got.dport), (f.vip(), 80, f.client(), 40_000));
            // RFC 9293 3.5.2: a segment without ACK is answered by a reset that acknowledges all it occupied.
            let acked = 1000 + 1 + 11;
            assert_eq!(got.kind, Kind::Tcp { syn: false, ack: true, fin: false, rst: true, seq: 0, acked });
            assert_eq!(w.counted(Reason::NoBackend), 1);
        }
    }
}

#[test]
fn a_segment_with_ack_is_reset_at_the_number_it_acknowledges() {
    for f in BOTH {
        let got = empty(f).expect("tc_ingress", &ask(f, ACK), REDIRECT);
        assert_eq!(
            got.kind,
            Kind::Tcp { syn: false, ack: false, fin: false, rst: true, seq: 5001, acked: 0 }
        );
    }
}

#[test]
fn a_reset_is_never_answered() {
    for f in BOTH {
        let w = empty(f);
        let rst = Kind::Tcp { syn: false, ack: false, fin: false, rst: true, seq: 1, acked: 0 };
        assert_eq!(w.hook("tc_ingress", &ask(f, rst)).verdict, DROP);
    }
}

#[test]
fn udp_without_a_backend_is_told_that_the_port_is_unreachable() {
    for f in BOTH {
        let w = empty(f);
        let packet = Packet { len: 200, ..ask(f, Kind::Udp) };
        let sent = packet.bytes();
        let outcome = w.raw("tc_ingress", &sent);
        assert_eq!(outcome.verdict, REDIRECT);
        let error = IcmpError::read(&outcome.packet);
        assert_eq!((error.src, error.dst, error.type_code), (f.vip(), f.client(), port_unreachable(f)));
        assert_eq!(error.quoted[..], sent[14..14 + error.quoted.len()], "the packet it is about");
        assert!(error.quoted.len() >= if f == Family::V4 { 28 } else { 48 });
        assert_eq!(outcome.packet[..12], [sent[6..12].to_vec(), sent[..6].to_vec()].concat(), "MACs swapped");
    }
}

#[test]
fn a_datagram_shorter_than_the_answer_is_answered_too() {
    for f in BOTH {
        let outcome = empty(f).hook("tc_ingress", &Packet { len: 0, ..ask(f, Kind::Udp) });
        assert_eq!(outcome.verdict, REDIRECT);
        assert_eq!(IcmpError::read(&outcome.packet).type_code, port_unreachable(f));
    }
}

#[test]
fn a_packet_that_may_go_no_further_is_told_so() {
    for f in BOTH {
        let mut w = World::new(f);
        w.service(LoadBalancer, (f.vip(), 80), TCP, (f.remote_pod(), 8080), false);
        let outcome = w.hook("tc_ingress", &Packet { ttl: 1, ..ask(f, SYN) });
        assert_eq!(outcome.verdict, REDIRECT);
        let expired = if f == Family::V4 { (11, 0) } else { (3, 0) };
        assert_eq!(IcmpError::read(&outcome.packet).type_code, expired);
        assert_eq!(w.counted(Reason::TtlExceeded), 1);
    }
}

/// The frame without IPv4's "do not fragment", which changes nothing here: no program can cut a packet.
fn may_be_cut(mut frame: Vec<u8>) -> Vec<u8> {
    if frame[14] == 0x45 {
        frame[20] &= !0x40;
        let (sum, carry) = u16::from_be_bytes([frame[24], frame[25]]).overflowing_add(0x4000);
        frame[24..26].copy_from_slice(&(sum + u16::from(carry)).to_be_bytes());
    }
    frame
}

#[test]
fn a_packet_too_long_for_the_way_is_told_the_mtu() {
    for f in BOTH {
        let mut w = World::new(f);
        w.service(LoadBalancer, (f.vip(), 80), TCP, (f.remote_pod(), 8080), false);
        w.expect("tc_ingress", &ask(f, SYN), REDIRECT);
        let mtu =
            std::process::Command::new("ip").args(["link", "set", "eth0", "mtu", "1400"]).status().unwrap();
        assert!(mtu.success());
        for aged in [true, false] {
            if aged {
                w.age(&ask(f, SYN));
            }
            let frame = Packet { len: 1440, ..ask(f, ACK) }.bytes();
            for frame in [may_be_cut(frame.clone()), frame] {
                let outcome = w.raw("tc_ingress", &frame);
                assert_eq!(outcome.verdict, REDIRECT, "aged {aged}: {:?}", w.reasons());
                let error = IcmpError::read(&outcome.packet);
                assert_eq!(error.type_code, if f == Family::V4 { (3, 4) } else { (2, 0) });
                assert_eq!(error.mtu, 1400);
            }
        }
    }
}

/// What a NIC, or the kernel in its place, does to a frame whose transport sum was left to it (CHECKSUM_PARTIAL).
fn complete(frame: &mut [u8], start: usize, field: usize) {
    let words =
        frame[start..].chunks(2).map(|w| u32::from(w[0]) << 8 | w.get(1).map_or(0, |b| u32::from(*b)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[start + field..start + field + 2].copy_from_slice(&(!sum as u16).to_be_bytes());
}

#[test]
fn an_answer_survives_the_checksum_offload_of_the_packet_it_was_made_of() {
    for f in BOTH {
        let mut w = World::new(f);
        let start = if f == Family::V4 { 34 } else { 54 };
        for (kind, field) in [(SYN, 16), (Kind::Udp, 6)] {
            w.service(
                LoadBalancer,
                (f.vip(), 80),
                if field == 6 { UDP } else { TCP },
                (f.remote_pod(), 8080),
                false,
            );
            let answer = w.hook("tc_ingress", &Packet { ttl: 1, ..ask(f, kind) }).packet;
            let mut completed = answer.clone();
            complete(&mut completed, start, field);
            assert_eq!(completed, answer, "{kind:?}");
            IcmpError::read(&answer);
        }
    }
}

#[test]
fn answers_are_rate_limited() {
    for f in BOTH {
        let w = empty(f);
        for _ in 0..4000 {
            w.hook("tc_ingress", &ask(f, SYN));
        }
        let (answered, limited) = (w.counted(Reason::NoBackend), w.counted(Reason::RateLimited));
        assert!(answered >= 1000 && limited > 0, "{answered} answered, {limited} held back");
        assert_eq!(answered + limited, 4000);
    }
}

#[test]
fn a_cluster_ip_is_not_for_the_outside() {
    for f in BOTH {
        let mut w = World::new(f);
        w.service(ClusterIp, (f.cluster_ip(), 80), TCP, (f.local_pod(), 8080), true);
        let packet = Packet::new((f.client(), 40_000), (f.cluster_ip(), 80), SYN);
        assert_eq!(w.expect("tc_ingress", &packet, NEXT), packet);
        assert_eq!(w.counted(Reason::ClusterIpFromOutside), 1);
    }
}

#[test]
fn what_no_service_claims_passes_untouched() {
    for f in BOTH {
        let w = empty(f);
        for packet in [
            Packet::new((f.client(), 1), (f.vip(), 81), SYN),
            Packet::new((f.client(), 1), (f.node(), 80), Kind::Udp),
        ] {
            for hook in ["tc_ingress", "tc_egress", "pod_ingress", "pod_egress"] {
                assert_eq!(w.expect(hook, &packet, NEXT), packet);
            }
        }
        let arp = [[0xff; 6].as_slice(), &[2, 0, 0, 0, 0, 9], &[8, 6], &[0; 28]].concat();
        assert_eq!(w.raw("tc_ingress", &arp).packet, arp);
    }
}

#[test]
fn frames_cut_short_anywhere_pass_or_drop_and_never_change() {
    for f in BOTH {
        let mut w = World::new(f);
        w.service(LoadBalancer, (f.vip(), 80), TCP, (f.local_pod(), 8080), true);
        let whole = ask(f, SYN).bytes();
        let headers = whole.len() - 11;
        for len in 15..headers {
            // The kernel refuses a frame with no room for an IP header of its EtherType before the program sees it.
            let Ok(outcome) = w.try_raw("tc_ingress", &whole[..len]) else { continue };
            assert_eq!((outcome.verdict, &outcome.packet[..]), (NEXT, &whole[..len]), "cut at {len}");
        }
    }
}

#[test]
fn a_frame_to_another_host_s_mac_is_none_of_our_business() {
    for f in BOTH {
        let mut w = World::new(f);
        w.service(LoadBalancer, (f.vip(), 80), TCP, (f.remote_pod(), 8080), false);
        for packet in [ask(f, SYN), Packet { dport: 81, ..ask(f, SYN) }] {
            let mut frame = packet.bytes();
            frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 0x77]);
            let outcome = w.raw("tc_ingress", &frame);
            assert_eq!((outcome.verdict, outcome.packet), (NEXT, frame));
        }
        assert_eq!(w.rows(), 0);
    }
}
