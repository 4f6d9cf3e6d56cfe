//! What a virtual address answers beside its services.

use crate::packet::{IcmpError, Kind, Packet, SYN};
use crate::world::{BOTH, DROP, Family, NEXT, REDIRECT, World};
use etherparse::PacketBuilder;
use shunt_common::{Frontend, FrontendKind, Reason, frontend_flag};
use std::net::IpAddr;

const TCP: u8 = 6;

/// A service address that is known as such, to the outside too or not.
pub fn vip(f: Family, external: bool) -> World {
    let mut w = World::new(f);
    let flags = frontend_flag::WILDCARD | if external { frontend_flag::EXTERNAL } else { 0 };
    let kind = FrontendKind::LoadBalancer as u8;
    w.put_frontend(f.vip(), 0, 0, Frontend { kind, flags, ..Frontend::default() });
    w.service(FrontendKind::LoadBalancer, (f.vip(), 80), TCP, (f.local_pod(), 8080), true);
    w
}

#[test]
fn a_port_that_no_service_has_is_refused_and_served_ones_are_not() {
    for f in BOTH {
        let w = vip(f, true);
        for hook in ["tc_ingress", "pod_ingress"] {
            let unknown = Packet::new((f.client(), 40_000), (f.vip(), 81), SYN);
            let reset = w.expect(hook, &unknown, REDIRECT);
            assert!(matches!(reset.kind, Kind::Tcp { rst: true, .. }), "{reset:?}");
            let outcome = w.hook(hook, &Packet { kind: Kind::Udp, ..unknown });
            assert_eq!(outcome.verdict, REDIRECT);
            assert_eq!(IcmpError::read(&outcome.packet).src, f.vip());
            let known = Packet { dport: 80, sport: 41_000 + hook.len() as u16, ..unknown };
            assert_eq!(w.expect(hook, &known, NEXT).dst, f.local_pod());
        }
        assert_eq!(w.counted(Reason::UnknownPort), 4);
    }
}

#[test]
fn a_cluster_ip_is_nobody_s_business_outside() {
    for f in BOTH {
        let w = vip(f, false);
        let unknown = Packet::new((f.client(), 40_000), (f.vip(), 81), SYN);
        assert_eq!(w.expect("tc_ingress", &unknown, NEXT), unknown);
        assert_eq!(w.hook("pod_ingress", &unknown).verdict, REDIRECT);
        assert_eq!(w.raw("tc_ingress", &ping(f.client(), f.vip())).verdict, NEXT);
        assert_eq!(w.raw("pod_ingress", &ping(f.client(), f.vip())).verdict, REDIRECT);
    }
}

#[test]
fn what_goes_to_a_service_cidr_s_address_that_no_service_has_is_dropped() {
    for f in BOTH {
        let (free, beyond) = match f {
            Family::V4 => ("10.96.7.7", "10.97.0.1"),
            Family::V6 => ("fd00:96::77", "fd00:97::1"),
        };
        let (free, beyond): (IpAddr, IpAddr) = (free.parse().unwrap(), beyond.parse().unwrap());
        let mut w = vip(f, false);
        w.service(FrontendKind::ClusterIp, (f.cluster_ip(), 80), TCP, (f.remote_pod(), 8080), false);
        let syn = Packet::new((f.client(), 40_000), (free, 80), SYN);
        assert_eq!(w.expect("tc_egress", &syn, NEXT), syn, "no range is known");
        w.service_cidrs(&["10.96.0.0/16", "192.0.2.0/24", "fd00:96::/112"]);
        assert_eq!(w.hook("tc_egress", &syn).verdict, DROP);
        assert_eq!(w.hook("tc_egress", &Packet { kind: Kind::Udp, ..syn }).verdict, DROP);
        assert_eq!(w.raw("tc_egress", &ping(f.client(), free)).verdict, DROP);
        assert_eq!(w.counted(Reason::Unallocated), 3);
        for hook in ["tc_ingress", "pod_ingress", "pod_egress"] {
            assert_eq!(w.expect(hook, &syn, NEXT), syn, "{hook}: another proxy may have a service there");
        }
        // A service's own address may leave: ClusterIPs are left alone outside.
        w.put_frontend(
            f.cluster_ip(),
            0,
            0,
            Frontend { flags: frontend_flag::WILDCARD, ..Frontend::default() },
        );
        for (dst, dport) in [(beyond, 80), (f.client(), 80), (f.cluster_ip(), 81), (f.vip(), 81)] {
            let other = Packet { dst, dport, ..syn };
            assert_eq!(w.expect("tc_egress", &other, NEXT), other);
        }
        w.service_cidrs(&[]);
        assert_eq!(w.expect("tc_egress", &syn, NEXT), syn);
    }
}

pub fn ping(src: IpAddr, dst: IpAddr) -> Vec<u8> {
    let eth = PacketBuilder::ethernet2(crate::packet::SENDER, crate::packet::NODE);
    let mut out = Vec::new();
    match (src, dst) {
        (IpAddr::V4(s), IpAddr::V4(d)) => {
            eth.ipv4(s.octets(), d.octets(), 9).icmpv4_echo_request(7, 1).write(&mut out, b"hello, world")
        }
        (IpAddr::V6(s), IpAddr::V6(d)) => {
            eth.ipv6(s.octets(), d.octets(), 9).icmpv6_echo_request(7, 1).write(&mut out, b"hello, world")
        }
        _ => unreachable!("one family"),
    }
    .unwrap();
    out
}

#[test]
fn a_ping_is_answered_by_the_address_itself() {
    for f in BOTH {
        let w = vip(f, true);
        for hook in ["tc_ingress", "pod_ingress"] {
            let sent = ping(f.client(), f.vip());
            let outcome = w.raw(hook, &sent);
            assert_eq!(outcome.verdict, REDIRECT);
            // Reads any ICMP message and checks its sum.
            let reply = IcmpError::read(&outcome.packet);
            assert_eq!((reply.src, reply.dst), (f.vip(), f.client()));
            assert_eq!(reply.type_code, if f == Family::V4 { (0, 0) } else { (129, 0) });
            assert_eq!(reply.quoted, b"hello, world", "what was sent comes back");
            assert_eq!(outcome.packet[..12], [sent[6..12].to_vec(), sent[..6].to_vec()].concat());
        }
        assert_eq!(w.counted(Reason::EchoReply), 2);
        let elsewhere = ping(f.client(), f.local_pod());
        assert_eq!(w.raw("tc_ingress", &elsewhere).packet, elsewhere);
        let answer = ping(f.vip(), f.client());
        assert_eq!(w.raw("tc_egress", &answer).packet, answer);
    }
}

#[test]
fn a_loopback_frontend_is_never_reached_by_a_packet() {
    for f in BOTH {
        let mut w = World::new(f);
        let lo: IpAddr = if f == Family::V4 { "127.0.0.1" } else { "::1" }.parse().unwrap();
        let id = w.backend(f.local_pod(), 8080, TCP, true);
        let pool = w.pool(&[id]);
        let kind = FrontendKind::NodePort as u8;
        let row = Frontend { kind, flags: frontend_flag::HOST_ONLY, pools: [pool; 2], ..Frontend::default() };
        w.put_frontend(lo, 30080, TCP, row);
        let packet = Packet::new((f.client(), 40_000), (lo, 30080), SYN);
        for hook in ["tc_ingress", "pod_ingress", "tc_egress", "pod_egress"] {
            assert_eq!(w.expect(hook, &packet, NEXT), packet, "{hook}");
        }
    }
}
