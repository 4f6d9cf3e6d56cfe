//! What traffic policies, source ranges and session affinity make of a packet.

use crate::packet::{IcmpError, Kind, Packet, SYN, SYN_ACK};
use crate::world::{BOTH, DROP, Family, NEXT, REDIRECT, World};
use shunt_common::{BackendState, Frontend, FrontendKind, Ip4, Ip6, RangeKey, Reason, frontend_flag};
use std::net::IpAddr;

const TCP: u8 = 6;
const UDP: u8 = 17;
const LOAD_BALANCER: u8 = FrontendKind::LoadBalancer as u8;

fn ask(f: Family, kind: Kind) -> Packet {
    Packet::new((f.client(), 40_000), (f.vip(), 80), kind)
}

fn pod(f: Family) -> IpAddr {
    if f == Family::V4 { "10.1.1.9" } else { "fd00:1:1::9" }.parse().unwrap()
}

/// A frontend with one pool for the outside and one for pods.
fn two_pools(w: &mut World, external: &[u32], internal: &[u32], flags: u32) {
    let pools = [w.pool(external), w.pool(internal)];
    let flags = flags | frontend_flag::EXTERNAL;
    let row = Frontend { kind: LOAD_BALANCER, flags, pools, ..Frontend::default() };
    w.put_frontend(w.family.vip(), 80, TCP, row);
}

#[test]
fn each_scope_has_its_own_backends() {
    for f in BOTH {
        let mut w = World::new(f);
        let local = w.backend(f.local_pod(), 8080, TCP, true);
        let remote = w.backend(f.remote_pod(), 8080, TCP, false);
        two_pools(&mut w, &[local], &[remote], 0);
        assert_eq!(w.expect("tc_ingress", &ask(f, SYN), NEXT).dst, f.local_pod());
        let from_pod = Packet { src: pod(f), ..ask(f, SYN) };
        assert_eq!(w.expect("pod_ingress", &from_pod, NEXT).dst, f.remote_pod());
    }
}

#[test]
fn with_endpoints_elsewhere_only_a_local_policy_drops_silently() {
    for f in BOTH {
        let mut w = World::new(f);
        let remote = w.backend(f.remote_pod(), 8080, TCP, false);
        two_pools(&mut w, &[], &[remote], frontend_flag::DROP_EXTERNAL);
        assert_eq!(w.hook("tc_ingress", &ask(f, SYN)).verdict, DROP);
        assert_eq!(w.counted(Reason::NoLocalBackend), 1);
        let from_pod = Packet { src: pod(f), ..ask(f, SYN) };
        assert_eq!(w.expect("pod_ingress", &from_pod, NEXT).dst, f.remote_pod(), "pods are short-circuited");
        // The other way round: internalTrafficPolicy.
        two_pools(&mut w, &[remote], &[], frontend_flag::DROP_INTERNAL);
        let again = Packet { sport: 40_001, ..from_pod };
        assert_eq!(w.hook("pod_ingress", &again).verdict, DROP);
        // Without an endpoint anywhere there is an answer.
        two_pools(&mut w, &[], &[], 0);
        assert_eq!(w.hook("tc_ingress", &Packet { sport: 40_002, ..ask(f, SYN) }).verdict, REDIRECT);
        assert_eq!((w.counted(Reason::NoLocalBackend), w.counted(Reason::NoBackend)), (2, 1));
    }
}

/// Adds a source range of the service at port 80.
fn range(w: &World, addr: IpAddr, bits: u32) {
    let service = 81;
    match addr {
        IpAddr::V4(a) => w.run.source_ranges4().unwrap().set(&RangeKey::new(service, Ip4::from(a), bits), &1),
        IpAddr::V6(a) => w.run.source_ranges6().unwrap().set(&RangeKey::new(service, Ip6::from(a), bits), &1),
    }
    .unwrap();
}

#[test]
fn source_ranges_allow_or_deny_before_anything_is_remembered() {
    for f in BOTH {
        for denies in [false, true] {
            let mut w = World::new(f);
            let local = w.backend(f.local_pod(), 8080, TCP, true);
            let deny = if denies { frontend_flag::SOURCE_DENY } else { 0 };
            two_pools(&mut w, &[local], &[local], frontend_flag::SOURCE_RANGES | deny);
            let bits = if f == Family::V4 { 24 } else { 64 };
            let net: IpAddr = if f == Family::V4 { "198.51.100.0" } else { "2001:db8:c::" }.parse().unwrap();
            range(&w, net, bits);
            let inside = ask(f, SYN);
            let outside = Packet {
                src: if f == Family::V4 { "192.0.2.9" } else { "2001:db8:d::9" }.parse().unwrap(),
                ..inside
            };
            let (good, bad) = if denies { (outside, inside) } else { (inside, outside) };
            assert_eq!(w.hook("tc_ingress", &bad).verdict, DROP, "deny {denies}");
            assert_eq!((w.rows(), w.counted(Reason::SourceRange)), (0, 1));
            assert_eq!(w.expect("tc_ingress", &good, NEXT).dst, f.local_pod());
            assert_eq!(w.hook("pod_ingress", &Packet { sport: 41_000, ..bad }).verdict, DROP, "pods too");
        }
    }
}

#[test]
fn ranges_of_another_service_say_nothing() {
    for f in BOTH {
        let mut w = World::new(f);
        let local = w.backend(f.local_pod(), 8080, TCP, true);
        two_pools(&mut w, &[local], &[local], frontend_flag::SOURCE_RANGES);
        let anyone: IpAddr = if f == Family::V4 { "0.0.0.0" } else { "::" }.parse().unwrap();
        match anyone {
            IpAddr::V4(a) => {
                w.run.source_ranges4().unwrap().set(&RangeKey::new(82, Ip4::from(a), 0), &1).unwrap()
            }
            IpAddr::V6(a) => {
                w.run.source_ranges6().unwrap().set(&RangeKey::new(82, Ip6::from(a), 0), &1).unwrap()
            }
        }
        assert_eq!(w.hook("tc_ingress", &ask(f, SYN)).verdict, DROP);
        range(&w, anyone, 0);
        assert_eq!(w.expect("tc_ingress", &ask(f, SYN), NEXT).dst, f.local_pod());
    }
}

/// A service of 50 local backends with session affinity; their ids.
fn sticky(w: &mut World, proto: u8, timeout: u32) -> Vec<u32> {
    let f = w.family;
    let ids: Vec<u32> = (0..50).map(|i| w.backend(f.local_pod(), 8000 + i, proto, true)).collect();
    let pool = w.pool(&ids);
    let flags = frontend_flag::EXTERNAL;
    let row = Frontend {
        kind: LOAD_BALANCER,
        flags,
        affinity_timeout: timeout,
        pools: [pool; 2],
        ..Frontend::default()
    };
    w.put_frontend(f.vip(), 80, proto, row);
    ids
}

/// The backend port that a new connection from a source port gets.
fn reached(w: &World, src: IpAddr, sport: u16, kind: Kind) -> u16 {
    let packet = Packet { src, sport, ..ask(w.family, kind) };
    w.expect("tc_ingress", &packet, NEXT).dport
}

#[test]
fn a_client_keeps_its_backend_and_another_client_has_its_own() {
    for f in BOTH {
        for (proto, kind) in [(TCP, SYN), (UDP, Kind::Udp)] {
            let mut w = World::new(f);
            sticky(&mut w, proto, 100);
            let first = reached(&w, f.client(), 1000, kind);
            assert!((1001..1100).all(|port| reached(&w, f.client(), port, kind) == first));
            let from_pod = Packet { sport: 1200, ..ask(f, kind) };
            assert_eq!(w.expect("pod_ingress", &from_pod, NEXT).dport, first, "whatever way it comes");
            let others = (0..20u8).map(|i| {
                let src = if f == Family::V4 { format!("192.0.2.{i}") } else { format!("2001:db8:d::{i}") };
                reached(&w, src.parse().unwrap(), 1000, kind)
            });
            assert!(others.collect::<std::collections::BTreeSet<_>>().len() > 5, "clients are spread");
        }
    }
}

#[test]
fn affinity_ends_when_its_time_is_over_or_the_pool_has_the_backend_no_more() {
    for f in BOTH {
        let mut w = World::new(f);
        let ids = sticky(&mut w, TCP, 100);
        let first = reached(&w, f.client(), 1000, SYN);
        let table = w.run.affinity().unwrap();
        let (key, row) = table.entries().unwrap()[0];
        assert_eq!(ids[usize::from(first - 8000)], row.backend);
        // In the pool, but at its ends too: the search finds all.
        for id in &ids {
            table.set(&key, &shunt_common::AffinityRow { backend: *id, ..row }).unwrap();
            let port = reached(&w, f.client(), 2000 + *id as u16, SYN);
            assert_eq!(ids[usize::from(port - 8000)], *id);
        }
        let aged =
            |seconds| shunt_common::AffinityRow { backend: ids[7], stamp: row.stamp.wrapping_sub(seconds) };
        table.set(&key, &aged(95)).unwrap();
        assert_eq!(reached(&w, f.client(), 3000, SYN), 8007);
        let refreshed = table.get(&key).unwrap().unwrap().stamp;
        assert!(refreshed.wrapping_sub(row.stamp) < 50, "a new connection refreshes it");
        let kept = (0..20).filter(|i| {
            table.set(&key, &aged(105)).unwrap();
            reached(&w, f.client(), 4000 + i, SYN) == 8007
        });
        assert!(kept.count() < 10, "after its time the pick is free");
        // Out of the pool, while other services may still use the backend.
        let left: Vec<u32> = ids.iter().copied().filter(|id| *id != ids[7]).collect();
        let pool = w.pool(&left);
        let row = Frontend {
            kind: LOAD_BALANCER,
            flags: frontend_flag::EXTERNAL,
            affinity_timeout: 100,
            pools: [pool; 2],
            ..Frontend::default()
        };
        w.put_frontend(f.vip(), 80, TCP, row);
        table.set(&key, &aged(0)).unwrap();
        let next = reached(&w, f.client(), 5000, SYN);
        assert_ne!(next, 8007);
        assert_eq!(reached(&w, f.client(), 5001, SYN), next, "and it sticks to the new one");
    }
}

#[test]
fn a_udp_flow_ends_when_its_backend_stops_serving() {
    for f in BOTH {
        let mut w = World::new(f);
        let a = w.backend(f.local_pod(), 8080, UDP, true);
        w.frontend(FrontendKind::LoadBalancer, f.vip(), 80, UDP, &[a]);
        assert_eq!(w.expect("tc_ingress", &ask(f, Kind::Udp), NEXT).dport, 8080);
        let b = w.backend(f.local_pod(), 8081, UDP, true);
        w.frontend(FrontendKind::LoadBalancer, f.vip(), 80, UDP, &[b]);
        w.put_backend(a, f.local_pod(), 8080, UDP, true, BackendState::Terminating as u8);
        assert_eq!(w.expect("tc_ingress", &ask(f, Kind::Udp), NEXT).dport, 8080, "it serves on");
        w.put_backend(a, f.local_pod(), 8080, UDP, true, BackendState::TerminatingNotServing as u8);
        assert_eq!(w.expect("tc_ingress", &ask(f, Kind::Udp), NEXT).dport, 8081);
    }
}

#[test]
fn sctp_is_translated_with_its_sum_right_whatever_the_ports() {
    for f in BOTH {
        let (init, init_ack, echo) = (Kind::Sctp(1), Kind::Sctp(2), Kind::Sctp(10));
        for (backend, local, verdict) in [(f.local_pod(), true, NEXT), (f.remote_pod(), false, REDIRECT)] {
            let mut w = World::new(f);
            w.service(FrontendKind::LoadBalancer, (f.vip(), 80), 132, (backend, 9999), local);
            for len in [0, 3, 100, 1400] {
                let packet = Packet { len, sport: 1000 + len as u16, ..ask(f, init) };
                let got = w.expect("tc_ingress", &packet, verdict);
                assert_eq!((got.dst, got.dport, got.len), (backend, 9999, len));
                let hook = if local { "tc_egress" } else { "tc_ingress" };
                let back = w.expect(hook, &got.reply(init_ack), verdict);
                assert_eq!(Packet { ttl: 64, ..back }, packet.reply(init_ack));
                let on = w.expect("tc_ingress", &Packet { kind: echo, ..packet }, verdict);
                assert_eq!((on.sport, on.dport), (got.sport, 9999));
            }
            assert_eq!(w.rows(), 8);
        }
        let mut w = World::new(f);
        w.service(FrontendKind::LoadBalancer, (f.vip(), 80), 132, (f.remote_pod(), 9999), false);
        let mut frame = ask(f, init).bytes();
        let sum = if f == Family::V4 { 42 } else { 62 };
        frame[sum..sum + 4].fill(0);
        let outcome = w.raw("tc_ingress", &frame);
        assert_eq!(outcome.packet[sum..sum + 4], [0; 4], "a sum left to the NIC stays so");
        let mut w = World::new(f);
        w.frontend(FrontendKind::LoadBalancer, f.vip(), 80, 132, &[]);
        let outcome = w.hook("tc_ingress", &ask(f, init));
        assert_eq!(outcome.verdict, REDIRECT);
        assert_eq!(IcmpError::read(&outcome.packet).type_code, if f == Family::V4 { (3, 3) } else { (1, 4) });
    }
}

#[test]
fn a_pod_reaches_itself_through_its_service() {
    for f in BOTH {
        for (proto, ask, answer) in [(TCP, SYN, SYN_ACK), (UDP, Kind::Udp, Kind::Udp)] {
            let mut w = World::new(f);
            w.service(FrontendKind::ClusterIp, (f.cluster_ip(), 80), proto, (f.local_pod(), 8080), true);
            let packet = Packet::new((f.local_pod(), 40_000), (f.cluster_ip(), 80), ask);
            let got = w.expect("pod_ingress", &packet, REDIRECT);
            assert_eq!(
                (got.src, got.dst, got.dport),
                (f.node(), f.local_pod(), 8080),
                "from another's address"
            );
            assert_eq!(w.forwarded("pod_egress", &got, NEXT), got, "it goes straight in again");
            let back = w.expect("pod_ingress", &got.reply(answer), REDIRECT);
            assert_eq!(back, packet.reply(answer));
            assert_eq!(w.expect("pod_egress", &back, NEXT), back);
            assert_eq!(w.expect("pod_ingress", &packet, REDIRECT).sport, got.sport, "one flow");
        }
    }
}
