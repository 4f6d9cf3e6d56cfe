//! A client opens a flow from a port by which it speaks to the very backend already, past the service.

use crate::packet::{ACK, FIN, Kind, Packet, SYN, SYN_ACK};
use crate::world::{BOTH, DROP, Family, NEXT, REDIRECT, World};
use shunt_common::FrontendKind::{ClusterIp, LoadBalancer};
use shunt_common::Reason;
use std::net::IpAddr;

const TCP: u8 = 6;
const UDP: u8 = 17;
const RST: Kind = Kind::Tcp { syn: false, ack: false, fin: false, rst: true, seq: 7000, acked: 0 };
/// What a backend answers that closes, or refuses.
const REFUSAL: Kind = Kind::Tcp { syn: false, ack: true, fin: false, rst: true, seq: 0, acked: 1001 };

/// Where a client's packets come in and its answers go out.
struct Way {
    client: IpAddr,
    service: IpAddr,
    backend: IpAddr,
    there: &'static str,
    back: &'static str,
}

fn outside(f: Family) -> Way {
    Way {
        client: f.client(),
        service: f.vip(),
        backend: f.local_pod(),
        there: "tc_ingress",
        back: "tc_egress",
    }
}

/// A pod whose sockets bypass the socket path.
fn pod(f: Family) -> Way {
    let (client, backend) = (f.local_pod(), f.remote_pod());
    Way { client, service: f.cluster_ip(), backend, there: "pod_ingress", back: "pod_egress" }
}

impl Way {
    fn world(&self, f: Family, proto: u8) -> World {
        let mut w = World::new(f);
        let kind = if self.service == f.vip() { LoadBalancer } else { ClusterIp };
        w.service(kind, (self.service, 80), proto, (self.backend, 8080), self.backend == f.local_pod());
        w
    }
    /// From the client to the service.
    fn asks(&self, kind: Kind) -> Packet {
        Packet::new((self.client, 40_000), (self.service, 80), kind)
    }
    /// From the backend to the client's port, past the service.
    fn direct(&self, kind: Kind) -> Packet {
        Packet::new((self.backend, 8080), (self.client, 40_000), kind)
    }
}

fn each(case: impl Fn(Family, &Way)) {
    for f in BOTH {
        for way in [outside(f), pod(f)] {
            case(f, &way);
        }
    }
}

#[test]
fn the_connection_goes_on_and_the_flow_gets_another_port_at_its_next_try() {
    each(|f, way| {
        let w = way.world(f, TCP);
        let first = w.expect(way.there, &way.asks(SYN), NEXT);
        assert_eq!(first.sport, 40_000, "nobody knows yet");
        // The backend acknowledges what it has. The client's kernel does not believe it of what it opens.
        let told = w.forwarded(way.back, &way.direct(ACK), NEXT);
        assert_eq!(told, way.asks(SYN).reply(ACK));
        assert_eq!(w.hook(way.there, &way.asks(RST)).verdict, DROP);
        assert_eq!(w.counted(Reason::Crossed), 1);
        // It happens to go on meanwhile.
        assert_eq!(w.forwarded(way.back, &way.direct(ACK), NEXT), way.direct(ACK));

        let again = w.expect(way.there, &way.asks(SYN), NEXT);
        assert_ne!(again.sport, 40_000);
        assert_eq!((again.src, again.dst, again.dport), (way.client, way.backend, 8080));
        for kind in [SYN_ACK, ACK, FIN] {
            assert_eq!(w.forwarded(way.back, &again.reply(kind), NEXT), way.asks(SYN).reply(kind));
            assert_eq!(w.forwarded(way.back, &way.direct(kind), NEXT), way.direct(kind));
            let on = w.expect(way.there, &way.asks(ACK), NEXT);
            assert_eq!((on.sport, on.dst), (again.sport, way.backend));
        }
        assert_eq!(w.rows(), 2, "nothing is left of the first try");
    });
}

#[test]
fn a_fin_of_the_connection_does_not_end_the_flow() {
    each(|f, way| {
        let w = way.world(f, TCP);
        w.expect(way.there, &way.asks(SYN), NEXT);
        w.forwarded(way.back, &way.direct(FIN), NEXT);
        assert_eq!(w.forwarded(way.back, &way.direct(FIN), NEXT), way.direct(FIN), "said again, it arrives");
        let again = w.expect(way.there, &way.asks(SYN), NEXT);
        assert_ne!(again.sport, 40_000);
        assert_eq!(w.forwarded(way.back, &again.reply(SYN_ACK), NEXT), way.asks(SYN).reply(SYN_ACK));
    });
}

#[test]
fn a_backend_that_accepts_or_refuses_speaks_of_the_flow() {
    each(|f, way| {
        for kind in [SYN_ACK, REFUSAL] {
            let w = way.world(f, TCP);
            w.expect(way.there, &way.asks(SYN), NEXT);
            assert_eq!(w.forwarded(way.back, &way.direct(kind), NEXT), way.asks(SYN).reply(kind));
            let acked = w.expect(way.there, &way.asks(ACK), NEXT);
            assert_eq!(acked.sport, 40_000);
            assert_eq!(w.forwarded(way.back, &way.direct(ACK), NEXT), way.asks(SYN).reply(ACK));
        }
        // The connection ended after it had crossed the flow: the next try is the backend's first.
        let w = way.world(f, TCP);
        w.expect(way.there, &way.asks(SYN), NEXT);
        for kind in [ACK, SYN_ACK, ACK] {
            assert_eq!(w.forwarded(way.back, &way.direct(kind), NEXT), way.asks(SYN).reply(kind));
        }
    });
}

#[test]
fn a_flow_that_began_before_we_looked_hears_its_backend() {
    each(|f, way| {
        let w = way.world(f, TCP);
        w.expect(way.there, &way.asks(ACK), NEXT);
        for _ in 0..2 {
            assert_eq!(w.forwarded(way.back, &way.direct(ACK), NEXT), way.asks(ACK).reply(ACK));
        }
    });
}

#[test]
fn datagrams_of_a_backend_are_the_flow_s() {
    each(|f, way| {
        let w = way.world(f, UDP);
        w.expect(way.there, &way.asks(Kind::Udp), NEXT);
        for _ in 0..2 {
            let heard = w.forwarded(way.back, &way.direct(Kind::Udp), NEXT);
            assert_eq!(heard, way.asks(Kind::Udp).reply(Kind::Udp));
        }
    });
}

#[test]
fn a_node_s_port_that_a_backend_still_remembers_is_left_for_another() {
    for f in BOTH {
        let mut w = World::new(f);
        w.service(LoadBalancer, (f.vip(), 80), TCP, (f.remote_pod(), 8080), false);
        let asks = |kind| Packet::new((f.client(), 40_000), (f.vip(), 80), kind);
        let first = w.expect("tc_ingress", &asks(SYN), REDIRECT);
        assert_eq!(first.sport, 40_000);
        // TIME-WAIT, of another client's flow: it acknowledges what came last (RFC 9293 3.10.7.4).
        let told = w.expect("tc_ingress", &first.reply(ACK), REDIRECT);
        assert_eq!((told.src, told.dst, told.dport), (f.vip(), f.client(), 40_000));
        assert_eq!(w.hook("tc_ingress", &asks(RST)).verdict, DROP);
        let again = w.expect("tc_ingress", &asks(SYN), REDIRECT);
        assert_ne!(again.sport, 40_000);
        assert_eq!((again.src, again.dst), (f.node(), f.remote_pod()));
        let answer = w.expect("tc_ingress", &again.reply(SYN_ACK), REDIRECT);
        assert_eq!((answer.src, answer.dst, answer.dport), (f.vip(), f.client(), 40_000));
    }
}
