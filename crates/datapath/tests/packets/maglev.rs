//! Maglev: every node picks the same backend for a flow, whatever ids its backends have.

use crate::packet::{ACK, Kind, Packet, SYN};
use crate::world::{BOTH, Family, NEXT, World};
use shunt_common::maglev::{FlowHash, TableRef};
use shunt_common::{Addr, Frontend, FrontendKind, Ip4, Ip6, frontend_flag};
use shunt_model::maglev::{Member, Settings, values};
use shunt_model::store::{BackendRow, MapStore, Op};
use std::collections::BTreeSet;
use std::net::IpAddr;

const TCP: u8 = 6;

/// A node with a Maglev service of local backends at ports from 8000 on, which it heard of in this order.
fn node(family: Family, order: &[u16], timeout: u32, weight: impl Fn(u16) -> u16) -> World {
    let mut w = World::new(family);
    let mut rows: Vec<(u32, u16)> = Vec::new();
    for port in order {
        rows.push((w.backend(family.local_pod(), *port, TCP, true), *port));
    }
    let mut ids: Vec<u32> = rows.iter().map(|r| r.0).collect();
    ids.sort_unstable();
    rows.sort_by_key(|r| r.1);
    let members = members(family, order, &weight);
    let table = Settings::default().table(&members);
    let slots: Vec<u32> = ids.iter().chain(rows.iter().map(|r| &r.0)).copied().collect();
    let word = TableRef::new(4096, Settings::is_wide(ids.len())).0;
    w.run.store().unwrap().apply(&Op::PutTable { at: 4096, table: table.into() }).unwrap();
    let pool = w.maglev_pool(ids.len() as u32, slots, word);
    let row = Frontend {
        kind: FrontendKind::LoadBalancer as u8,
        flags: frontend_flag::EXTERNAL | frontend_flag::MAGLEV,
        affinity_timeout: timeout,
        pools: [pool; 2],
        ..Frontend::default()
    };
    w.put_frontend(family.vip(), 80, TCP, row);
    w
}

/// The backends in order of address and port.
fn members(family: Family, ports: &[u16], weight: &impl Fn(u16) -> u16) -> Vec<Member> {
    let ports: BTreeSet<u16> = ports.iter().copied().collect();
    let row = |port| {
        let state = shunt_common::BackendState::Active;
        BackendRow::new(family.local_pod(), port, shunt_common::Proto::Tcp, state, 1)
    };
    ports.iter().map(|p| Member::from(&row(*p).with_weight(weight(*p)))).collect()
}

fn reached(w: &World, sport: u16, kind: Kind) -> u16 {
    let packet = Packet::new((w.family.client(), sport), (w.family.vip(), 80), kind);
    w.expect("tc_ingress", &packet, NEXT).dport
}

/// What the host says the table has for a flow.
fn expected(family: Family, table: &[u16], sport: u16) -> u16 {
    fn words(addr: IpAddr) -> Vec<u32> {
        match addr {
            IpAddr::V4(a) => Ip4::from(a).words().to_vec(),
            IpAddr::V6(a) => Ip6::from(a).words().to_vec(),
        }
    }
    let settings = Settings::default();
    let ports = u32::from(sport.to_be()) | u32::from(80u16.to_be()) << 16;
    let hash = FlowHash::new(settings.flow_seed()).words(&words(family.client()));
    let hash = hash.words(&words(family.vip())).word(ports).word(u32::from(TCP)).finish();
    table[(hash % settings.size) as usize]
}

#[test]
fn a_flow_that_fails_over_to_another_node_in_its_middle_reaches_the_same_backend() {
    for f in BOTH {
        let one: Vec<u16> = (8000..8010).collect();
        let other: Vec<u16> = one.iter().rev().copied().collect();
        let first = node(f, &one, 0, |_| 0);
        let before: Vec<u16> = (1000..1200).map(|sport| reached(&first, sport, SYN)).collect();
        assert_eq!(before.iter().collect::<BTreeSet<_>>().len(), 10, "all are used");
        let second = node(f, &other, 0, |_| 0);
        let after: Vec<u16> = (1000..1200).map(|sport| reached(&second, sport, ACK)).collect();
        assert_eq!(before, after);
        let table = values(&Settings::default(), &members(f, &one, &|_| 0));
        let want: Vec<u16> = (1000..1200).map(|sport| 8000 + expected(f, &table, sport)).collect();
        assert_eq!(before, want, "the host's code says the same");
    }
}

#[test]
fn more_backends_than_a_byte_counts_are_all_reached_where_the_table_says() {
    for f in BOTH {
        let ports: Vec<u16> = (8000..8300).rev().collect();
        let w = node(f, &ports, 0, |_| 0);
        let table = values(&Settings::default(), &members(f, &ports, &|_| 0));
        let found: Vec<u16> = (1000..1300).map(|sport| reached(&w, sport, SYN)).collect();
        let want: Vec<u16> = (1000..1300).map(|sport| 8000 + expected(f, &table, sport)).collect();
        assert_eq!(found, want);
        assert!(found.iter().any(|p| *p >= 8256));
    }
}

#[test]
fn one_backend_gets_all_and_weights_count() {
    for f in BOTH {
        let w = node(f, &[8000], 0, |_| 0);
        assert!((1000..1020).all(|sport| reached(&w, sport, SYN) == 8000));
        let w = node(f, &[8001, 8000], 0, |port| if port == 8000 { 300 } else { 100 });
        let heavy = (1000..1400).filter(|sport| reached(&w, *sport, SYN) == 8000).count();
        assert!((260..340).contains(&heavy), "{heavy} of 400, 300 expected");
    }
}

#[test]
fn a_client_with_affinity_first_gets_the_same_backend_on_every_node() {
    for f in BOTH {
        let ports: Vec<u16> = (8000..8050).collect();
        let reversed: Vec<u16> = ports.iter().rev().copied().collect();
        let (mut seen, orders) = (BTreeSet::new(), [&ports, &reversed]);
        for (order, sport) in orders.into_iter().zip([1000, 2000]) {
            let w = node(f, order, 100, |_| 0);
            seen.extend((sport..sport + 20).map(|sport| reached(&w, sport, SYN)));
        }
        assert_eq!(seen.len(), 1, "{seen:?}");
    }
}
