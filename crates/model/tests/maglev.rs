//! Services that are balanced by Maglev: what they get when there is no room for tables, or when many ask at once.

// A test that cannot go on should say where.
#![allow(clippy::unwrap_used)]

mod common;

use common::{CAPACITY, Cluster, NODE, Object};
use shunt_common::{Frontend, frontend_flag};
use shunt_model::maglev::Settings;
use shunt_model::objects::{Endpoint, Kind};
use shunt_model::store::{Actual, Capacity, MapError, MemoryStore, Op};
use shunt_model::{MapStore, Options, Report, Status};

const SIZE: u32 = 251;
/// Elements of one table.
const UNITS: u32 = 34;

/// Everything by Maglev, and tables for these many services at once.
fn options(at_once: u32) -> Options {
    let tables = Settings { size: SIZE, ..Settings::default() };
    Options { maglev: true, tables, tables_at_once: at_once * SIZE, ..Options::new(NODE) }
}

fn cluster(options: Options, capacity: Capacity, services: u32) -> Cluster {
    let mut cluster = Cluster::with_capacity(options, capacity);
    for n in 0..services {
        cluster.apply(common::service(n));
        cluster.apply(common::slice(n, 3));
    }
    cluster
}

fn rows(cluster: &mut Cluster) -> Vec<Frontend> {
    let all = cluster.store.dump().unwrap().frontends.into_values();
    all.filter(|row| row.flags & frontend_flag::WILDCARD == 0).collect()
}

/// How many frontends of services have a table, and how many are served without.
fn by_table_and_at_random(cluster: &mut Cluster) -> (usize, usize) {
    let rows = rows(cluster);
    assert!(rows.iter().all(|row| row.pools.iter().all(|pool| pool.len > 0)), "everything is served");
    for row in &rows {
        let flagged = row.flags & frontend_flag::MAGLEV != 0;
        assert_eq!(row.algorithm == 1, flagged, "what is listed is what is done: {row:?}");
    }
    let by_table = rows.iter().filter(|row| row.algorithm == 1).count();
    (by_table, rows.len() - by_table)
}

fn status(cluster: &Cluster, n: u32) -> Status {
    cluster.model.service("default", &format!("s{n}")).unwrap().frontends[0].status.clone()
}

#[test]
fn without_room_for_a_table_a_service_is_balanced_at_random_says_so_and_recovers() {
    let mut cluster = cluster(options(100), Capacity { table_units: 2 * UNITS, ..CAPACITY }, 3);
    let report = cluster.reconcile();
    assert_eq!(by_table_and_at_random(&mut cluster), (2, 1));
    let told = "balanced at random, for want of a Maglev table: map maglev is full; use a smaller \
                maglev.tableSize, or Maglev for fewer services";
    let [failure] = &report.failed[..] else { panic!("{report:?}") };
    assert_eq!((&*failure.object, failure.error.to_string()), ("Service default/s2", told.to_string()));
    assert!(failure.error.is_full(), "no reason to restart an agent");
    assert_eq!(status(&cluster, 2), Status::Error(told.into()), "where its owner looks");
    assert_eq!((status(&cluster, 0), report.retries_due), (Status::Done, 1));
    for _ in 0..3 {
        cluster.model.retry_pending();
        assert_eq!(cluster.reconcile().ops, 0, "a retry in vain writes nothing");
    }

    cluster.delete(Kind::Service, "default/s0");
    cluster.settle();
    assert_eq!(by_table_and_at_random(&mut cluster), (2, 0));
    assert_eq!(status(&cluster, 2), Status::Done);
    let actual = cluster.store.dump().unwrap();
    assert_eq!(cluster.model.verify(&actual), []);
}

#[test]
fn the_endpoints_of_a_service_change_though_there_is_no_room_for_its_next_table() {
    // The old table cannot be overwritten, and there is room for one.
    let mut cluster = cluster(options(100), Capacity { table_units: UNITS, ..CAPACITY }, 1);
    cluster.settle();
    assert_eq!(by_table_and_at_random(&mut cluster), (1, 0));
    cluster.apply(common::slice(0, 4));
    cluster.reconcile();
    assert_eq!((rows(&mut cluster)[0].pools[0].len, by_table_and_at_random(&mut cluster)), (4, (0, 1)));
    cluster.settle();
    assert_eq!(by_table_and_at_random(&mut cluster), (1, 0), "when the old one has rested");
}

#[test]
fn slots_that_are_enough_for_random_alone_are_used_so() {
    let mut cluster = cluster(options(100), Capacity { slots: 6, ..CAPACITY }, 2);
    let report = cluster.reconcile();
    assert_eq!(by_table_and_at_random(&mut cluster), (0, 2));
    assert_eq!(report.failed.len(), 2);
    assert_eq!(
        status(&cluster, 0),
        Status::Error("map pool is full at 6 entries; raise bpf.lbMapMax".into())
    );
}

#[test]
fn a_pool_of_more_backends_than_a_table_can_name_is_balanced_at_random() {
    let backends = u32::from(u16::MAX);
    let capacity = Capacity { backends: 1 << 17, slots: 1 << 18, ..CAPACITY };
    let mut cluster = cluster(options(100), capacity, 1);
    cluster.store.inner = MemoryStore::new(capacity);
    for (endpoints, want) in [(backends, (0, 1)), (300, (1, 0))] {
        cluster.apply(common::slice(0, endpoints));
        let report = cluster.reconcile();
        assert_eq!(by_table_and_at_random(&mut cluster), want);
        assert_eq!(report.failed.len(), want.1);
    }
}

/// A kernel that has no memory for arrays of tables.
struct Short<'a>(&'a mut dyn MapStore);

impl MapStore for Short<'_> {
    fn apply(&mut self, op: &Op) -> Result<(), MapError> {
        match op {
            Op::PutTable { .. } => Err(MapError::NoTable { why: "ENOMEM".into() }),
            _ => self.0.apply(op),
        }
    }
    fn dump(&mut self) -> Result<Actual, MapError> {
        self.0.dump()
    }
    fn capacity(&self) -> Capacity {
        self.0.capacity()
    }
}

#[test]
fn a_kernel_without_memory_for_tables_costs_the_tables_alone() {
    let mut cluster = cluster(options(100), CAPACITY, 2);
    let report = cluster.model.reconcile(&mut Short(&mut cluster.store));
    assert_eq!((report.failed.len(), by_table_and_at_random(&mut cluster)), (2, (0, 2)));
    let actual = cluster.store.dump().unwrap();
    assert_eq!(cluster.model.verify(&actual), []);
    cluster.settle();
    assert_eq!(by_table_and_at_random(&mut cluster), (2, 0));
    let actual = cluster.store.dump().unwrap();
    assert_eq!((cluster.model.verify(&actual), cluster.model.actual()), (vec![], actual));
}

fn of(report: &Report) -> (usize, usize) {
    (report.tables_due, report.retries_due)
}

#[test]
fn of_many_services_that_come_at_once_all_are_served_at_once_and_tables_follow_in_slices() {
    let mut cluster = cluster(options(4), CAPACITY, 10);
    for (due, by_table) in [(6, 4), (2, 8), (0, 10)] {
        assert!(cluster.model.has_work());
        let report = cluster.reconcile();
        assert_eq!((of(&report), report.failed), ((due, 0), vec![]));
        assert_eq!(by_table_and_at_random(&mut cluster), (by_table, 10 - by_table));
        let pending = (0..10).filter(|n| status(&cluster, *n) == Status::Pending).count();
        assert_eq!(pending, due);
    }
    cluster.reconcile();
    let actual = cluster.store.dump().unwrap();
    assert!(!cluster.model.has_work());
    assert_eq!((cluster.model.verify(&actual), cluster.model.actual()), (vec![], actual));
}

#[test]
fn a_change_among_many_does_not_wait_for_their_tables() {
    let mut cluster = cluster(options(4), CAPACITY, 10);
    cluster.reconcile();
    cluster.apply(common::slice(9, 1));
    cluster.reconcile();
    assert_eq!(rows(&mut cluster).iter().filter(|row| row.pools[0].len == 1).count(), 1);
    assert_eq!(status(&cluster, 9), Status::Done);
}

#[test]
fn services_with_tables_keep_their_rows_until_it_is_the_turn_of_their_next_ones() {
    let mut cluster = cluster(options(4), CAPACITY, 10);
    cluster.settle();
    for n in 0..10 {
        let Object::Slice(mut slice) = common::slice(n, 3) else { unreachable!() };
        let more = Endpoint { addresses: vec![format!("10.9.9.{n}")], ..Endpoint::default() };
        slice.endpoints.as_mut().unwrap().push(more);
        cluster.apply(Object::Slice(slice));
    }
    for new in [4, 8, 10] {
        cluster.reconcile();
        assert_eq!(by_table_and_at_random(&mut cluster), (10, 0), "at no time at random");
        assert_eq!(rows(&mut cluster).iter().filter(|row| row.pools[0].len == 4).count(), new);
    }
}

#[test]
fn a_restart_builds_no_table_and_other_settings_build_all_anew() {
    let mut cluster = cluster(options(4), CAPACITY, 10);
    cluster.settle();
    let written = cluster.store.inner.applied;
    cluster.restart();
    cluster.relist();
    assert_eq!((cluster.reconcile().ops, cluster.store.inner.applied), (0, written));

    let before = cluster.store.dump().unwrap();
    cluster.options.tables.seed[0] ^= 1;
    cluster.restart();
    cluster.relist();
    assert_eq!(of(&cluster.reconcile()), (6, 0));
    cluster.settle();
    let after = cluster.store.dump().unwrap();
    assert!(after.tables.values().all(|t| before.tables.values().all(|b| b.digest != t.digest)));
    assert_eq!((after.tables.len(), cluster.model.verify(&after)), (10, vec![]));
}
