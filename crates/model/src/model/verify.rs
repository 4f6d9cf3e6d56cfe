//! Comparing what we remember with what the maps really hold.

use super::Model;
use crate::diff::surplus;
use crate::store::{Actual, BackendRow, Op};

impl Model {
    /// The ops that bring the maps from a fresh dump back to what we have written: for the slow timer and after errors.
    ///
    /// Costs as much as the maps are full. Empty when nothing else has written to the maps. Pools are repaired in
    /// place, since their frontends name them already. Nothing is removed before every kind has been listed.
    #[must_use]
    pub fn verify(&self, actual: &Actual) -> Vec<Op> {
        let want = self.ledger.actual();
        let mut ops = Vec::new();
        let put4 = want.backends4.iter().filter(|(id, row)| actual.backends4.get(id) != Some(row));
        ops.extend(put4.map(|(id, row)| Op::PutBackend { id: *id, row: BackendRow::V4(*row) }));
        let put6 = want.backends6.iter().filter(|(id, row)| actual.backends6.get(id) != Some(row));
        ops.extend(put6.map(|(id, row)| Op::PutBackend { id: *id, row: BackendRow::V6(*row) }));
        ops.extend(self.ledger.ranges().filter_map(|(pool, ids)| {
            // A frontend that is missing hides its slots from the dump: then they are written again too.
            let same = (pool.offset..).zip(ids).all(|(slot, id)| actual.slots.get(&slot) == Some(id));
            (!same).then(|| Op::PutPool { pool, ids: ids.to_vec() })
        }));
        ops.extend(want.ranges.difference(&actual.ranges).map(|range| Op::PutRange(*range)));
        if want.service_cidrs != actual.service_cidrs {
            ops.push(Op::PutServiceCidrs(want.service_cidrs.clone()));
        }
        let rows = want
            .frontends
            .iter()
            .filter(|(key, row)| row.kind != 0 && actual.frontends.get(key) != Some(row));
        ops.extend(rows.map(|(key, row)| Op::PutFrontend { key: *key, row: *row }));
        if self.is_synced() {
            ops.extend(surplus(actual, &want));
        }
        ops
    }
}
