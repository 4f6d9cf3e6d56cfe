//! What the flow table promises (DESIGN section 4).

use crate::packet::{ACK, FIN, Kind, Packet, SYN, SYN_ACK};
use crate::world::{BOTH, Family, NEXT, REDIRECT, World};
use shunt_common::FrontendKind::LoadBalancer;
use shunt_common::{BackendState, Reason};
use shunt_datapath::Sizes;
use std::collections::HashMap;

const TCP: u8 = 6;
const UDP: u8 = 17;

fn from(f: Family, port: u16, kind: Kind) -> Packet {
    Packet::new((f.client(), port), (f.vip(), 80), kind)
}

fn serve(w: &mut World, proto: u8) -> u32 {
    let f = w.family;
    w.service(LoadBalancer, (f.vip(), 80), proto, (f.remote_pod(), 8080), false)
}

/// A whole handshake; returns the client's packet as the backend saw it.
fn handshake(w: &World, port: u16) -> Packet {
    let f = w.family;
    let wire = w.expect("tc_ingress", &from(f, port, SYN), REDIRECT);
    w.expect("tc_ingress", &wire.reply(SYN_ACK), REDIRECT);
    w.expect("tc_ingress", &from(f, port, ACK), REDIRECT);
    wire
}

#[test]
fn a_flood_of_ten_times_the_table_costs_no_established_flow() {
    for f in BOTH {
        let sizes = Sizes { ring_slots: 16, ..Sizes::new(1024, 256) };
        let mut w = World::sized(f, sizes);
        serve(&mut w, TCP);
        let established: Vec<(u16, Packet)> = (0..20).map(|i| (2000 + i, handshake(&w, 2000 + i))).collect();
        for port in 10_000..12_560 {
            w.expect("tc_ingress", &from(f, port, SYN), REDIRECT);
            assert!(w.rows() <= 256);
        }
        for (port, wire) in established {
            let got = w.expect("tc_ingress", &from(f, port, ACK), REDIRECT);
            assert_eq!(
                (got.sport, got.dst),
                (wire.sport, wire.dst),
                "the flow of port {port} goes on as it was"
            );
            w.expect("tc_ingress", &wire.reply(ACK), REDIRECT);
        }
        assert_eq!(w.counted(Reason::FlowTableFull), 0);
        assert!(w.counted(Reason::Evicted) > 2400, "{:?}", w.reasons());
        assert_eq!(w.rows() % 2, 0, "rows come and go in pairs");
    }
}

#[test]
fn a_syn_ack_alone_does_not_confirm_a_flow() {
    for f in BOTH {
        let mut w = World::sized(f, Sizes { ring_slots: 4, ..Sizes::new(1024, 256) });
        serve(&mut w, TCP);
        let forged = from(f, 3000, SYN);
        let wire = w.expect("tc_ingress", &forged, REDIRECT);
        w.expect("tc_ingress", &wire.reply(SYN_ACK), REDIRECT);
        for port in 10_000..10_032 {
            w.expect("tc_ingress", &from(f, port, SYN), REDIRECT);
        }
        assert!(!w.has_row(&forged) && !w.has_row(&wire.reply(SYN_ACK)), "both rows made room");
    }
}

#[test]
fn a_udp_flow_is_confirmed_by_its_first_reply() {
    for f in BOTH {
        let mut w = World::sized(f, Sizes { ring_slots: 4, ..Sizes::new(1024, 256) });
        serve(&mut w, UDP);
        let ask = from(f, 3000, Kind::Udp);
        let wire = w.expect("tc_ingress", &ask, REDIRECT);
        w.expect("tc_ingress", &wire.reply(Kind::Udp), REDIRECT);
        for port in 10_000..10_032 {
            w.expect("tc_ingress", &from(f, port, Kind::Udp), REDIRECT);
        }
        assert!(w.has_row(&ask) && w.has_row(&wire.reply(Kind::Udp)));
    }
}

#[test]
fn a_full_table_refuses_new_flows_and_keeps_old_ones() {
    for f in BOTH {
        let mut w = World::sized(f, Sizes { ring_slots: 1024, ..Sizes::new(1024, 8) });
        serve(&mut w, TCP);
        for port in 2000..2004 {
            handshake(&w, port);
        }
        assert_eq!(w.hook("tc_ingress", &from(f, 9000, SYN)).verdict, crate::world::DROP);
        assert_eq!(w.counted(Reason::FlowTableFull), 1);
        assert_eq!(w.rows(), 8, "nothing is left of the one that failed");
        w.expect("tc_ingress", &from(f, 2000, ACK), REDIRECT);
    }
}

#[test]
fn a_retransmitted_syn_goes_to_the_same_backend() {
    for f in BOTH {
        let mut w = World::new(f);
        let ids: Vec<u32> = (0..8).map(|i| w.backend(f.remote_pod(), 8000 + i, TCP, false)).collect();
        w.frontend(LoadBalancer, f.vip(), 80, TCP, &ids);
        let first = w.expect("tc_ingress", &from(f, 3000, SYN), REDIRECT);
        for _ in 0..20 {
            assert_eq!(w.expect("tc_ingress", &from(f, 3000, SYN), REDIRECT), first);
        }
    }
}

#[test]
fn new_flows_spread_over_all_backends() {
    for f in BOTH {
        let mut w = World::new(f);
        let ids: Vec<u32> = (0..4).map(|i| w.backend(f.remote_pod(), 8000 + i, TCP, false)).collect();
        w.frontend(LoadBalancer, f.vip(), 80, TCP, &ids);
        let mut spread: HashMap<u16, u32> = HashMap::new();
        for port in 10_000..10_800 {
            *spread.entry(w.expect("tc_ingress", &from(f, port, SYN), REDIRECT).dport).or_default() += 1;
        }
        assert_eq!(spread.len(), 4);
        // 200 each is expected; 8 standard deviations (12) away would be a broken generator, not bad luck.
        assert!(spread.values().all(|n| (100..300).contains(n)), "{spread:?}");
    }
}

#[test]
fn a_flow_stays_with_a_backend_that_terminates_or_left_the_pool() {
    for f in BOTH {
        let mut w = World::new(f);
        let old = serve(&mut w, TCP);
        let wire = handshake(&w, 3000);
        let new = w.backend(f.remote_pod(), 9090, TCP, false);
        w.frontend(LoadBalancer, f.vip(), 80, TCP, &[new]);
        w.put_backend(old, f.remote_pod(), 8080, TCP, false, BackendState::Terminating as u8);
        assert_eq!(w.expect("tc_ingress", &from(f, 3000, ACK), REDIRECT).dport, wire.dport);
        w.put_backend(old, f.remote_pod(), 8080, TCP, false, 0);
        assert_eq!(
            w.expect("tc_ingress", &from(f, 3000, ACK), REDIRECT).dport,
            8080,
            "until the pod itself is gone"
        );
        assert_eq!(w.expect("tc_ingress", &from(f, 3001, SYN), REDIRECT).dport, 9090);
    }
}

#[test]
fn a_syn_whose_backend_left_before_it_answered_picks_again() {
    for f in BOTH {
        let mut w = World::new(f);
        let old = serve(&mut w, TCP);
        w.expect("tc_ingress", &from(f, 3000, SYN), REDIRECT);
        let new = w.backend(f.remote_pod(), 9090, TCP, false);
        w.frontend(LoadBalancer, f.vip(), 80, TCP, &[new]);
        w.put_backend(old, f.remote_pod(), 8080, TCP, false, 0);
        assert_eq!(w.expect("tc_ingress", &from(f, 3000, SYN), REDIRECT).dport, 9090);
        assert_eq!(w.rows(), 2, "the old pair is gone");
    }
}

#[test]
fn a_udp_flow_of_a_removed_backend_ends_at_once() {
    for f in BOTH {
        let mut w = World::new(f);
        let old = serve(&mut w, UDP);
        let ask = from(f, 3000, Kind::Udp);
        let wire = w.expect("tc_ingress", &ask, REDIRECT);
        w.expect("tc_ingress", &wire.reply(Kind::Udp), REDIRECT);
        let new = w.backend(f.remote_pod(), 9090, UDP, false);
        w.frontend(LoadBalancer, f.vip(), 80, UDP, &[new]);
        assert_eq!(w.expect("tc_ingress", &ask, REDIRECT).dport, 8080, "still there: the flow stays");
        w.put_backend(old, f.remote_pod(), 8080, UDP, false, 0);
        assert_eq!(w.expect("tc_ingress", &ask, REDIRECT).dport, 9090);
    }
}

#[test]
fn an_id_that_was_given_to_another_endpoint_does_not_keep_a_udp_flow() {
    for f in BOTH {
        let mut w = World::new(f);
        let id = serve(&mut w, UDP);
        let ask = from(f, 3000, Kind::Udp);
        w.expect("tc_ingress", &ask, REDIRECT);
        w.put_backend(id, f.remote_pod(), 7070, UDP, false, BackendState::Active as u8);
        assert_eq!(w.expect("tc_ingress", &ask, REDIRECT).dport, 7070);
    }
}

#[test]
fn a_port_reused_after_a_close_starts_a_new_flow() {
    for f in BOTH {
        let mut w = World::new(f);
        let old = serve(&mut w, TCP);
        let wire = handshake(&w, 3000);
        w.expect("tc_ingress", &from(f, 3000, FIN), REDIRECT);
        w.expect("tc_ingress", &wire.reply(FIN), REDIRECT);
        let new = w.backend(f.remote_pod(), 9090, TCP, false);
        w.frontend(LoadBalancer, f.vip(), 80, TCP, &[new]);
        w.put_backend(old, f.remote_pod(), 8080, TCP, false, BackendState::Terminating as u8);
        assert_eq!(w.expect("tc_ingress", &from(f, 3000, SYN), REDIRECT).dport, 9090);
    }
}

#[test]
fn an_unknown_segment_in_mid_stream_reaches_a_backend_that_can_answer_it() {
    for f in BOTH {
        let mut w = World::new(f);
        w.service(LoadBalancer, (f.vip(), 80), TCP, (f.local_pod(), 8080), true);
        assert_eq!(w.expect("tc_ingress", &from(f, 3000, ACK), NEXT).dst, f.local_pod());
    }
}

#[test]
fn a_connection_to_a_backend_that_is_gone_starts_anew_with_the_next_syn_and_one_to_a_living_backend_does_not()
{
    for f in BOTH {
        let mut w = World::new(f);
        let old = serve(&mut w, TCP);
        handshake(&w, 2000);
        let new = w.backend(f.remote_pod(), 9090, TCP, false);
        w.frontend(LoadBalancer, f.vip(), 80, TCP, &[new]);
        w.put_backend(old, f.remote_pod(), 8080, TCP, false, BackendState::Terminating as u8);
        assert_eq!(
            w.expect("tc_ingress", &from(f, 2000, SYN), REDIRECT).dport,
            8080,
            "a forged SYN ends nothing"
        );
        w.put_backend(old, f.remote_pod(), 8080, TCP, false, 0);
        assert_eq!(w.expect("tc_ingress", &from(f, 2000, ACK), REDIRECT).dport, 8080);
        assert_eq!(w.expect("tc_ingress", &from(f, 2000, SYN), REDIRECT).dport, 9090);
    }
}

#[test]
fn a_reset_that_nobody_believes_does_not_end_a_flow() {
    let reset = Kind::Tcp { syn: false, ack: false, fin: false, rst: true, seq: 7, acked: 0 };
    for f in BOTH {
        let mut w = World::new(f);
        serve(&mut w, TCP);
        let wire = handshake(&w, 2000);
        w.expect("tc_ingress", &from(f, 2000, reset), REDIRECT);
        w.expect("tc_ingress", &wire.reply(ACK), REDIRECT);
        let new = w.backend(f.remote_pod(), 9090, TCP, false);
        w.frontend(LoadBalancer, f.vip(), 80, TCP, &[new]);
        assert_eq!(w.expect("tc_ingress", &from(f, 2000, SYN), REDIRECT).dport, 8080, "it is alive");
        w.expect("tc_ingress", &from(f, 2000, reset), REDIRECT);
        assert_eq!(w.expect("tc_ingress", &from(f, 2000, SYN), REDIRECT).dport, 9090, "a real one ends it");
    }
}

#[test]
fn closed_flows_make_room_too_when_nobody_else_removes_them() {
    for f in BOTH {
        let mut w = World::sized(f, Sizes { ring_slots: 4, ..Sizes::new(1024, 64) });
        serve(&mut w, TCP);
        for port in 2000..2100 {
            let wire = handshake(&w, port);
            w.expect("tc_ingress", &from(f, port, FIN), REDIRECT);
            w.expect("tc_ingress", &wire.reply(FIN), REDIRECT);
        }
        assert_eq!(w.counted(Reason::FlowTableFull), 0, "{:?}", w.reasons());
        assert!(w.rows() <= 2 * 4 * 64);
    }
}
