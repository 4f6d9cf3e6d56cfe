//! Which writes lead from what the maps hold to what they should hold.

use crate::ledger::{Entries, Ledger};
use crate::store::{Actual, BackendRow, Family, FrontendRef, Op, RangeRef};
use ipnet::IpNet;
use shunt_common::{Frontend, Pool};
use std::collections::BTreeMap;

/// What a map is known to hold.
pub trait Known {
    /// The row of a backend, `None` when it has no state.
    fn backend(&self, family: Family, id: u32) -> Option<BackendRow>;
    /// Whether a range of slots holds exactly these ids.
    fn holds(&self, family: Family, pool: Pool, ids: &[u32]) -> bool;
    /// The row of a frontend.
    fn frontend(&self, key: &FrontendRef) -> Option<Frontend>;
    /// The source ranges of a service port.
    fn sources(&self, service: u32, family: Family) -> Vec<IpNet>;
}

impl Known for Ledger {
    fn backend(&self, family: Family, id: u32) -> Option<BackendRow> {
        Ledger::backend(self, family, id)
    }
    fn holds(&self, family: Family, pool: Pool, ids: &[u32]) -> bool {
        self.words(family, pool) == ids
    }
    fn frontend(&self, key: &FrontendRef) -> Option<Frontend> {
        Ledger::frontend(self, key).copied()
    }
    fn sources(&self, service: u32, family: Family) -> Vec<IpNet> {
        Ledger::sources(self, service, family).collect()
    }
}

impl Known for Actual {
    fn backend(&self, family: Family, id: u32) -> Option<BackendRow> {
        match family {
            Family::V4 => self.backends4.get(&id).copied().map(BackendRow::V4),
            Family::V6 => self.backends6.get(&id).copied().map(BackendRow::V6),
        }
    }
    fn holds(&self, _: Family, pool: Pool, ids: &[u32]) -> bool {
        (pool.offset..).zip(ids).all(|(slot, id)| self.slots.get(&slot) == Some(id))
    }
    fn frontend(&self, key: &FrontendRef) -> Option<Frontend> {
        self.frontends.get(key).copied()
    }
    fn sources(&self, service: u32, family: Family) -> Vec<IpNet> {
        let of = self.ranges.iter().filter(|r| r.service == service).map(|r| r.net);
        of.filter(|net| Family::of(net.addr()) == family).collect()
    }
}

/// The writes that make `want` true, in safe order: backends, then the pools that name them and the source ranges, then
/// the frontends that make those visible. Ranges that count no more are removed by the reconciler after the last frontend
/// that they counted for. Writes nothing that is there already.
#[must_use]
pub fn diff(known: &impl Known, family: Family, want: &Entries) -> Vec<Op> {
    // By id, so that a backend that stands in both scopes is written once.
    let backends: BTreeMap<u32, BackendRow> = want.backends.iter().copied().collect();
    let backends = backends.into_iter().filter(|(id, row)| known.backend(family, *id) != Some(*row));
    let mut ops: Vec<Op> = backends.map(|(id, row)| Op::PutBackend { id, row }).collect();
    ops.extend(want.tables.iter().map(|(at, table)| Op::PutTable { at: *at, table: table.clone() }));
    let pools = want.pools.iter().filter(|(pool, ids)| !known.holds(family, *pool, ids));
    ops.extend(pools.map(|(pool, ids)| Op::PutPool { pool: *pool, ids: ids.clone() }));
    let (service, had) = (want.service, known.sources(want.service, family));
    let ranges = want.ranges.iter().filter(|net| !had.contains(net));
    ops.extend(ranges.map(|net| Op::PutRange(RangeRef { service, net: *net })));
    let frontends = want.frontends.iter().filter(|(key, row)| known.frontend(key) != Some(*row));
    ops.extend(frontends.map(|(key, row)| Op::PutFrontend { key: *key, row: *row }));
    ops
}

/// Rows of `actual` that `want` does not have, to be removed: frontends first, then the backends they led to.
#[must_use]
pub fn surplus(actual: &Actual, want: &Actual) -> Vec<Op> {
    let frontends = actual.frontends.keys().filter(|k| !want.frontends.contains_key(k));
    let mut ops: Vec<Op> = frontends.map(|key| Op::DeleteFrontend { key: *key }).collect();
    ops.extend(actual.ranges.difference(&want.ranges).map(|range| Op::DeleteRange(*range)));
    let backend = |family| move |id: &u32| Op::DeleteBackend { family, id: *id };
    let gone4 = actual.backends4.keys().filter(|id| !want.backends4.contains_key(id));
    let gone6 = actual.backends6.keys().filter(|id| !want.backends6.contains_key(id));
    ops.extend(gone4.map(backend(Family::V4)));
    ops.extend(gone6.map(backend(Family::V6)));
    ops
}
