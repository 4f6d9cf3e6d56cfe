//! The model's store on real maps.

use crate::support::{Node, backend, frontend, frontend_key};
use shunt_common::{Backend, FrontendKey, Ip4, Ip6, Pool, PortBe};
use shunt_datapath::{Datapath, Sizes};
use shunt_model::store::{BackendRow, Family, FrontendRef, MapError, MapStore, Op, RangeRef};
use std::net::Ipv6Addr;

#[test]
fn what_is_applied_is_dumped_and_what_is_deleted_is_not() {
    let node = Node::new();
    let mut store = node.start().store().unwrap();
    let six: Ip6 = "fd00::9".parse::<Ipv6Addr>().unwrap().into();
    let row6 =
        Backend { addr: six, port: PortBe::new(53), proto: 17, state: 2, flags: 1, weight: 300, zone: 4 };
    let pool = Pool { offset: 13, len: 3 };
    let key4 = FrontendRef::V4(frontend_key(1));
    let key6 = FrontendRef::V6(FrontendKey::new(six, PortBe::new(53), 17));
    let ops = [
        Op::PutBackend { id: 1, row: BackendRow::V4(backend(1)) },
        Op::PutBackend { id: 127, row: BackendRow::V4(backend(2)) },
        Op::PutBackend { id: 1, row: BackendRow::V6(row6) },
        Op::PutPool { pool, ids: vec![1, 127, 1] },
        Op::PutFrontend { key: key4, row: frontend(1, 13, 3) },
        Op::PutFrontend { key: key6, row: frontend(2, 0, 0) },
    ];
    for op in ops.iter().chain(&ops) {
        store.apply(op).unwrap();
    }
    let actual = store.dump().unwrap();
    assert_eq!(actual.backends4.into_iter().collect::<Vec<_>>(), [(1, backend(1)), (127, backend(2))]);
    assert_eq!(actual.backends6.into_iter().collect::<Vec<_>>(), [(1, row6)]);
    assert_eq!(
        actual.frontends.into_iter().collect::<Vec<_>>(),
        [(key4, frontend(1, 13, 3)), (key6, frontend(2, 0, 0))]
    );
    assert_eq!(actual.slots.into_iter().collect::<Vec<_>>(), [(13, 1), (14, 127), (15, 1)]);

    let deletes = [
        Op::DeleteFrontend { key: key4 },
        Op::DeleteFrontend { key: key6 },
        Op::DeleteBackend { family: Family::V4, id: 1 },
        Op::DeleteBackend { family: Family::V4, id: 127 },
        Op::DeleteBackend { family: Family::V6, id: 1 },
    ];
    for op in deletes.iter().chain(&deletes) {
        store.apply(op).unwrap();
    }
    assert_eq!(store.dump().unwrap(), Default::default());
}

#[test]
fn source_ranges_are_written_read_back_and_removed_in_both_families() {
    let node = Node::new();
    let mut store = node.start().store().unwrap();
    let nets =
        ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "192.0.2.1/32", "::/0", "2001:db8::/32", "fd00::1/128"];
    let ranges: Vec<RangeRef> = [1, 7]
        .into_iter()
        .flat_map(|service| nets.map(|net| RangeRef { service, net: net.parse().unwrap() }))
        .collect();
    for range in ranges.iter().chain(&ranges) {
        store.apply(&Op::PutRange(*range)).unwrap();
    }
    assert!(store.dump().unwrap().ranges.iter().eq(ranges.iter()), "{:?}", store.dump().unwrap().ranges);
    for range in ranges.iter().chain(&ranges) {
        store.apply(&Op::DeleteRange(*range)).unwrap();
    }
    assert_eq!(store.dump().unwrap(), Default::default());
}

#[test]
fn a_full_map_names_the_key_that_sizes_it_and_takes_updates() {
    let node = Node::new();
    let mut store = node.start().store().unwrap();
    let capacity = store.capacity();
    assert_eq!((capacity.frontends, capacity.backends, capacity.slots), (64, 128, 512));
    let put =
        |n: u32| Op::PutFrontend { key: FrontendRef::V4(frontend_key(n as u8)), row: frontend(n + 1, 0, 0) };
    for n in 0..capacity.frontends {
        store.apply(&put(n)).unwrap();
    }
    let error = store.apply(&put(capacity.frontends)).unwrap_err();
    assert_eq!(error.to_string(), "map frontends4 is full at 64 entries; raise bpf.lbMapMax");
    store.apply(&put(3)).unwrap();
    assert_eq!(store.dump().unwrap().frontends.len(), 64);
}

#[test]
fn ids_and_slots_past_the_end_are_refused() {
    let node = Node::new();
    let mut store = node.start().store().unwrap();
    for id in [0, 128, u32::MAX] {
        let error = store.apply(&Op::PutBackend { id, row: BackendRow::V4(backend(1)) }).unwrap_err();
        assert!(matches!(error, MapError::Full { map: "backends4", .. }), "{id}: {error}");
    }
    let beyond = Op::PutPool { pool: Pool { offset: 511, len: 2 }, ids: vec![1, 1] };
    assert!(matches!(store.apply(&beyond).unwrap_err(), MapError::Full { map: "pool", .. }));
    store.apply(&Op::PutPool { pool: Pool { offset: 511, len: 1 }, ids: vec![1] }).unwrap();
}

#[test]
fn a_row_that_changes_its_state_keeps_the_rest() {
    let node = Node::new();
    let datapath = node.start();
    let mut store = datapath.store().unwrap();
    let (active, leaving) = (backend(4), Backend { state: 2, ..backend(4) });
    for row in [active, leaving] {
        store.apply(&Op::PutBackend { id: 9, row: BackendRow::V4(row) }).unwrap();
        assert_eq!(datapath.reader().unwrap().backend4(9), Some(row), "another mapping sees it at once");
    }
}

#[test]
fn ten_thousand_services_of_ten_backends_fit_and_are_read_back_whole() {
    let node = Node::new();
    let mut settings = node.settings();
    settings.sizes = Sizes::new(65_536, 8192);
    let datapath = Datapath::start(&settings).unwrap();
    let mut store = datapath.store().unwrap();
    for service in 0..10_000u32 {
        let ids: Vec<u32> = (service * 10 + 1..=service * 10 + 10).collect();
        for id in &ids {
            let row = Backend { addr: Ip4([*id]), ..backend(1) };
            store.apply(&Op::PutBackend { id: *id, row: BackendRow::V4(row) }).unwrap();
        }
        let pool = Pool { offset: service * 10, len: 10 };
        store.apply(&Op::PutPool { pool, ids }).unwrap();
        let key = FrontendKey::new(Ip4([service]), PortBe::new(80), 6);
        let row = frontend(service + 1, pool.offset, pool.len);
        store.apply(&Op::PutFrontend { key: FrontendRef::V4(key), row }).unwrap();
    }
    let actual = store.dump().unwrap();
    assert_eq!(
        (actual.frontends.len(), actual.backends4.len(), actual.slots.len()),
        (10_000, 100_000, 100_000)
    );
    // One that has mapped nothing of its own yet sees the same.
    let others: std::collections::BTreeMap<_, _> = datapath.reader().unwrap().backends4().collect();
    assert_eq!(others, actual.backends4);
}
