//! The size that the agent's budget allows the model: one test, so that nothing else in the process counts.

// A test that cannot go on should say where.
#![allow(clippy::unwrap_used)]

mod common;

use common::Object;
use shunt_model::objects::Kind;
use shunt_model::store::{Actual, Capacity, MapError, Op};
use shunt_model::{MapStore, Model, Options};
use std::time::Instant;

/// Maps that forget: only the model's own memory is measured.
struct Void(usize);

impl MapStore for Void {
    fn apply(&mut self, _: &Op) -> Result<(), MapError> {
        self.0 += 1;
        Ok(())
    }
    fn dump(&mut self) -> Result<Actual, MapError> {
        Ok(Actual::default())
    }
    fn capacity(&self) -> Capacity {
        Capacity { backends: 1 << 17, slots: 1 << 19, frontends: 1 << 16, ranges: 64, table_units: 1 << 21 }
    }
}

/// Resident memory of this process in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn ten_thousand_services_with_ten_endpoints_each_fit_in_24_mib() {
    let (services, endpoints) = (10_000, 10);
    let before = resident();
    let start = Instant::now();
    let mut store = Void(0);
    let mut model = Model::new(Options::new(common::NODE), store.capacity());
    for kind in [Kind::Service, Kind::EndpointSlice] {
        model.begin_replace(kind);
        for n in 0..services {
            match (kind, common::service(n), common::slice(n, endpoints)) {
                (Kind::Service, Object::Service(s), _) => model.apply_service(&s),
                (_, _, Object::Slice(s)) => model.apply_slice(&s),
                _ => unreachable!(),
            }
        }
        model.end_replace(kind);
    }
    model.replace_nodes([]);
    let listed = start.elapsed();
    let report = model.reconcile(&mut store);
    let all = start.elapsed();
    let used = resident() - before;
    assert_eq!(report.failed, []);
    // A backend for each endpoint; a pool, a row and its address's wildcard for each service.
    assert_eq!(report.ops, 100_000 + 3 * 10_000);

    let Object::Slice(mut slice) = common::slice(77, endpoints) else { unreachable!() };
    slice.endpoints.as_mut().unwrap().pop();
    let start = Instant::now();
    model.apply_slice(&slice);
    let report = model.reconcile(&mut store);
    let change = start.elapsed();
    assert_eq!((report.services, report.ops), (1, 2));
    println!("{used} KiB; listed after {listed:?}, reconciled after {all:?}, one change {change:?}");
    assert!(used < 24 * 1024, "{used} KiB");
}
