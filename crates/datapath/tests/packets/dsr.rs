//! Direct server return with the service's address in an IP option: the node that balances, and the backend's node.

use crate::packet::{ACK, FIN, IcmpError, Kind, Packet, SYN, SYN_ACK};
use crate::world::{BOTH, DROP, Family, NEXT, REDIRECT, REMOTE_NODE, World};
use shunt_common::FrontendKind::{LoadBalancer, NodePort};
use shunt_common::{Frontend, FrontendKind, Reason, feature, flow_flag, frontend_flag};
use shunt_datapath::{Lifetimes, Settings, Sizes};
use std::net::IpAddr;

const TCP: u8 = 6;
const UDP: u8 = 17;
pub const DSR: u32 = frontend_flag::EXTERNAL | frontend_flag::DSR;

pub fn ask(f: Family, kind: Kind) -> Packet {
    Packet::new((f.client(), 40_000), (f.vip(), 80), kind)
}

/// A frontend that is served by DSR.
pub fn serve(w: &mut World, kind: FrontendKind, at: (IpAddr, u16), proto: u8, ids: &[u32], flags: u32) {
    let pools = [w.pool(ids); 2];
    w.put_frontend(at.0, at.1, proto, Frontend { kind: kind as u8, flags, pools, ..Frontend::default() });
}

/// A node that has a service with one backend, here or elsewhere.
pub fn node(f: Family, dispatch: u32, local: bool) -> World {
    let mut w = World::with_features(f, feature::IPV4 | feature::IPV6 | dispatch);
    for proto in [TCP, UDP] {
        let id = w.backend(if local { f.local_pod() } else { f.remote_pod() }, 8080, proto, local);
        serve(&mut w, LoadBalancer, (f.vip(), 80), proto, &[id], DSR);
    }
    w
}

/// The node that balances: the service's backend is elsewhere.
fn balancer(f: Family) -> World {
    node(f, feature::DSR_OPT, false)
}

/// The backend's node.
fn end(f: Family) -> World {
    node(f, feature::DSR_OPT, true)
}

/// A packet as it is on the wire between the two nodes: with the option that names a service.
pub fn informed(packet: &Packet, service: (IpAddr, u16)) -> Vec<u8> {
    let mut frame = packet.bytes();
    let port = service.1.to_be_bytes();
    match service.0 {
        IpAddr::V4(addr) => {
            let option = [&[0x9a, 8], &port[..], &addr.octets()].concat();
            frame.splice(34..34, option);
            frame[14] = 0x47;
            let total = (frame.len() as u16 - 14).to_be_bytes();
            frame[16..18].copy_from_slice(&total);
            frame[24..26].fill(0);
            let mut sum: u32 =
                frame[14..42].chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], c[1]]))).sum();
            while sum > 0xffff {
                sum = (sum & 0xffff) + (sum >> 16);
            }
            frame[24..26].copy_from_slice(&(!sum as u16).to_be_bytes());
        }
        IpAddr::V6(addr) => {
            let option = [&[frame[20], 2, 0x1b, 20], &addr.octets()[..], &port, &[0, 0]].concat();
            frame.splice(54..54, option);
            frame[20] = 60;
            let payload = (frame.len() as u16 - 54).to_be_bytes();
            frame[18..20].copy_from_slice(&payload);
        }
    }
    frame
}

/// A client's packet on its way from the balancing node to the backend.
pub fn onward(packet: &Packet, pod: IpAddr) -> Packet {
    Packet { dst: pod, dport: 8080, ttl: 63, ..*packet }
}

/// Bytes that a dispatch adds to a packet.
pub fn added(f: Family, dispatch: u32) -> usize {
    let (v4, v6) = match dispatch {
        feature::DSR_OPT => (8, 24),
        feature::DSR_IPIP => (20, 40),
        _ => (48, 80),
    };
    if f == Family::V4 { v4 } else { v6 }
}

/// From the IP header on: the link layer is the kernel's business when the neighbour is resolved by it.
pub fn ip(frame: &[u8]) -> &[u8] {
    &frame[14..]
}

pub fn redirected(w: &World, packet: &Packet) -> Vec<u8> {
    let outcome = w.hook("tc_ingress", packet);
    assert_eq!(outcome.verdict, REDIRECT, "{packet:?}: {:?}", w.reasons());
    outcome.packet
}

#[test]
fn a_syn_goes_to_the_backend_from_the_client_and_names_the_service() {
    for f in BOTH {
        let w = balancer(f);
        // Again: the first may have been lost.
        for _ in 0..2 {
            let want = informed(&onward(&ask(f, SYN), f.remote_pod()), (f.vip(), 80));
            assert_eq!(ip(&redirected(&w, &ask(f, SYN))), ip(&want));
        }
    }
}

/// What follows a flow's SYN a second later is plain, and goes by the cached route.
pub fn go_on_plainly(f: Family, w: &World) {
    w.age(&ask(f, SYN));
    for kind in [ACK, ACK, FIN] {
        let frame = redirected(w, &ask(f, kind));
        assert_eq!(ip(&frame), ip(&onward(&ask(f, kind), f.remote_pod()).bytes()));
    }
    assert_eq!(redirected(w, &ask(f, ACK))[..6], REMOTE_NODE, "the next hop's MAC");
}

#[test]
fn later_segments_are_plain_and_take_the_cached_route() {
    for f in BOTH {
        let w = balancer(f);
        redirected(&w, &ask(f, SYN));
        go_on_plainly(f, &w);
    }
}

#[test]
fn every_datagram_names_the_service() {
    for f in BOTH {
        let w = balancer(f);
        for _ in 0..3 {
            let want = informed(&onward(&ask(f, Kind::Udp), f.remote_pod()), (f.vip(), 80));
            assert_eq!(ip(&redirected(&w, &ask(f, Kind::Udp))), ip(&want));
        }
    }
}

#[test]
fn every_segment_of_a_flow_whose_beginning_was_not_seen_names_the_service() {
    for f in BOTH {
        let w = balancer(f);
        for _ in 0..3 {
            let want = informed(&onward(&ask(f, ACK), f.remote_pod()), (f.vip(), 80));
            assert_eq!(ip(&redirected(&w, &ask(f, ACK))), ip(&want));
        }
    }
}

#[test]
fn without_the_flag_the_same_service_is_served_by_snat() {
    for f in BOTH {
        let mut w = World::new(f);
        w.service(LoadBalancer, (f.vip(), 80), TCP, (f.remote_pod(), 8080), false);
        assert_eq!(w.expect("tc_ingress", &ask(f, SYN), REDIRECT).src, f.node());
    }
}

#[test]
fn a_node_whose_network_cannot_carry_dsr_falls_back_to_snat_and_is_an_end_of_others_all_the_same() {
    let features = Settings::new("", "").features | feature::DSR_BY_SNAT;
    for f in BOTH {
        let mut w = World::with_features(f, features);
        let ids = [w.backend(f.remote_pod(), 8080, TCP, false), w.backend(f.local_pod(), 8080, TCP, true)];
        serve(&mut w, LoadBalancer, (f.vip(), 80), TCP, &ids[..1], DSR);
        serve(&mut w, NodePort, (f.node(), 30080), TCP, &ids[1..], DSR);
        assert_eq!(w.expect("tc_ingress", &ask(f, SYN), REDIRECT).src, f.node());
        let plain = onward(&Packet { sport: 41_000, ..ask(f, SYN) }, f.local_pod());
        let got = w.raw("tc_ingress", &informed(&plain, (f.node(), 30080)));
        assert_eq!((got.verdict, got.packet), (NEXT, plain.bytes()));
    }
}

#[test]
fn hybrid_is_dsr_for_one_protocol_and_snat_for_the_other() {
    for f in BOTH {
        let mut w = balancer(f);
        w.service(LoadBalancer, (f.vip(), 80), UDP, (f.remote_pod(), 8080), false);
        assert_eq!(w.expect("tc_ingress", &ask(f, Kind::Udp), REDIRECT).src, f.node());
        let want = informed(&onward(&ask(f, SYN), f.remote_pod()), (f.vip(), 80));
        assert_eq!(ip(&redirected(&w, &ask(f, SYN))), ip(&want));
    }
}

#[test]
fn a_local_backend_is_served_as_ever() {
    for f in BOTH {
        let w = end(f);
        let got = w.expect("tc_ingress", &ask(f, SYN), NEXT);
        assert_eq!(got, Packet { dst: f.local_pod(), dport: 8080, ..ask(f, SYN) });
        assert_eq!(w.expect("tc_egress", &got.reply(SYN_ACK), NEXT), ask(f, SYN).reply(SYN_ACK));
    }
}

#[test]
fn a_client_s_own_second_packet_confirms_a_flow_whose_replies_go_elsewhere() {
    for f in BOTH {
        let sizes = Sizes { ring_slots: 4, ..Sizes::new(1024, 256) };
        let mut w = World::sized(f, sizes);
        for proto in [TCP, UDP] {
            let id = w.backend(f.remote_pod(), 8080, proto, false);
            serve(&mut w, LoadBalancer, (f.vip(), 80), proto, &[id], DSR);
        }
        let from = |port, kind| Packet { sport: port, ..ask(f, kind) };
        for (port, first, second) in [(2000, SYN, ACK), (2001, Kind::Udp, Kind::Udp)] {
            redirected(&w, &from(port, first));
            redirected(&w, &from(port, second));
        }
        redirected(&w, &from(2002, SYN));
        redirected(&w, &from(2003, Kind::Udp));
        for port in 10_000..10_064 {
            redirected(&w, &from(port, SYN));
        }
        assert!(w.has_row(&from(2000, SYN)) && w.has_row(&from(2001, Kind::Udp)), "confirmed flows stay");
        assert!(!w.has_row(&from(2002, SYN)) && !w.has_row(&from(2003, Kind::Udp)), "the others make room");
        assert_eq!(w.rows() % 2, 0, "rows come and go in pairs");
    }
}

/// Later segments are plain, so a client's flows from one port to two services of one backend must not look the same.
pub fn apart(balancer: impl Fn(Family) -> World) {
    for f in BOTH {
        let mut w = balancer(f);
        let id = w.backend(f.remote_pod(), 8080, TCP, false);
        serve(&mut w, NodePort, (f.node(), 30080), TCP, &[id], DSR);
        redirected(&w, &ask(f, SYN));
        let other = Packet::new((f.client(), 40_000), (f.node(), 30080), SYN);
        let got = w.expect("tc_ingress", &other, REDIRECT);
        assert_eq!(got.src, f.node());
        assert_eq!(w.counted(Reason::DsrCollision), 1);
        assert_eq!(w.expect("tc_ingress", &got.reply(SYN_ACK), REDIRECT).src, f.node());
    }
}

#[test]
fn one_client_port_to_two_services_of_one_backend_is_told_apart_by_snat() {
    apart(balancer);
}

/// A datagram that grows too long by a dispatch's bytes is answered with what fits.
pub fn too_long(balancer: impl Fn(Family) -> World, added: impl Fn(Family) -> usize) {
    for f in BOTH {
        let w = balancer(f);
        let (headers, kind) = match f {
            Family::V4 => (28, (3, 4)),
            Family::V6 => (48, (2, 0)),
        };
        let added = added(f);
        let fits = 1500 - headers - added;
        redirected(&w, &Packet { len: fits, ..ask(f, Kind::Udp) });
        // The flow's first packet and a later one.
        for sport in [40_000, 41_000] {
            let long = Packet { len: fits + 1, sport, ..ask(f, Kind::Udp) };
            let error = IcmpError::read(&redirected(&w, &long));
            assert_eq!((error.type_code, error.mtu), (kind, 1500 - added as u32));
            assert_eq!((error.src, error.dst), (f.vip(), f.client()));
        }
    }
}

#[test]
fn a_datagram_that_the_option_makes_too_long_is_answered_with_what_fits() {
    too_long(balancer, |f| if f == Family::V4 { 8 } else { 24 });
}

/// The backend's node takes off what `tell` puts on and answers from the service.
pub fn takes_off(end: impl Fn(Family) -> World, tell: impl Fn(&Packet, (IpAddr, u16)) -> Vec<u8>) {
    for f in BOTH {
        for (first, reply, later) in [(SYN, SYN_ACK, ACK), (Kind::Udp, Kind::Udp, Kind::Udp), (ACK, ACK, ACK)]
        {
            let w = end(f);
            let plain = onward(&ask(f, first), f.local_pod());
            for _ in 0..2 {
                let got = w.raw("tc_ingress", &tell(&plain, (f.vip(), 80)));
                assert_eq!((got.verdict, &got.packet), (NEXT, &plain.bytes()), "{:?}", w.reasons());
            }
            let answer = ask(f, first).reply(reply);
            assert_eq!(w.expect("tc_egress", &Packet { ttl: 64, ..plain.reply(reply) }, NEXT), answer);
            let plain = onward(&ask(f, later), f.local_pod());
            assert_eq!(w.expect("tc_ingress", &plain, NEXT), plain, "later packets are not changed");
            assert_eq!(w.rows(), 2);
        }
    }
}

#[test]
fn the_backend_s_node_takes_the_option_off_and_answers_from_the_service() {
    takes_off(end, informed);
}

#[test]
fn the_far_end_of_a_flow_is_confirmed_by_both_and_its_lost_rows_are_written_again() {
    for f in BOTH {
        let w = end(f);
        let plain = |kind| onward(&ask(f, kind), f.local_pod());
        w.raw("tc_ingress", &informed(&plain(SYN), (f.vip(), 80)));
        w.expect("tc_egress", &plain(SYN).reply(SYN_ACK), NEXT);
        w.expect("tc_ingress", &plain(ACK), NEXT);
        for row in [plain(SYN), plain(SYN).reply(SYN_ACK)] {
            assert!(w.edit_row(&row, |_, flags| {
                assert_eq!(*flags & !flow_flag::REPLY, flow_flag::DSR_END | flow_flag::CONFIRMED);
            }));
        }
        for (lost, other, hook) in [
            (plain(ACK).reply(ACK), plain(ACK), "tc_ingress"),
            (plain(ACK), plain(ACK).reply(ACK), "tc_egress"),
        ] {
            w.cut_row(&lost);
            w.age(&other);
            w.hook(hook, &other);
            assert!(w.has_row(&lost), "{lost:?}");
            assert_eq!(w.expect("tc_egress", &plain(ACK).reply(ACK), NEXT).src, f.vip());
            assert_eq!(w.expect("tc_ingress", &plain(ACK), NEXT), plain(ACK));
        }
    }
}

#[test]
fn a_new_connection_on_a_closed_flow_s_tuple_makes_a_new_flow() {
    for f in BOTH {
        let mut w = end(f);
        let id = w.backend(f.local_pod(), 8080, TCP, true);
        let other = Packet { dst: f.node(), dport: 30080, ..ask(f, SYN) };
        serve(&mut w, NodePort, (f.node(), 30080), TCP, &[id], DSR);
        let plain = |kind| onward(&ask(f, kind), f.local_pod());
        let at_vip = informed(&plain(SYN), (f.vip(), 80));
        let at_node = informed(&plain(SYN), (f.node(), 30080));
        w.raw("tc_ingress", &at_vip);
        assert_eq!(
            w.raw("tc_ingress", &at_node).verdict,
            DROP,
            "while the first lives, none can tell them apart"
        );
        assert_eq!(w.counted(Reason::DsrCollision), 1);
        w.expect("tc_ingress", &plain(FIN), NEXT);
        w.expect("tc_egress", &plain(FIN).reply(FIN), NEXT);
        assert_eq!(w.raw("tc_ingress", &at_node).verdict, NEXT);
        let reply = Packet { ttl: 64, ..plain(SYN).reply(SYN_ACK) };
        assert_eq!(w.expect("tc_egress", &reply, NEXT), other.reply(SYN_ACK));
    }
}

#[test]
fn a_node_port_of_another_node_is_known_by_its_port() {
    for f in BOTH {
        let mut w = end(f);
        let id = w.backend(f.local_pod(), 8080, TCP, true);
        let (other, any): (IpAddr, IpAddr) = match f {
            Family::V4 => ("10.0.0.2".parse().unwrap(), "0.0.0.0".parse().unwrap()),
            Family::V6 => ("fd00::2".parse().unwrap(), "::".parse().unwrap()),
        };
        serve(&mut w, NodePort, (any, 30080), TCP, &[id], frontend_flag::MARKER | frontend_flag::DSR);
        let asked = Packet::new((f.client(), 40_000), (other, 30080), SYN);
        let plain = onward(&asked, f.local_pod());
        let got = w.raw("tc_ingress", &informed(&plain, (other, 30080)));
        assert_eq!((got.verdict, got.packet), (NEXT, plain.bytes()));
        assert_eq!(
            w.expect("tc_egress", &Packet { ttl: 64, ..plain.reply(SYN_ACK) }, NEXT),
            asked.reply(SYN_ACK)
        );
    }
}

/// Nothing that our rows do not confirm is believed; `tell` makes a frame of a packet and the service that it names.
pub fn forged(end: impl Fn(Family) -> World, tell: impl Fn(&Packet, (IpAddr, u16)) -> Vec<u8>) {
    for f in BOTH {
        let mut w = end(f);
        let id = w.backend(f.local_pod(), 8080, TCP, true);
        w.frontend(LoadBalancer, f.cluster_ip(), 80, TCP, &[id]);
        let any: IpAddr = if f == Family::V4 { "0.0.0.0".parse().unwrap() } else { "::".parse().unwrap() };
        let loopback: IpAddr =
            if f == Family::V4 { "127.0.0.1".parse().unwrap() } else { "::1".parse().unwrap() };
        let group: IpAddr =
            if f == Family::V4 { "224.0.0.1".parse().unwrap() } else { "ff02::1".parse().unwrap() };
        serve(&mut w, NodePort, (any, 30080), TCP, &[id], frontend_flag::MARKER | frontend_flag::DSR);
        let to = |pod, port| Packet { dport: port, ..onward(&ask(f, SYN), pod) };
        let cases = [
            ("a port that the service has not", to(f.local_pod(), 8080), (f.vip(), 81)),
            ("an address that no service has", to(f.local_pod(), 8080), (f.client(), 80)),
            ("another port of the pod", to(f.local_pod(), 22), (f.vip(), 80)),
            ("a pod that is no backend", to(f.remote_pod(), 8080), (f.vip(), 80)),
            ("a service without DSR", to(f.local_pod(), 8080), (f.cluster_ip(), 80)),
            ("a NodePort at a service's address", to(f.local_pod(), 8080), (f.vip(), 30080)),
            ("a NodePort at no address", to(f.local_pod(), 8080), (any, 30080)),
            ("a NodePort at a loopback address", to(f.local_pod(), 8080), (loopback, 30080)),
            ("a NodePort at a group's address", to(f.local_pod(), 8080), (group, 30080)),
        ];
        // The address of a service answers on every port by this row, as the agent writes it.
        let wildcard =
            Frontend { flags: frontend_flag::EXTERNAL | frontend_flag::WILDCARD, ..Frontend::default() };
        w.put_frontend(f.vip(), 0, 0, Frontend { kind: LoadBalancer as u8, ..wildcard });
        for (nth, (what, packet, service)) in cases.iter().enumerate() {
            let frame = tell(packet, *service);
            let got = w.raw("tc_ingress", &frame);
            assert_eq!((got.verdict, got.packet, w.rows()), (NEXT, frame, 0), "{what}");
            assert_eq!(w.counted(Reason::DsrRefused), nth as u64 + 1, "{what}");
        }
    }
}

#[test]
fn forged_information_is_not_believed() {
    forged(end, informed);
}

/// A service's source ranges hold at the far end too.
pub fn ranges(world: impl Fn(Family) -> World, tell: impl Fn(&Packet, (IpAddr, u16)) -> Vec<u8>) {
    for f in BOTH {
        let mut w = world(f);
        let id = w.backend(f.local_pod(), 8080, TCP, true);
        serve(&mut w, LoadBalancer, (f.vip(), 80), TCP, &[id], DSR | frontend_flag::SOURCE_RANGES);
        let plain = onward(&ask(f, SYN), f.local_pod());
        assert_eq!(w.raw("tc_ingress", &tell(&plain, (f.vip(), 80))).verdict, DROP);
        assert_eq!((w.counted(Reason::SourceRange), w.rows()), (1, 0));
    }
}

#[test]
fn source_ranges_hold_at_the_far_end_too() {
    ranges(World::new, informed);
}

#[test]
fn an_option_of_somebody_else_s_is_none_of_ours() {
    for f in BOTH {
        let w = end(f);
        let mut frame = informed(&onward(&ask(f, SYN), f.local_pod()), (f.vip(), 80));
        // Record route; an option of the experiments' (RFC 4727).
        let at = if f == Family::V4 { 34 } else { 56 };
        frame[at] = if f == Family::V4 { 7 } else { 0x1e };
        let got = w.raw("tc_ingress", &frame);
        assert_eq!((got.verdict, got.packet, w.rows()), (NEXT, frame, 0));
        assert_eq!(w.counted(Reason::DsrRefused), 0);
    }
}

#[test]
fn expiry_keeps_both_ends_of_a_living_flow_and_ends_datagrams_to_a_backend_that_is_gone() {
    for f in BOTH {
        for (local, pod) in [(false, f.remote_pod()), (true, f.local_pod())] {
            let w = if local { end(f) } else { balancer(f) };
            for kind in [SYN, Kind::Udp] {
                match local {
                    true => {
                        let plain = onward(&ask(f, kind), pod);
                        assert_eq!(w.raw("tc_ingress", &informed(&plain, (f.vip(), 80))).verdict, NEXT);
                    }
                    false => drop(redirected(&w, &ask(f, kind))),
                }
            }
            let pass = || w.run.expirer(Lifetimes::default()).unwrap().pass().unwrap();
            let step = pass();
            assert_eq!((step.visited, step.expired, step.orphans, step.backend_gone), (4, 0, 0, 0));
            w.put_backend(2, pod, 8080, UDP, local, 0);
            assert_eq!(pass().backend_gone, 1, "the UDP flow");
            assert_eq!(w.rows(), 2, "both its rows, and no others");
        }
    }
}
