//! The pure steps one by one: which frontends and pools a service asks for, and in which order they are written.

// A test that cannot go on should say where.
#![allow(clippy::unwrap_used)]

mod common;

use common::Object;
use shunt_common::{Frontend, FrontendKind, Pool, Proto};
use shunt_model::diff::{diff, surplus};
use shunt_model::ledger::Entries;
use shunt_model::lower::{Env, Front, Here, Wanted, lower, wanted};
use shunt_model::snapshot::{Mode, NodeState, Slice, Spec, Words, Zone};
use shunt_model::store::{Actual, Family, FrontendRef, Op};
use shunt_model::{AddressIndex, Options};

struct Read {
    spec: Spec,
    slices: Vec<Slice>,
    node: NodeState,
}

fn read(yaml: &str) -> Read {
    let mut words = Words::default();
    let (mut spec, mut slices, mut node) = (None, Vec::new(), NodeState::default());
    for object in Object::read(yaml) {
        match object {
            Object::Service(s) => spec = Spec::new(&s, "", &mut words),
            Object::Slice(s) => slices.push(Slice::new(&s, common::NODE, &mut words)),
            Object::Node(n) => node = NodeState::new(&n),
            Object::Pod(_) | Object::ServiceCidr(_) => {}
        }
    }
    Read { spec: spec.unwrap(), slices, node }
}

fn here(read: &Read) -> Here<'_> {
    Here {
        node: &read.node,
        zone: Zone::default(),
        topology: true,
        algorithm: 0,
        health_checks: [None; 2],
        mode: Mode::Snat,
    }
}

fn frontends(read: &Read, options: &Options) -> Vec<Wanted> {
    let addresses = AddressIndex::default();
    let env = Env {
        options,
        node: &read.node,
        node_ports: &read.node.primary,
        node_port_loopback: false,
        addresses: &addresses,
    };
    let (found, problems) = wanted("default/web", &read.spec, &env);
    assert_eq!(problems, []);
    found
}

const WEB: &str = include_str!("fixtures/web.yaml");

#[test]
fn the_same_objects_give_the_same_groups_one_for_each_port_and_family() {
    let read = read(WEB);
    let options = Options::new(common::NODE);
    let held = frontends(&read, &options);
    let kinds: Vec<(FrontendKind, u16)> = held.iter().map(|w| (w.kind, w.key.port())).collect();
    assert_eq!(
        kinds,
        [
            (FrontendKind::ClusterIp, 80),
            (FrontendKind::ClusterIp, 443),
            (FrontendKind::NodePort, 30080),
            (FrontendKind::NodePort, 30080),
            // The wildcard.
            (FrontendKind::ClusterIp, 0),
        ]
    );
    let groups = || lower("default/web", &read.spec, read.slices.iter(), &here(&read), &held);
    assert_eq!(groups(), groups());
    let sizes: Vec<_> =
        groups().iter().map(|g| (g.port, g.family, g.frontends.len(), g.pools[0].len())).collect();
    assert_eq!(sizes, [(0, Family::V4, 3, 2), (1, Family::V4, 2, 2)]);
}

#[test]
fn node_ports_can_be_turned_off() {
    let mut options = Options::new(common::NODE);
    options.node_port.enabled = false;
    let held = frontends(&read(WEB), &options);
    assert!(held.iter().all(|w| w.kind == FrontendKind::ClusterIp));
}

#[test]
fn a_service_that_holds_none_of_its_frontends_asks_for_nothing() {
    let read = read(WEB);
    assert_eq!(lower("default/web", &read.spec, read.slices.iter(), &here(&read), &[]), []);
}

fn entries() -> Entries {
    let read = read(WEB);
    let held = frontends(&read, &Options::new(common::NODE));
    let groups = lower("default/web", &read.spec, read.slices.iter(), &here(&read), &held);
    let backends: Vec<_> = (1..).zip(groups[0].pools[0].iter().map(|t| t.0)).collect();
    let pool = Pool { offset: 0, len: 2 };
    let row = |f: &Front| (f.key, Frontend { service: 1, pools: [pool; 2], ..f.row });
    Entries {
        service: 1,
        ranges: vec!["10.0.0.0/8".parse().unwrap()],
        backends,
        pools: vec![(pool, vec![1, 2])],
        tables: Vec::new(),
        no_table: None,
        table_due: false,
        frontends: groups[0].frontends.iter().map(row).collect(),
        kept: Vec::new(),
    }
}

#[test]
fn writes_come_in_the_order_backends_pool_source_ranges_frontends() {
    let ops = diff(&Actual::default(), Family::V4, &entries());
    let step = |op: &Op| match op {
        Op::PutBackend { .. } => 0,
        Op::PutTable { .. } | Op::PutPool { .. } => 1,
        Op::PutRange(_) => 2,
        Op::PutFrontend { .. } => 3,
        Op::PutServiceCidrs(_) => panic!("they are no service's"),
        Op::DeleteFrontend { .. } | Op::DeleteRange(_) | Op::DeleteBackend { .. } => {
            panic!("nothing is there to be removed")
        }
    };
    let steps: Vec<i32> = ops.iter().map(step).collect();
    assert_eq!(steps, [0, 0, 1, 2, 3, 3, 3]);
}

#[test]
fn what_is_there_already_is_not_written_and_what_is_too_much_goes_frontends_first() {
    let want = entries();
    let mut actual = Actual::default();
    for op in diff(&actual, Family::V4, &want) {
        match op {
            Op::PutBackend { id, row: shunt_model::store::BackendRow::V4(row) } => {
                actual.backends4.insert(id, row);
            }
            Op::PutPool { pool, ids } => actual.slots.extend((pool.offset..).zip(ids)),
            Op::PutRange(range) => _ = actual.ranges.insert(range),
            Op::PutFrontend { key, row } => {
                actual.frontends.insert(key, row);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(diff(&actual, Family::V4, &want), []);

    let key = FrontendRef::new("10.96.0.10".parse().unwrap(), 80, Proto::Tcp);
    let mut less = actual.clone();
    less.frontends.remove(&key);
    less.backends4.remove(&2);
    less.ranges.clear();
    let range = *actual.ranges.first().unwrap();
    let ops = surplus(&actual, &less);
    assert_eq!(
        ops,
        [Op::DeleteFrontend { key }, Op::DeleteRange(range), Op::DeleteBackend { family: Family::V4, id: 2 }]
    );
}
