//! The model's map store on the real maps.

use crate::mapped::{Arrays, Mapped};
use crate::{Error, Table, maps as specs};
use shunt_common::maglev::{CHUNK_UNITS, TableRef};
use shunt_common::maps::{
    BACKENDS4, BACKENDS6, FRONTENDS4, FRONTENDS6, MAGLEV, POOL, POOL_LANES, SERVICE_CIDRS, SOURCE_RANGES4,
};
use shunt_common::{Backend, Frontend, FrontendKey, Ip4, Ip6, Pool, Scope};
use shunt_model::store::{Actual, BackendRow, Capacity, Family, FrontendRef, MapError, MapStore, Op};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

mod cidrs;
pub(crate) mod ranges;
pub(crate) mod rows;
pub(crate) mod tables;

use cidrs::Cidrs;
use ranges::Ranges;
use rows::Row;
use tables::Tables;

/// Frontends by system call, backends and pools through memory.
#[derive(Debug)]
pub struct KernelStore {
    frontends4: Table<FrontendKey<Ip4>, Frontend>,
    frontends6: Table<FrontendKey<Ip6>, Frontend>,
    ranges: Ranges,
    cidrs: Cidrs,
    tables: Tables,
    arrays: Arrays,
}

impl KernelStore {
    /// On the frontends that `map` gives by name.
    pub(crate) fn new(
        map: impl Fn(&'static str) -> Result<OwnedFd, Error>,
        arrays: Arrays,
    ) -> Result<Self, Error> {
        Ok(Self {
            frontends4: Table::new(map(FRONTENDS4)?, FRONTENDS4)?,
            frontends6: Table::new(map(FRONTENDS6)?, FRONTENDS6)?,
            cidrs: Cidrs::new(&map)?,
            tables: Tables::new(&map)?,
            ranges: Ranges::new(map)?,
            arrays,
        })
    }

    fn put_backend(&self, id: u32, row: &BackendRow) -> Result<(), MapError> {
        match row {
            BackendRow::V4(row) => rows::write(&self.arrays.backends4, BACKENDS4, id, &row.words()),
            BackendRow::V6(row) => rows::write(&self.arrays.backends6, BACKENDS6, id, &row.words()),
        }
    }

    fn delete_backend(&self, family: Family, id: u32) -> Result<(), MapError> {
        match family {
            Family::V4 => rows::write(&self.arrays.backends4, BACKENDS4, id, &Backend::<Ip4>::ZERO.words()),
            Family::V6 => rows::write(&self.arrays.backends6, BACKENDS6, id, &Backend::<Ip6>::ZERO.words()),
        }
    }

    fn put_frontend(&self, key: &FrontendRef, row: &Frontend) -> Result<(), MapError> {
        let (written, map, max) = match key {
            FrontendRef::V4(key) => {
                (self.frontends4.set(key, row), FRONTENDS4, self.frontends4.max_entries())
            }
            FrontendRef::V6(key) => {
                (self.frontends6.set(key, row), FRONTENDS6, self.frontends6.max_entries())
            }
        };
        written.map_err(|e| match e.raw_os_error() {
            Some(libc::E2BIG) => MapError::Full { map, max, key: specs::LB_MAP_MAX },
            _ => kernel(map, "writing a frontend")(e),
        })
    }

    fn delete_frontend(&self, key: &FrontendRef) -> Result<(), MapError> {
        let (removed, map) = match key {
            FrontendRef::V4(key) => (self.frontends4.remove(key), FRONTENDS4),
            FrontendRef::V6(key) => (self.frontends6.remove(key), FRONTENDS6),
        };
        removed.map(|_| ()).map_err(kernel(map, "removing a frontend"))
    }

    /// The slots and tables that a frontend's pools name.
    fn named(&mut self, row: &Frontend, actual: &mut Actual) -> Result<(), MapError> {
        self.slots(row, &mut actual.slots)?;
        for pool in row.pools.iter().filter(|p| row.extent(**p) > p.len) {
            let Some(word) = actual.slots.get(&pool.offset.saturating_add(2 * pool.len)) else { continue };
            let table = TableRef(*word);
            if let Some(head) = self.tables.head(table).map_err(kernel(MAGLEV, "reading"))? {
                actual.tables.insert(table.at(), head);
            }
        }
        Ok(())
    }

    /// The slots that a frontend's pools name.
    fn slots(&self, row: &Frontend, slots: &mut BTreeMap<u32, u32>) -> Result<(), MapError> {
        for pool in [row.pool(Scope::External), row.pool(Scope::Internal)] {
            for slot in pool.offset..pool.offset.saturating_add(row.extent(pool)) {
                if let Some(word) =
                    self.arrays.pool.word(slot).map_err(kernel(POOL, "mapping into memory"))?
                {
                    slots.insert(slot, word.load(Ordering::Acquire));
                }
            }
        }
        Ok(())
    }
}

fn put_pool(slots: &Mapped, pool: Pool, ids: &[u32]) -> Result<(), MapError> {
    let full = || MapError::Full { map: POOL, max: slots.words() as u32, key: specs::LB_MAP_MAX };
    let len = pool.len as usize;
    if ids.len() != len && ids.len() != 2 * len + 1 {
        return Err(full());
    }
    for (slot, id) in (pool.offset..).zip(ids) {
        // A slot that is left out would lead to whatever backend it named before.
        let word = slots.word(slot).map_err(kernel(POOL, "mapping into memory"))?.ok_or_else(full)?;
        word.store(*id, Ordering::Release);
    }
    Ok(())
}

fn kernel(map: &'static str, what: &'static str) -> impl FnOnce(io::Error) -> MapError {
    move |e| MapError::Kernel { map, what, error: e.to_string() }
}

impl MapStore for KernelStore {
    fn apply(&mut self, op: &Op) -> Result<(), MapError> {
        match op {
            Op::PutBackend { id, row } => self.put_backend(*id, row),
            Op::PutTable { at, table } => self.tables.put(*at, table),
            Op::PutPool { pool, ids } => put_pool(&self.arrays.pool, *pool, ids),
            Op::PutFrontend { key, row } => self.put_frontend(key, row),
            Op::PutRange(range) => self.ranges.put(range),
            Op::PutServiceCidrs(nets) => self.cidrs.put(nets),
            Op::DeleteRange(range) => self.ranges.delete(range),
            Op::DeleteFrontend { key } => self.delete_frontend(key),
            Op::DeleteBackend { family, id } => self.delete_backend(*family, *id),
        }
    }

    fn dump(&mut self) -> Result<Actual, MapError> {
        let mut actual = Actual {
            backends4: rows::all(&self.arrays.backends4).map_err(kernel(BACKENDS4, "reading"))?.collect(),
            backends6: rows::all(&self.arrays.backends6).map_err(kernel(BACKENDS6, "reading"))?.collect(),
            service_cidrs: self.cidrs.all().map_err(kernel(SERVICE_CIDRS, "reading"))?,
            ..Actual::default()
        };
        actual.ranges.extend(self.ranges.all().map_err(kernel(SOURCE_RANGES4, "reading"))?);
        for (key, row) in self.frontends4.entries().map_err(kernel(FRONTENDS4, "reading"))? {
            self.named(&row, &mut actual)?;
            actual.frontends.insert(FrontendRef::V4(key), row);
        }
        for (key, row) in self.frontends6.entries().map_err(kernel(FRONTENDS6, "reading"))? {
            self.named(&row, &mut actual)?;
            actual.frontends.insert(FrontendRef::V6(key), row);
        }
        Ok(actual)
    }

    fn capacity(&self) -> Capacity {
        Capacity {
            backends: self.arrays.backends4.elements().min(self.arrays.backends6.elements()),
            slots: self.arrays.pool.elements() * POOL_LANES as u32,
            frontends: self.frontends4.max_entries().min(self.frontends6.max_entries()),
            ranges: self.ranges.max_entries(),
            table_units: self.tables.max().saturating_mul(CHUNK_UNITS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapped::tests::without_room;

    #[test]
    fn what_cannot_be_mapped_for_writing_is_the_kernels_error_and_never_skipped() {
        let refused = |written: Result<(), MapError>, map| {
            let error = written.unwrap_err();
            assert!(matches!(&error, MapError::Kernel { map: m, .. } if *m == map), "{error}");
            assert!(error.to_string().contains("os error"), "{error}");
        };
        refused(put_pool(&without_room(2), Pool { offset: 7, len: 2 }, &[1, 2]), POOL);
        refused(rows::write(&without_room(4), BACKENDS4, 1, &Backend::<Ip4>::ZERO.words()), BACKENDS4);
    }

    #[test]
    fn a_range_past_the_end_has_no_room() {
        let slots = without_room(2);
        let end = Pool { offset: slots.words() as u32, len: 1 };
        assert!(matches!(put_pool(&slots, end, &[1]), Err(MapError::Full { map: POOL, .. })));
    }
}
