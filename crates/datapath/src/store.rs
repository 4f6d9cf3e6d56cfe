//! The model's map store on the real maps.

use crate::mapped::Arrays;
use crate::{Error, Table, maps as specs};
use shunt_common::maps::{BACKENDS4, BACKENDS6, FRONTENDS4, FRONTENDS6, POOL, POOL_LANES, SOURCE_RANGES4};
use shunt_common::{Backend, Frontend, FrontendKey, Ip4, Ip6, Pool, Scope};
use shunt_model::store::{Actual, BackendRow, Capacity, Family, FrontendRef, MapError, MapStore, Op};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

pub(crate) mod ranges;
pub(crate) mod rows;

use ranges::Ranges;
use rows::Row;

/// Frontends by system call, backends and pools through memory.
#[derive(Debug)]
pub struct KernelStore {
    frontends4: Table<FrontendKey<Ip4>, Frontend>,
    frontends6: Table<FrontendKey<Ip6>, Frontend>,
    ranges: Ranges,
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

    fn put_pool(&self, pool: Pool, ids: &[u32]) -> Result<(), MapError> {
        let end = pool.offset as usize + ids.len();
        if end > self.arrays.pool.words() || ids.len() != pool.len as usize {
            return Err(MapError::Full {
                map: POOL,
                max: self.arrays.pool.words() as u32,
                key: specs::LB_MAP_MAX,
            });
        }
        for (slot, id) in (pool.offset..).zip(ids) {
            if let Some(word) = self.arrays.pool.word(slot) {
                word.store(*id, Ordering::Release);
            }
        }
        Ok(())
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

    /// The slots that a frontend's pools name.
    fn slots(&self, row: &Frontend, slots: &mut std::collections::BTreeMap<u32, u32>) {
        for pool in [row.pool(Scope::External), row.pool(Scope::Internal)] {
            for slot in pool.offset..pool.offset.saturating_add(pool.len) {
                if let Some(word) = self.arrays.pool.word(slot) {
                    slots.insert(slot, word.load(Ordering::Acquire));
                }
            }
        }
    }
}

fn kernel(map: &'static str, what: &'static str) -> impl FnOnce(io::Error) -> MapError {
    move |e| MapError::Kernel { map, what, error: e.to_string() }
}

impl MapStore for KernelStore {
    fn apply(&mut self, op: &Op) -> Result<(), MapError> {
        match op {
            Op::PutBackend { id, row } => self.put_backend(*id, row),
            Op::PutPool { pool, ids } => self.put_pool(*pool, ids),
            Op::PutFrontend { key, row } => self.put_frontend(key, row),
            Op::PutRange(range) => self.ranges.put(range),
            Op::DeleteRange(range) => self.ranges.delete(range),
            Op::DeleteFrontend { key } => self.delete_frontend(key),
            Op::DeleteBackend { family, id } => self.delete_backend(*family, *id),
        }
    }

    fn dump(&mut self) -> Result<Actual, MapError> {
        let mut actual = Actual {
            backends4: rows::all(&self.arrays.backends4).collect(),
            backends6: rows::all(&self.arrays.backends6).collect(),
            ..Actual::default()
        };
        actual.ranges.extend(self.ranges.all().map_err(kernel(SOURCE_RANGES4, "reading"))?);
        for (key, row) in self.frontends4.entries().map_err(kernel(FRONTENDS4, "reading"))? {
            self.slots(&row, &mut actual.slots);
            actual.frontends.insert(FrontendRef::V4(key), row);
        }
        for (key, row) in self.frontends6.entries().map_err(kernel(FRONTENDS6, "reading"))? {
            self.slots(&row, &mut actual.slots);
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
        }
    }
}
