//! The maps in memory, with the checks that a kernel and a packet would make.

use super::{Actual, BackendRow, Capacity, Family, FrontendRef, MapError, MapStore, Op, RangeRef, TableHead};
use shunt_common::maglev::{CHUNK_UNITS, TableRef};
use shunt_common::{Frontend, Pool, frontend_flag, maps};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Maps in memory: for tests, and for `--dry-run`.
///
/// With [`MemoryStore::checked`] it panics as soon as an op leaves the maps in a state in which some packet would go
/// wrong: a frontend whose pool leads to a backend without a row, or a change of a pool under a visible frontend.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    actual: Actual,
    /// All slots ever written, as an array map keeps them.
    slots: BTreeMap<u32, u32>,
    /// All tables ever written, by first element.
    tables: BTreeMap<u32, Arc<[u8]>>,
    capacity: Capacity,
    checked: bool,
    /// Ops applied.
    pub applied: usize,
}

impl MemoryStore {
    /// Empty maps of these sizes.
    #[must_use]
    pub fn new(capacity: Capacity) -> Self {
        Self {
            actual: Actual::default(),
            slots: BTreeMap::new(),
            tables: BTreeMap::new(),
            capacity,
            checked: false,
            applied: 0,
        }
    }

    /// Empty maps that panic on an unsafe order of ops.
    #[must_use]
    pub fn checked(capacity: Capacity) -> Self {
        Self { checked: true, ..Self::new(capacity) }
    }

    fn rows(&self, family: Family) -> usize {
        self.actual.frontends.keys().filter(|k| k.family() == family).count()
    }

    fn has_backend(&self, family: Family, id: u32) -> bool {
        match family {
            Family::V4 => self.actual.backends4.contains_key(&id),
            Family::V6 => self.actual.backends6.contains_key(&id),
        }
    }

    fn named(&self, row: &Frontend) -> impl Iterator<Item = u32> + use<> {
        row.pools.into_iter().flat_map(|p| p.offset..p.offset + p.len)
    }

    fn check_frontend(&self, key: &FrontendRef, row: &Frontend) {
        for slot in self.named(row) {
            let id = self.slots.get(&slot).copied().unwrap_or(0);
            assert!(
                self.has_backend(key.family(), id),
                "{key:?} names slot {slot}, whose backend {id} has no row"
            );
        }
        for pool in row.pools.iter().filter(|p| row.extent(**p) > p.len) {
            self.check_table(*pool);
        }
    }

    /// The ids again in another order, and a table whose values are all in the pool.
    fn check_table(&self, pool: Pool) {
        let words =
            |from: u32, len| (from..from + len).map(|s| self.slots.get(&s).copied()).collect::<Vec<_>>();
        let (ids, mut ordered) = (words(pool.offset, pool.len), words(pool.offset + pool.len, pool.len));
        ordered.sort_unstable();
        assert_eq!(ids, ordered, "{pool:?} has the same ids twice");
        let (table, bytes) = self.table(pool).expect("a pool's table is written before it is seen");
        let head = TableHead::of(&bytes).expect("a table has a header");
        assert_eq!(head.units as usize * 8, bytes.len(), "a table is as long as it says");
        let wide = table.is_wide();
        let values = bytes[16..].chunks(if wide { 2 } else { 1 });
        let value = |v: &[u8]| v.iter().rev().fold(0, |n, b| n << 8 | u32::from(*b));
        assert!(values.map(value).all(|v| v < pool.len), "{pool:?}: a value is beyond it");
    }

    fn table(&self, pool: Pool) -> Option<(TableRef, Arc<[u8]>)> {
        let table = TableRef(*self.slots.get(&(pool.offset + 2 * pool.len))?);
        Some((table, self.tables.get(&table.at())?.clone()))
    }

    fn put_table(&mut self, at: u32, table: &Arc<[u8]>) -> Result<(), MapError> {
        let units = (table.len() / 8) as u32;
        if at.checked_add(units).is_none_or(|end| end > self.capacity.table_units) {
            return Err(MapError::tables_full());
        }
        assert_eq!(at / CHUNK_UNITS, (at + units - 1) / CHUNK_UNITS, "a table lies in one array");
        if self.checked {
            for row in self.actual.frontends.values() {
                for pool in row.pools.iter().filter(|p| row.extent(**p) > p.len) {
                    let Some((seen, bytes)) = self.table(*pool) else { continue };
                    let end = seen.at() + (bytes.len() / 8) as u32;
                    assert!(end <= at || at + units <= seen.at(), "a table is written under {row:?}");
                }
            }
        }
        // What it overwrites is no table any more.
        self.tables.retain(|a, t| a + (t.len() / 8) as u32 <= at || *a >= at + units);
        self.tables.insert(at, table.clone());
        Ok(())
    }

    fn check_pool_unseen(&self, pool: Pool, slots: u32) {
        for (key, row) in &self.actual.frontends {
            for seen in row.pools.iter().filter(|p| p.len > 0) {
                let end = seen.offset + row.extent(*seen);
                let apart = end <= pool.offset || pool.offset + slots <= seen.offset;
                assert!(apart, "{pool:?} is written under {key:?}, which names {seen:?}");
            }
        }
    }

    fn check_backend_unseen(&self, family: Family, id: u32) {
        for (key, row) in self.actual.frontends.iter().filter(|(k, _)| k.family() == family) {
            let seen = self.named(row).any(|slot| self.slots.get(&slot) == Some(&id));
            assert!(!seen, "backend {id} is removed under {key:?}");
        }
    }

    /// Without its last range a service that limits its clients would shut out, or let in, whom it should not: ranges go
    /// only after the frontends that they count for have changed. One of several may go any time.
    fn check_range_unseen(&self, range: &RangeRef) {
        let family = Family::of(range.net.addr());
        let mut left = self.actual.ranges.iter().filter(|r| r.service == range.service && *r != range);
        if left.any(|r| Family::of(r.net.addr()) == family) {
            return;
        }
        for (key, row) in self.actual.frontends.iter().filter(|(k, _)| k.family() == family) {
            let limited = row.flags & frontend_flag::SOURCE_RANGES != 0;
            let denies = row.flags & frontend_flag::SOURCE_DENY != 0;
            assert!(
                row.service != range.service || !limited || !denies,
                "{range:?} is removed under {key:?}"
            );
        }
    }

    fn put_range(&mut self, range: RangeRef) -> Result<(), MapError> {
        assert!(
            range.service != 0 && range.net == range.net.trunc(),
            "a range has a service and a canonical net"
        );
        let family = Family::of(range.net.addr());
        let rows = self.actual.ranges.iter().filter(|r| Family::of(r.net.addr()) == family).count();
        if !self.actual.ranges.contains(&range) && rows >= self.capacity.ranges as usize {
            let map = if family == Family::V4 { maps::SOURCE_RANGES4 } else { maps::SOURCE_RANGES6 };
            let max = self.capacity.ranges;
            return Err(MapError::Full { map, max, key: "bpf.lbSourceRangeMapMax" });
        }
        self.actual.ranges.insert(range);
        Ok(())
    }

    fn full(map: &'static str, max: u32) -> MapError {
        MapError::Full { map, max, key: "bpf.lbMapMax" }
    }

    fn put_backend(&mut self, id: u32, row: BackendRow) -> Result<(), MapError> {
        assert!(id != 0 && row.state().is_some(), "a backend has an id and a state");
        match row {
            _ if id >= self.capacity.backends => {
                return Err(Self::full(maps::BACKENDS4, self.capacity.backends));
            }
            BackendRow::V4(row) => _ = self.actual.backends4.insert(id, row),
            BackendRow::V6(row) => _ = self.actual.backends6.insert(id, row),
        }
        Ok(())
    }

    fn put_pool(&mut self, pool: Pool, ids: &[u32]) -> Result<(), MapError> {
        let (len, slots) = (pool.len as usize, ids.len() as u32);
        assert!(ids.len() == len || ids.len() == 2 * len + 1, "a pool has as many ids as slots");
        assert!(ids[..len].is_sorted_by(|a, b| a < b), "a pool's ids ascend: {ids:?}");
        if pool.offset.checked_add(slots).is_none_or(|end| end > self.capacity.slots) {
            return Err(Self::full(maps::POOL, self.capacity.slots));
        }
        if self.checked {
            self.check_pool_unseen(pool, slots);
        }
        self.slots.extend((pool.offset..).zip(ids.iter().copied()));
        Ok(())
    }

    fn put_frontend(&mut self, key: FrontendRef, row: Frontend) -> Result<(), MapError> {
        assert!(row.service != 0 && row.kind != 0, "a frontend has a service and a kind");
        let new = !self.actual.frontends.contains_key(&key);
        if new && self.rows(key.family()) >= self.capacity.frontends as usize {
            let map = if key.family() == Family::V4 { maps::FRONTENDS4 } else { maps::FRONTENDS6 };
            return Err(Self::full(map, self.capacity.frontends));
        }
        if self.checked {
            self.check_frontend(&key, &row);
        }
        self.actual.frontends.insert(key, row);
        Ok(())
    }
}

impl MapStore for MemoryStore {
    fn apply(&mut self, op: &Op) -> Result<(), MapError> {
        match op {
            Op::PutBackend { id, row } => self.put_backend(*id, *row)?,
            Op::PutTable { at, table } => self.put_table(*at, table)?,
            Op::PutPool { pool, ids } => self.put_pool(*pool, ids)?,
            Op::PutFrontend { key, row } => self.put_frontend(*key, *row)?,
            Op::PutRange(range) => self.put_range(*range)?,
            Op::PutServiceCidrs(nets) => self.actual.service_cidrs.clone_from(nets),
            Op::DeleteRange(range) => {
                if self.checked {
                    self.check_range_unseen(range);
                }
                self.actual.ranges.remove(range);
            }
            Op::DeleteFrontend { key } => _ = self.actual.frontends.remove(key),
            Op::DeleteBackend { family, id } => {
                if self.checked {
                    self.check_backend_unseen(*family, *id);
                }
                match family {
                    Family::V4 => _ = self.actual.backends4.remove(id),
                    Family::V6 => _ = self.actual.backends6.remove(id),
                }
            }
        }
        self.applied += 1;
        Ok(())
    }

    fn dump(&mut self) -> Result<Actual, MapError> {
        let mut actual = self.actual.clone();
        for row in self.actual.frontends.values() {
            let slots = row.pools.into_iter().flat_map(|p| p.offset..p.offset + row.extent(p));
            actual.slots.extend(slots.filter_map(|s| Some((s, *self.slots.get(&s)?))));
            let tables = row.pools.iter().filter(|p| row.extent(**p) > p.len).filter_map(|p| self.table(*p));
            actual.tables.extend(tables.filter_map(|(t, bytes)| Some((t.at(), TableHead::of(&bytes)?))));
        }
        Ok(actual)
    }

    fn capacity(&self) -> Capacity {
        self.capacity
    }
}
