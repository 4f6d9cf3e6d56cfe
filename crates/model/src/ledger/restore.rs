//! Reading back what an earlier agent left in the maps.

use super::{Ledger, Range, Table};
use crate::store::{Actual, Family};
use shunt_common::maglev::TableRef;
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
            let held = row;
            for pool in &mut row.pools {
                let extent = held.extent(*pool);
                if pool.len > 0 && !self.restore_range(*pool, extent, key.family(), actual) {
                    *pool = Pool::default();
                    row.kind = 0;
                }
            }
            self.rows.insert(*key, row);
            self.name_row(key.family(), &row);
        }
    }

    fn restore_range(&mut self, pool: Pool, extent: u32, family: Family, actual: &Actual) -> bool {
        if let Some(range) = self.ranges.get(&pool.offset) {
            return range.len == pool.len && range.extent == extent && range.family == family;
        }
        let Some(end) = pool.offset.checked_add(extent) else { return false };
        let words: Vec<u32> = actual.slots.range(pool.offset..end).map(|(_, word)| *word).collect();
        let ids = words.iter().take(words.len().saturating_sub(usize::from(extent > pool.len)));
        let whole =
            words.len() == extent as usize && ids.clone().all(|id| self.backend(family, *id).is_some());
        let slots = Pool { offset: pool.offset, len: extent };
        if !whole || !self.space.reserve(slots) {
            return false;
        }
        let table = match words.last().filter(|_| extent > pool.len) {
            Some(word) => self.restore_table(TableRef(*word).at(), actual),
            None => Some(None),
        };
        let Some(table) = table else {
            // Nobody else can have it meanwhile; it comes back with the next batches.
            self.space.give_back(slots, self.batch);
            return false;
        };
        let (len, words_none) = (pool.len, Box::default());
        self.ranges.insert(pool.offset, Range { family, len, extent, words: words_none, table, refs: 0 });
        self.wrote_range(pool, &words);
        true
    }

    /// `None` when it makes no sense.
    fn restore_table(&mut self, at: u32, actual: &Actual) -> Option<Option<Table>> {
        let head = *actual.tables.get(&at)?;
        let units = u32::try_from(head.units).ok()?;
        self.tables.reserve(at, units).then_some(Some(Table { at, head }))
    }
}
