//! Any order of events and any faults: the maps end at what the objects ask for, and nothing leaks.

// A test that cannot go on should say where.
#![allow(clippy::unwrap_used)]

mod common;

use common::watching::{Watching, reach};
use common::world::{Event, event, node_address};
use common::{CAPACITY, Cluster, NODE};
use proptest::prelude::*;
use shunt_common::{Frontend, Pool};
use shunt_model::maglev::Settings;
use shunt_model::objects::Kind;
use shunt_model::store::{Actual, BackendRow, Capacity, Family, FrontendRef, Op};
use shunt_model::{MapStore, Model, Options, Usage};
use std::collections::{BTreeMap, BTreeSet};

/// A frontend without ids: who shares its service id and their source ranges, its row without id and pools, its backends
/// by scope.
type Meaning =
    BTreeMap<FrontendRef, (BTreeSet<FrontendRef>, BTreeSet<ipnet::IpNet>, Frontend, [Vec<BackendRow>; 2])>;

fn meaning(actual: &Actual) -> Meaning {
    let mut sharing: BTreeMap<u32, BTreeSet<FrontendRef>> = BTreeMap::new();
    for (key, row) in &actual.frontends {
        sharing.entry(row.service).or_default().insert(*key);
    }
    let mut all = Meaning::new();
    for (key, row) in &actual.frontends {
        let backends = [0, 1].map(|scope: usize| {
            let pool = row.pools[scope];
            let ids = (pool.offset..pool.offset + pool.len).map(|slot| actual.slots[&slot]);
            let row = |id| match key.family() {
                Family::V4 => BackendRow::V4(actual.backends4[&id]),
                Family::V6 => BackendRow::V6(actual.backends6[&id]),
            };
            let mut rows: Vec<BackendRow> = ids.map(row).collect();
            // The order in a pool is that of ids, which depends on history.
            rows.sort_unstable();
            rows
        });
        let rest = Frontend { service: 0, pools: [Pool::default(); 2], ..*row };
        let ranges = actual.ranges.iter().filter(|r| r.service == row.service).map(|r| r.net).collect();
        all.insert(*key, (sharing[&row.service].clone(), ranges, rest, backends));
    }
    all
}

/// What a model that has seen nothing but the final objects writes to empty maps.
fn fresh(cluster: &Cluster) -> Actual {
    let mut fresh = Cluster::new(cluster.options.clone());
    fresh.model.set_node_port_addresses(cluster.node_ports.clone());
    fresh.model.set_node_port_loopback(cluster.loopback);
    fresh.objects = cluster.objects.clone();
    fresh.relist();
    fresh.settle();
    fresh.store.dump().unwrap()
}

/// With everything on that can be; tables are small, and two are built at once.
fn options(maglev: bool) -> Options {
    let tables = Settings { size: 251, ..Settings::default() };
    Options {
        host_ports: true,
        source_ranges_for_all: true,
        maglev,
        tables,
        tables_at_once: 500,
        ..Options::new(NODE)
    }
}

fn happen(cluster: &mut Cluster, event: &Event) {
    match event {
        Event::Apply(object) => cluster.apply((**object).clone()),
        Event::DeleteService(n) => cluster.delete(Kind::Service, &format!("default/s{n}")),
        Event::DeleteSlice(n) => cluster.delete(Kind::EndpointSlice, &format!("default/sl{n}")),
        Event::DeleteNode => cluster.delete(Kind::Node, NODE),
        Event::DeletePod(n) => cluster.delete(Kind::Pod, &format!("default/p{n}")),
        Event::DeleteServiceCidr(n) => cluster.delete(Kind::ServiceCidr, &format!("c{n}")),
        Event::Loopback(on) => {
            cluster.loopback = *on;
            cluster.model.set_node_port_loopback(*on);
        }
        Event::NodePorts(addresses) => {
            let parse = |a: &Vec<u8>| a.iter().map(|n| node_address(*n).parse().unwrap()).collect();
            cluster.node_ports = addresses.as_ref().map(parse);
            cluster.model.set_node_port_addresses(cluster.node_ports.clone());
        }
        Event::Relist => cluster.relist(),
        Event::Restart => {
            cluster.restart();
            cluster.relist();
        }
        Event::Reconcile => _ = cluster.reconcile(),
        Event::Retry => cluster.model.retry_pending(),
    }
}

/// Everything that is given out is named by a row, and the maps hold what the ledger says.
fn assert_no_leak(cluster: &mut Cluster) {
    let actual = cluster.store.dump().unwrap();
    let services: BTreeSet<u32> = actual.frontends.values().map(|r| r.service).collect();
    let count = |family| actual.frontends.keys().filter(|k| k.family() == family).count();
    let units = actual.tables.values().map(|t| t.units as usize).sum();
    let used = Usage {
        table_units: units,
        services: services.len(),
        frontends4: count(Family::V4),
        frontends6: count(Family::V6),
        backends4: actual.backends4.len(),
        backends6: actual.backends6.len(),
        slots: actual.slots.len(),
        ranges4: actual.ranges.iter().filter(|r| r.net.addr().is_ipv4()).count(),
        ranges6: actual.ranges.iter().filter(|r| r.net.addr().is_ipv6()).count(),
    };
    assert_eq!(cluster.model.usage(), used);
    assert_eq!(cluster.model.actual(), actual);
    assert_eq!(cluster.model.verify(&actual), []);
    assert_eq!(backends(&actual), backends(&fresh(cluster)), "a backend that nothing asks for");
    assert_pools_ascend(&actual);
}

/// All backends, without ids.
fn backends(actual: &Actual) -> BTreeSet<BackendRow> {
    let v4 = actual.backends4.values().copied().map(BackendRow::V4);
    v4.chain(actual.backends6.values().copied().map(BackendRow::V6)).collect()
}

fn assert_pools_ascend(actual: &Actual) {
    for (key, row) in &actual.frontends {
        for pool in row.pools {
            let ids: Vec<u32> =
                (pool.offset..pool.offset + pool.len).map(|slot| actual.slots[&slot]).collect();
            assert!(ids.is_sorted_by(|a, b| a < b), "{key:?} {ids:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_events_and_any_faults_end_at_desired_and_leak_nothing(
        events in prop::collection::vec(event(), 1..60),
        seed: u64,
        permille in 0..500u32,
        maglev: bool,
    ) {
        let mut cluster = Cluster::new(options(maglev));
        cluster.store = shunt_model::store::Faulty::new(cluster.store.inner.clone(), seed, permille);
        for event in &events {
            happen(&mut cluster, event);
        }
        cluster.settle();
        let actual = cluster.store.dump().unwrap();
        prop_assert_eq!(meaning(&actual), meaning(&fresh(&cluster)));
        assert_no_leak(&mut cluster);
    }

    #[test]
    fn a_restart_over_the_same_objects_writes_nothing(
        events in prop::collection::vec(event(), 1..40),
        maglev: bool,
    ) {
        let mut cluster = Cluster::new(options(maglev));
        events.iter().for_each(|e| happen(&mut cluster, e));
        cluster.settle();
        let (before, written) = (cluster.store.dump().unwrap(), cluster.store.inner.applied);
        cluster.restart();
        cluster.settle();
        prop_assert_eq!(cluster.store.inner.applied, written, "nothing is listed yet");
        cluster.relist();
        cluster.settle();
        prop_assert_eq!(cluster.store.inner.applied, written);
        prop_assert_eq!(cluster.store.dump().unwrap(), before);
        assert_no_leak(&mut cluster);
    }

    #[test]
    fn every_frontend_leads_to_the_whole_old_set_or_the_whole_new_one_after_every_op(
        events in prop::collection::vec(event(), 1..40),
        seed: u64,
        permille in 0..300u32,
        maglev: bool,
    ) {
        let mut cluster = Cluster::new(options(maglev));
        let faulty = shunt_model::store::Faulty::new(cluster.store.inner.clone(), seed, permille);
        let mut watching = Watching::new(faulty);
        for event in &events {
            match event {
                // Each event is followed by a reconcile that is watched.
                Event::Reconcile => continue,
                Event::Restart => watching.rested(),
                _ => {}
            }
            happen(&mut cluster, event);
            watching.begin(reach(&fresh(&cluster)));
            cluster.model.reconcile(&mut watching);
            cluster.store = watching.inner.clone();
        }
    }

    #[test]
    fn maps_that_are_too_small_are_reported_and_never_corrupted_and_recover(
        events in prop::collection::vec(event(), 10..60),
        backends in 2..12u32,
        slots in 1..16u32,
        frontends in 1..12u32,
        ranges in 0..6u32,
        // A table has 34.
        table_units in prop_oneof![0..34u32, 34..400u32],
        maglev: bool,
    ) {
        let small = Capacity { backends, slots, frontends, ranges, table_units };
        let mut cluster = Cluster::with_capacity(options(maglev), small);
        for event in &events {
            happen(&mut cluster, event);
        }
        cluster.settle();
        let report = cluster.reconcile();
        let wrong = cluster.model.services().flat_map(|s| s.frontends);
        let wrong = wrong.filter(|f| f.status != shunt_model::Status::Done).count();
        let actual = cluster.store.dump().unwrap();
        if meaning(&actual) != meaning(&fresh(&cluster)) {
            prop_assert!(wrong > 0, "a difference that no status shows: {report:?}");
        }
        prop_assert_eq!(cluster.model.verify(&actual), []);

        let all: Vec<_> = cluster.objects.keys().cloned().collect();
        all.iter().for_each(|(kind, key)| cluster.delete(*kind, key));
        cluster.settle();
        prop_assert_eq!(cluster.store.dump().unwrap(), Actual::default());
        prop_assert_eq!(cluster.model.usage(), Usage::default());
    }

    #[test]
    fn whatever_else_writes_to_the_maps_verify_repairs(
        events in prop::collection::vec(event(), 10..40),
        damage in prop::collection::vec((0..7u8, any::<prop::sample::Index>()), 1..6),
        maglev: bool,
    ) {
        let mut cluster = Cluster::new(options(maglev));
        events.iter().for_each(|e| happen(&mut cluster, e));
        cluster.settle();
        let before = cluster.store.dump().unwrap();
        let mut store = common::unchecked(&before);
        for (what, at) in damage {
            common::damage(&mut store, what, at.index(64));
        }
        let repair = cluster.model.verify(&store.dump().unwrap());
        repair.iter().for_each(|op| store.apply(op).unwrap());
        prop_assert_eq!(store.dump().unwrap(), before);
    }
}

/// With the service of `fixtures/web.yaml`, not reconciled yet.
fn web() -> Cluster {
    let mut cluster = Cluster::new(Options::new(NODE));
    common::Object::read(include_str!("fixtures/web.yaml")).into_iter().for_each(|o| cluster.apply(o));
    cluster
}

#[test]
fn nothing_is_written_before_every_kind_has_been_listed() {
    let mut cluster = web();
    cluster.settle();
    let written = cluster.store.inner.applied;
    assert!(written > 0);
    cluster.restart();
    for kind in [Kind::Service, Kind::Node] {
        cluster.list(kind);
        let report = cluster.reconcile();
        assert!(report.waiting.contains(&Kind::EndpointSlice));
    }
    assert_eq!(cluster.store.inner.applied, written);
}

#[test]
fn an_unsorted_pool_that_an_earlier_agent_left_is_written_anew_in_order() {
    let mut cluster = web();
    cluster.settle();
    let good = cluster.store.dump().unwrap();
    let mut bad = good.clone();
    let row = bad.frontends.values().find(|row| row.pools[0].len == 2).unwrap();
    let first = row.pools[0].offset;
    let (a, b) = (bad.slots[&first], bad.slots[&(first + 1)]);
    bad.slots.extend([(first, b), (first + 1, a)]);
    cluster.store = shunt_model::store::Faulty::new(common::unchecked(&bad), 0, 0);
    cluster.restart();
    cluster.relist();
    cluster.settle();
    let actual = cluster.store.dump().unwrap();
    assert_pools_ascend(&actual);
    assert_eq!(meaning(&actual), meaning(&good));
    assert_eq!(backends(&actual), backends(&good));
}

#[test]
fn the_cost_of_a_change_is_the_size_of_the_change() {
    let mut cluster = common::many(200, 10);
    cluster.settle();
    let written = cluster.store.inner.applied;
    let (kind, key) = (Kind::EndpointSlice, "default/s7-1".to_string());
    let Some(common::Object::Slice(mut slice)) = cluster.objects.get(&(kind, key)).cloned() else { panic!() };
    slice.endpoints.as_mut().unwrap().pop();
    cluster.apply(common::Object::Slice(slice));
    let report = cluster.reconcile();
    // The pool and the row; the backend goes with the next reconcile.
    assert_eq!((report.services, report.ops, report.removals_due), (1, 2, 1));
    let report = cluster.reconcile();
    assert_eq!((report.services, report.ops, report.removals_due), (0, 1, 0));
    assert_eq!(cluster.store.inner.applied, written + 3);
}

#[test]
fn a_failed_write_leaves_its_text_on_the_frontend_until_a_retry_succeeds() {
    let mut cluster = web();
    cluster.store.set_permille(1000);
    let report = cluster.reconcile();
    assert_eq!(report.failed[0].object, "Service default/web");
    let status = |c: &Cluster| c.model.service("default", "web").unwrap().frontends[0].status.clone();
    let shunt_model::Status::Error(text) = status(&cluster) else { panic!("no error") };
    assert!(text.contains("injected"), "{text}");
    cluster.store.set_permille(0);
    assert_eq!(cluster.reconcile().services, 0, "waits for the agent's backoff");
    cluster.model.retry_pending();
    assert_eq!(status(&cluster), shunt_model::Status::Pending);
    cluster.reconcile();
    assert_eq!(status(&cluster), shunt_model::Status::Done);
}

#[test]
fn maps_that_make_no_sense_are_taken_over_without_harm() {
    let mut cluster = web();
    cluster.settle();
    let good = cluster.store.dump().unwrap();
    let mut bad = good.clone();
    for (row, n) in bad.frontends.values_mut().zip(0..) {
        // Overlapping, out of bounds, unwritten.
        row.pools[0].offset += n;
        row.pools[1].offset = if n == 1 { u32::MAX } else { 4000 };
        row.service = u32::MAX - n;
    }
    bad.backends4.values_mut().for_each(|b| b.port.0 = 7);
    let mut store = common::unchecked(&bad);
    let mut model = Model::new(cluster.options.clone(), CAPACITY);
    model.restore(&bad);
    cluster.model = model;
    cluster.relist();
    for _ in 0..4 {
        assert_eq!(cluster.model.reconcile(&mut store).failed, []);
    }
    assert_eq!(meaning(&store.dump().unwrap()), meaning(&good));
    assert_eq!(cluster.model.verify(&store.dump().unwrap()), Vec::<Op>::new());
}

#[test]
fn pods_are_waited_for_only_where_host_ports_are_on() {
    for host_ports in [false, true] {
        let mut model = Model::new(Options { host_ports, ..Options::new(NODE) }, CAPACITY);
        model.replace_services([]);
        model.replace_slices([]);
        model.replace_nodes([]);
        assert_eq!(model.is_synced(), !host_ports);
        model.begin_replace(Kind::Pod);
        model.end_replace(Kind::Pod);
        assert!(model.is_synced());
    }
}

#[test]
fn a_full_map_serves_with_the_backends_of_the_pools_and_lets_the_others_go() {
    let capacity = Capacity { backends: 3, ..CAPACITY };
    let mut cluster = Cluster::with_capacity(Options::new(NODE), capacity);
    let endpoint = |n: u8, state: &str| format!("- {{addresses: [10.244.2.{n}], conditions: {{{state}}}}}\n");
    let gone = "ready: false, serving: true, terminating: true";
    let slice = format!(
        "kind: EndpointSlice\nmetadata: {{name: web-1, labels: {{kubernetes.io/service-name: web}}}}\n\
         addressType: IPv4\nports: [{{port: 8080}}]\nendpoints:\n{}{}{}",
        endpoint(1, gone),
        endpoint(2, "ready: true"),
        endpoint(3, gone)
    );
    let service = "kind: Service\nmetadata: {name: web}\nspec: {clusterIP: 10.96.0.10, ports: [{port: 80}]}";
    common::Object::read(&format!("{service}\n---\n{slice}")).into_iter().for_each(|o| cluster.apply(o));
    assert_eq!(cluster.reconcile().failed, []);
    let actual = cluster.store.dump().unwrap();
    assert_eq!((actual.slots.len(), actual.backends4.len()), (1, 2));
    assert_eq!(cluster.model.verify(&actual), []);
}
