//! The packet path on pod interfaces: pods whose sockets bypass the socket path.

use crate::packet::{FIN, Kind, Packet, SYN, SYN_ACK};
use crate::world::{BOTH, Family, NEXT, World};
use shunt_common::FrontendKind::{ClusterIp, NodePort};

const TCP: u8 = 6;
const UDP: u8 = 17;

fn pod(f: Family) -> std::net::IpAddr {
    match f {
        Family::V4 => "10.1.1.9".parse(),
        Family::V6 => "fd00:1:1::9".parse(),
    }
    .unwrap()
}

#[test]
fn a_pod_reaches_a_cluster_ip_and_hears_it_answer() {
    for f in BOTH {
        for (proto, ask, answer) in [(TCP, SYN, SYN_ACK), (UDP, Kind::Udp, Kind::Udp)] {
            for (backend, local) in [(f.local_pod(), true), (f.remote_pod(), false)] {
                let mut w = World::new(f);
                w.service(ClusterIp, (f.cluster_ip(), 80), proto, (backend, 8080), local);
                let packet = Packet::new((pod(f), 40_000), (f.cluster_ip(), 80), ask);
                let got = w.expect("pod_ingress", &packet, NEXT);
                assert_eq!(
                    got,
                    Packet { dst: backend, dport: 8080, ..packet },
                    "the node routes it, pod to pod"
                );
                assert_eq!(w.expect("pod_egress", &got.reply(answer), NEXT), packet.reply(answer));
            }
        }
    }
}

#[test]
fn the_reply_is_left_alone_on_its_way_until_the_pod_s_own_interface() {
    for f in BOTH {
        let mut w = World::new(f);
        w.service(ClusterIp, (f.cluster_ip(), 80), TCP, (f.remote_pod(), 8080), false);
        let packet = Packet::new((pod(f), 40_000), (f.cluster_ip(), 80), SYN);
        let reply = w.expect("pod_ingress", &packet, NEXT).reply(SYN_ACK);
        // Un-translated earlier, it would be routed with a source that the node's reverse path filter refuses.
        for hook in ["tc_ingress", "tc_egress", "pod_ingress"] {
            assert_eq!(w.expect(hook, &reply, NEXT), reply, "{hook}");
        }
    }
}

#[test]
fn the_reply_of_a_local_backend_to_the_outside_is_left_to_the_device() {
    for f in BOTH {
        let mut w = World::new(f);
        w.service(NodePort, (f.node(), 30080), TCP, (f.local_pod(), 8080), true);
        let packet = Packet::new((f.client(), 40_000), (f.node(), 30080), SYN);
        let reply = w.expect("tc_ingress", &packet, NEXT).reply(SYN_ACK);
        assert_eq!(w.expect("pod_ingress", &reply, NEXT), reply);
        assert_eq!(w.expect("tc_egress", &reply, NEXT), packet.reply(SYN_ACK));
    }
}

#[test]
fn a_pod_may_talk_to_a_backend_directly_from_a_port_that_a_service_flow_has() {
    for f in BOTH {
        for (proto, ask, answer) in [(TCP, SYN, SYN_ACK), (UDP, Kind::Udp, Kind::Udp)] {
            let mut w = World::new(f);
            w.service(ClusterIp, (f.cluster_ip(), 80), proto, (f.remote_pod(), 8080), false);
            let through = Packet::new((pod(f), 40_000), (f.cluster_ip(), 80), ask);
            let wire = w.expect("pod_ingress", &through, NEXT);
            w.expect("pod_egress", &wire.reply(answer), NEXT);
            let direct = Packet::new((pod(f), 40_000), (f.remote_pod(), 8080), ask);
            let moved = w.expect("pod_ingress", &direct, NEXT);
            assert_eq!((moved.src, moved.dst), (direct.src, direct.dst));
            assert_ne!(moved.sport, direct.sport, "to the backend the two must differ");
            assert_eq!(w.expect("pod_egress", &moved.reply(answer), NEXT), direct.reply(answer));
            assert_eq!(w.expect("pod_egress", &wire.reply(answer), NEXT), through.reply(answer));
            // On the wire the flow's packets have the tuple that the direct ones began with.
            assert_eq!(w.forwarded("tc_egress", &wire, NEXT), wire);
            assert_eq!(w.forwarded("tc_egress", &moved, NEXT), moved);
        }
    }
}

#[test]
fn a_closed_flow_does_not_take_the_answers_of_a_connection_past_the_service() {
    for f in BOTH {
        let mut w = World::new(f);
        w.service(ClusterIp, (f.cluster_ip(), 80), TCP, (f.remote_pod(), 8080), false);
        let through = Packet::new((pod(f), 40_000), (f.cluster_ip(), 80), SYN);
        let wire = w.expect("pod_ingress", &through, NEXT);
        w.expect("pod_egress", &wire.reply(SYN_ACK), NEXT);
        w.expect("pod_ingress", &Packet { kind: FIN, ..through }, NEXT);
        w.expect("pod_egress", &wire.reply(FIN), NEXT);
        // The socket path sends the pod's next connection straight to the backend, from the same port.
        let answer = wire.reply(SYN_ACK);
        assert_eq!(w.expect("pod_egress", &answer, NEXT), answer);
        assert_eq!(w.rows(), 0, "the closed flow is gone");
    }
}
