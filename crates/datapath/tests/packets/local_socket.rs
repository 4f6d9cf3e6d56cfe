//! SNAT ports beside the node's own sockets.

use crate::packet::{ACK, FIN, Kind, Packet, SYN, SYN_ACK};
use crate::world::{BOTH, DROP, Family, NEXT, REDIRECT, World};
use shunt_common::FrontendKind::{ClusterIp, LoadBalancer};
use shunt_common::Reason;
use std::net::{IpAddr, SocketAddr, UdpSocket};

const TCP: u8 = 6;
const UDP: u8 = 17;

fn serve(w: &mut World, proto: u8) {
    let f = w.family;
    w.service(LoadBalancer, (f.vip(), 80), proto, (f.remote_pod(), 8080), false);
}

fn any(f: Family) -> IpAddr {
    if f == Family::V4 { "0.0.0.0" } else { "::" }.parse().unwrap()
}

#[test]
fn a_port_that_a_local_socket_has_is_not_taken() {
    for f in BOTH {
        let mut w = World::new(f);
        serve(&mut w, UDP);
        let _socket = UdpSocket::bind(SocketAddr::new(any(f), 40_000)).unwrap();
        let packet = Packet::new((f.client(), 40_000), (f.vip(), 80), Kind::Udp);
        let wire = w.expect("tc_ingress", &packet, REDIRECT);
        assert_ne!(wire.sport, 40_000);
        assert!(w.counted(Reason::SnatCollision) >= 1);
    }
}

#[test]
fn a_client_s_port_in_the_range_is_kept_when_it_is_free() {
    for f in BOTH {
        let mut w = World::new(f);
        serve(&mut w, TCP);
        let packet = Packet::new((f.client(), 40_000), (f.vip(), 80), SYN);
        assert_eq!(w.expect("tc_ingress", &packet, REDIRECT).sport, 40_000);
        let low = Packet::new((f.client(), 1024), (f.vip(), 80), SYN);
        assert!(w.expect("tc_ingress", &low, REDIRECT).sport >= 32_768);
    }
}

#[test]
fn a_local_socket_that_later_meets_a_snat_port_still_works() {
    for f in BOTH {
        for (proto, ask, answer) in [(TCP, SYN, SYN_ACK), (UDP, Kind::Udp, Kind::Udp)] {
            let mut w = World::new(f);
            serve(&mut w, proto);
            let client = Packet::new((f.client(), 40_000), (f.vip(), 80), ask);
            let wire = w.expect("tc_ingress", &client, REDIRECT);
            // The node itself now talks to the same backend from the very port that the flow has.
            let own = Packet::new((f.node(), wire.sport), (f.remote_pod(), 8080), ask);
            let moved = w.expect("tc_egress", &own, NEXT);
            assert_eq!((moved.src, moved.dst, moved.dport), (own.src, own.dst, own.dport));
            assert_ne!(moved.sport, wire.sport);
            assert_eq!(w.expect("tc_egress", &own, NEXT).sport, moved.sport, "one flow, one port");
            let back = w.expect("tc_ingress", &moved.reply(answer), NEXT);
            assert_eq!(back, own.reply(answer), "the socket hears its answer");
            assert_eq!(
                w.expect("tc_ingress", &wire.reply(answer), REDIRECT).dst,
                f.client(),
                "so does the client"
            );
            // What is sent on leaves by the same device, and on the wire has the very tuple of the socket.
            assert_eq!(w.forwarded("tc_egress", &wire, NEXT), wire);
        }
    }
}

#[test]
fn a_client_may_reach_a_pod_past_the_service_from_the_same_port() {
    for f in BOTH {
        let mut w = World::new(f);
        w.service(LoadBalancer, (f.vip(), 80), TCP, (f.local_pod(), 8080), true);
        let served = Packet::new((f.client(), 40_000), (f.vip(), 80), SYN);
        let at_pod = w.expect("tc_ingress", &served, NEXT);
        let direct = Packet::new((f.client(), 40_000), (f.local_pod(), 8080), SYN);
        let moved = w.expect("tc_ingress", &direct, NEXT);
        assert_eq!((moved.src, moved.dst, moved.dport), (direct.src, direct.dst, direct.dport));
        assert_ne!(moved.sport, direct.sport, "to the pod these are two connections");
        let go_on = Packet { kind: ACK, ..direct };
        assert_eq!(w.expect("tc_ingress", &go_on, NEXT).sport, moved.sport, "one connection, one port");
        // The pod's answers come by its interface.
        assert_eq!(w.forwarded("tc_egress", &moved.reply(SYN_ACK), NEXT), direct.reply(SYN_ACK));
        assert_eq!(w.forwarded("tc_egress", &at_pod.reply(SYN_ACK), NEXT), served.reply(SYN_ACK));
    }
}

#[test]
fn when_every_port_is_taken_the_flow_is_refused_and_counted() {
    for f in BOTH {
        let mut w = World::with_ports(f, 60_000..=60_031);
        serve(&mut w, TCP);
        let syn = |port| Packet::new((f.client(), port), (f.vip(), 80), SYN);
        let refused =
            (1..200).filter(|port| w.hook("tc_ingress", &syn(*port)).verdict == DROP).count() as u64;
        assert!(refused >= 199 - 32, "{refused} refused");
        assert_eq!(w.counted(Reason::SnatExhausted), refused);
    }
}

#[test]
fn a_socket_that_was_moved_and_closed_may_connect_again_from_its_port() {
    for f in BOTH {
        let mut w = World::new(f);
        serve(&mut w, TCP);
        let wire = w.expect("tc_ingress", &Packet::new((f.client(), 40_000), (f.vip(), 80), SYN), REDIRECT);
        let own = |kind| Packet::new((f.node(), wire.sport), (f.remote_pod(), 8080), kind);
        let moved = w.expect("tc_egress", &own(SYN), NEXT);
        for (kind, answer) in [(ACK, SYN_ACK), (FIN, FIN)] {
            w.expect("tc_ingress", &moved.reply(answer), NEXT);
            assert_eq!(w.expect("tc_egress", &own(kind), NEXT).sport, moved.sport);
        }
        let again = w.expect("tc_egress", &own(SYN), NEXT);
        assert_ne!(again.sport, wire.sport, "still out of the other flow's way");
        assert_eq!(w.expect("tc_ingress", &again.reply(SYN_ACK), NEXT), own(SYN).reply(SYN_ACK));
        assert_eq!(w.expect("tc_egress", &own(ACK), NEXT).sport, again.sport);
    }
}

#[test]
fn a_local_socket_that_meets_a_pod_s_way_to_itself_still_works() {
    for f in BOTH {
        for (proto, ask, answer) in [(TCP, SYN, SYN_ACK), (UDP, Kind::Udp, Kind::Udp)] {
            let mut w = World::new(f);
            w.service(ClusterIp, (f.cluster_ip(), 80), proto, (f.local_pod(), 8080), true);
            let through = Packet::new((f.local_pod(), 40_000), (f.cluster_ip(), 80), ask);
            let wire = w.expect("pod_ingress", &through, REDIRECT);
            // The node talks to that pod from the very port by which the pod sees itself.
            let own = Packet::new((f.node(), wire.sport), (f.local_pod(), 8080), ask);
            let moved = w.expect("pod_egress", &own, NEXT);
            assert_eq!((moved.src, moved.dst, moved.dport), (own.src, own.dst, own.dport));
            assert_ne!(moved.sport, wire.sport, "to the pod the two must differ");
            assert_eq!(w.expect("pod_egress", &own, NEXT).sport, moved.sport, "one flow, one port");
            let back = w.expect("pod_ingress", &moved.reply(answer), NEXT);
            assert_eq!(back, own.reply(answer), "the socket hears its answer");
            let itself = w.expect("pod_ingress", &wire.reply(answer), REDIRECT);
            assert_eq!(itself, through.reply(answer), "so does the pod");
            // What others send from such a port is not the node's, and is left alone.
            let other = Packet { sport: 50_000, ..own };
            assert_eq!(w.expect("pod_egress", &other, NEXT), other);
            assert_eq!(w.forwarded("pod_egress", &wire, NEXT), wire);
        }
    }
}
