//! A flow whose packets come to another node in its middle, at the node of its backend: directly after past another node, and
//! the other way round.

use crate::dsr::{self, ask, informed, onward, serve};
use crate::dsr_geneve;
use crate::packet::{ACK, FIN, Kind, Packet, SYN, SYN_ACK};
use crate::world::{BOTH, DROP, Family, NEXT, World};
use shunt_common::FrontendKind::NodePort;
use shunt_common::{Reason, feature, flow_flag};
use std::net::IpAddr;

const TCP: u8 = 6;

/// How another node tells of a service.
type Tell = fn(&Packet, (IpAddr, u16)) -> Vec<u8>;
const DISPATCHES: [(u32, Tell); 2] = [(feature::DSR_OPT, informed), (feature::DSR_GENEVE, dsr_geneve::told)];
/// What a flow begins with, what its backend answers, and what the client goes on with.
const FLOWS: [(Kind, Kind, Kind); 2] = [(SYN, SYN_ACK, ACK), (Kind::Udp, Kind::Udp, Kind::Udp)];

/// Runs a case for each family and dispatch, at the backend's node.
fn each(case: impl Fn(Family, &World, &dyn Fn(&Packet) -> Vec<u8>)) {
    for f in BOTH {
        for (dispatch, tell) in DISPATCHES {
            case(f, &dsr::node(f, dispatch, true), &|packet| tell(packet, (f.vip(), 80)));
        }
    }
}

fn past(f: Family, kind: Kind) -> Packet {
    onward(&ask(f, kind), f.local_pod())
}

/// As the backend sees it that is asked directly.
fn direct(f: Family, kind: Kind) -> Packet {
    Packet { ttl: 64, ..past(f, kind) }
}

fn comes_past(w: &World, frame: &[u8], plain: &Packet) {
    let got = w.raw("tc_ingress", frame);
    assert_eq!((got.verdict, got.packet), (NEXT, plain.bytes()), "{:?}", w.reasons());
}

fn is_answered(f: Family, w: &World, kind: Kind) {
    assert_eq!(w.expect("tc_egress", &direct(f, kind).reply(kind), NEXT), ask(f, kind).reply(kind));
}

#[test]
fn a_flow_that_came_past_another_node_goes_on_when_it_comes_directly() {
    each(|f, w, tell| {
        for (first, answer, later) in FLOWS {
            comes_past(w, &tell(&past(f, first)), &past(f, first));
            is_answered(f, w, answer);
            comes_past(w, &past(f, later).bytes(), &past(f, later));

            for _ in 0..2 {
                assert_eq!(w.expect("tc_ingress", &ask(f, later), NEXT), direct(f, later), "its own port");
                is_answered(f, w, later);
            }
            let confirmed = |packet: &Packet, flags| {
                assert!(w.edit_row(packet, |_, has| assert_eq!(*has, flags | flow_flag::CONFIRMED)));
            };
            confirmed(&ask(f, later), 0);
            confirmed(&direct(f, later).reply(later), flow_flag::REPLY);
            assert!(!w.has_row(&past(f, later)), "rows come and go in pairs");
        }
        assert_eq!((w.rows(), w.counted(Reason::SnatCollision)), (4, 0));
    });
}

#[test]
fn a_flow_that_came_directly_goes_on_when_it_comes_past_another_node() {
    each(|f, w, tell| {
        for (first, answer, later) in FLOWS {
            assert_eq!(w.expect("tc_ingress", &ask(f, first), NEXT), direct(f, first));
            is_answered(f, w, answer);
            for _ in 0..2 {
                comes_past(w, &tell(&past(f, later)), &past(f, later));
                is_answered(f, w, later);
            }
            assert!(
                w.edit_row(&ask(f, later), |_, flags| assert_eq!(*flags, flow_flag::CONFIRMED)),
                "what comes past counts for the flow"
            );
            // And back again.
            assert_eq!(w.expect("tc_ingress", &ask(f, later), NEXT), direct(f, later));
        }
        assert_eq!((w.rows(), w.counted(Reason::DsrCollision)), (4, 0));
    });
}

/// Both ways at once, as where a router spreads packets over nodes, or where somebody forges one: none is lost.
#[test]
fn packets_of_one_flow_may_come_both_ways_in_turn() {
    each(|f, w, tell| {
        for (first, answer, later) in FLOWS {
            comes_past(w, &tell(&past(f, first)), &past(f, first));
            is_answered(f, w, answer);
            for _ in 0..3 {
                assert_eq!(w.expect("tc_ingress", &ask(f, later), NEXT), direct(f, later));
                is_answered(f, w, later);
                comes_past(w, &past(f, later).bytes(), &past(f, later));
                is_answered(f, w, later);
                comes_past(w, &tell(&past(f, later)), &past(f, later));
                is_answered(f, w, later);
            }
        }
        assert_eq!(w.rows(), 4);
    });
}

#[test]
fn a_forged_packet_leaves_the_flow_its_backend_whatever_the_pool_is_by_now() {
    for f in BOTH {
        let mut w = dsr::node(f, feature::DSR_OPT, true);
        w.expect("tc_ingress", &ask(f, SYN), NEXT);
        is_answered(f, &w, SYN_ACK);
        comes_past(&w, &informed(&past(f, ACK), (f.vip(), 80)), &past(f, ACK));
        let other: IpAddr = if f == Family::V4 { "10.1.1.6" } else { "fd00:1:1::6" }.parse().unwrap();
        let id = w.backend(other, 8080, TCP, true);
        serve(&mut w, shunt_common::FrontendKind::LoadBalancer, (f.vip(), 80), TCP, &[id], dsr::DSR);
        assert_eq!(w.expect("tc_ingress", &ask(f, ACK), NEXT), direct(f, ACK));
    }
}

#[test]
fn a_flow_to_another_service_from_the_same_port_is_another_flow() {
    for f in BOTH {
        for (dispatch, tell) in DISPATCHES {
            let mut w = dsr::node(f, dispatch, true);
            let id = w.backend(f.local_pod(), 8080, TCP, true);
            serve(&mut w, NodePort, (f.node(), 30080), TCP, &[id], dsr::DSR);
            // It came past another node; the second comes directly, and gets another port.
            w.raw("tc_ingress", &tell(&past(f, SYN), (f.vip(), 80)));
            is_answered(f, &w, SYN_ACK);
            let other = Packet::new((f.client(), 40_000), (f.node(), 30080), SYN);
            let got = w.expect("tc_ingress", &other, NEXT);
            assert!((got.dst, got.dport) == (f.local_pod(), 8080) && got.sport != 40_000);
            is_answered(f, &w, ACK);
            assert_eq!(w.expect("tc_egress", &got.reply(SYN_ACK), NEXT), other.reply(SYN_ACK));
            // One that comes directly; the second comes past another node, which has to wait.
            let second = |kind| Packet { sport: 41_000, ..ask(f, kind) };
            w.expect("tc_ingress", &second(SYN), NEXT);
            let plain = onward(&second(SYN), f.local_pod());
            assert_eq!(w.raw("tc_ingress", &tell(&plain, (f.node(), 30080))).verdict, DROP);
            assert_eq!(w.counted(Reason::DsrCollision), 1);
        }
    }
}

#[test]
fn a_closed_flow_s_tuple_is_free_for_a_connection_that_comes_the_other_way() {
    each(|f, w, tell| {
        comes_past(w, &tell(&past(f, SYN)), &past(f, SYN));
        is_answered(f, w, SYN_ACK);
        comes_past(w, &past(f, FIN).bytes(), &past(f, FIN));
        is_answered(f, w, FIN);
        assert_eq!(w.expect("tc_ingress", &ask(f, SYN), NEXT), direct(f, SYN));
        let fresh = |packet: &Packet| {
            w.edit_row(packet, |_, flags| assert_eq!(*flags & flow_flag::CONFIRMED, 0, "{packet:?}"))
        };
        assert!(fresh(&ask(f, SYN)) && fresh(&direct(f, SYN).reply(ACK)));
        is_answered(f, w, SYN_ACK);
        w.expect("tc_ingress", &ask(f, FIN), NEXT);
        is_answered(f, w, FIN);
        comes_past(w, &tell(&past(f, SYN)), &past(f, SYN));
        assert!(fresh(&past(f, SYN)) && !w.has_row(&ask(f, SYN)));
        is_answered(f, w, SYN_ACK);
        assert_eq!(w.rows(), 2);
    });
}
