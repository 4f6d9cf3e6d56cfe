//! Reading back what an earlier agent left in the maps.

use super::{Ledger, Range};
use crate::store::{Actual, Family};
use shunt_common::{Frontend, Pool};

impl Ledger {
    /// Takes over rows, ids and ranges, so that they keep their values. Call once, on a new ledger.
    ///
    /// A pool that makes no sense (it overlaps another, leaves the map or names a backend without a row) is not taken
    /// over: its frontend is remembered as different from anything that could be asked for, and so is rewritten.
    pub fn restore(&mut self, actual: &Actual) {
        for (id, row) in &actual.backends4 {
            self.backends4.restore(*id, *row);
        }
        for (id, row) in &actual.backends6 {
            self.backends6.restore(*id, *row);
        }
        self.service_cidrs.clone_from(&actual.service_cidrs);
        for range in &actual.ranges {
            self.sources.insert(*range);
            self.services.ranged(range.service);
        }
        for (key, row) in &actual.frontends {
            let mut row: Frontend = *row;
            for pool in &mut row.pools {
                if pool.len > 0 && !self.restore_range(*pool, key.family(), actual) {
                    *pool = Pool::default();
                    row.kind = 0;
                }
            }
            self.rows.insert(*key, row);
            self.name_row(key.family(), &row);
        }
    }

    fn restore_range(&mut self, pool: Pool, family: Family, actual: &Actual) -> bool {
        if let Some(range) = self.ranges.get(&pool.offset) {
            return range.len == pool.len && range.family == family;
        }
        let Some(end) = pool.offset.checked_add(pool.len) else { return false };
        let ids: Vec<u32> = actual.slots.range(pool.offset..end).map(|(_, id)| *id).collect();
        let whole =
            ids.len() == pool.len as usize && ids.iter().all(|id| self.backend(family, *id).is_some());
        if !whole || !self.space.reserve(pool) {
            return false;
        }
        self.ranges.insert(pool.offset, Range { family, len: pool.len, ids: Box::default(), refs: 0 });
        self.wrote_range(pool, &ids);
        true
    }
}
