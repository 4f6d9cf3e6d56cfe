//! The ledger: what the maps hold as far as we know, and every id and slot that is given out.
//!
//! It changes only by [`Ledger::commit`], once for each op that the store has applied, so it is never ahead of the
//! maps. What may be freed follows from who names it: rows name service ids and ranges, ranges name backends.

mod backends;
mod held;
mod ids;
mod place;
mod quarantine;
mod restore;
mod service_ids;
mod space;
mod tables;
mod usage;

pub use backends::Backends;
pub use ids::Ids;
pub use place::{Entries, PlaceError};
pub use quarantine::{Batch, Quarantine};
pub use service_ids::ServiceIds;
pub use space::Space;
pub use tables::{Builds, Table, TableSpace};
pub use usage::Usage;

use crate::maglev;
use crate::store::{Actual, BackendRow, Capacity, Family, FrontendRef, Op, RangeRef};
use ipnet::IpNet;
use shunt_common::{Frontend, Ip4, Ip6, Pool};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A written range of pool slots.
#[derive(Debug)]
struct Range {
    family: Family,
    /// Backends.
    len: u32,
    /// All its slots, which with a table are more than `len`.
    extent: u32,
    /// What the slots hold, backend ids first; none while the range is taken but not written.
    words: Box<[u32]>,
    /// Its Maglev table.
    table: Option<Table>,
    /// Pools in rows that name the range, and who holds it while rows are switched.
    refs: u32,
}

impl Range {
    /// The backend ids, ascending.
    fn ids(&self) -> &[u32] {
        self.words.get(..self.len as usize).unwrap_or_default()
    }
}

/// Remembered actual state and the allocators.
#[derive(Debug)]
pub struct Ledger {
    /// A tree: with tens of thousands of rows a hash map is mostly spare room.
    rows: BTreeMap<FrontendRef, Frontend>,
    /// By offset.
    ranges: HashMap<u32, Range>,
    /// Backends that a service port keeps beside its pools, by service id and family; no entry for none.
    kept: HashMap<(u32, Family), Box<[u32]>>,
    /// Source ranges.
    sources: BTreeSet<RangeRef>,
    service_cidrs: BTreeSet<IpNet>,
    space: Space,
    maglev: maglev::Settings,
    tables: TableSpace,
    builds: Builds,
    backends4: Backends<Ip4>,
    backends6: Backends<Ip6>,
    services: ServiceIds,
    capacity: Capacity,
    batch: Batch,
    /// The coarse clock.
    second: u64,
}

impl Ledger {
    /// Of empty maps.
    #[must_use]
    pub fn new(capacity: Capacity) -> Self {
        Self {
            rows: BTreeMap::new(),
            ranges: HashMap::new(),
            kept: HashMap::new(),
            sources: BTreeSet::new(),
            service_cidrs: BTreeSet::new(),
            space: Space::new(capacity.slots),
            maglev: maglev::Settings::default(),
            tables: TableSpace::new(capacity.table_units),
            builds: Builds::new(0),
            backends4: Backends::new(capacity.backends),
            backends6: Backends::new(capacity.backends),
            services: ServiceIds::default(),
            capacity,
            batch: Batch { number: 1, second: 0 },
            second: 0,
        }
    }

    /// With tables of these settings, of which about so many values are built in a batch.
    #[must_use]
    pub fn with_maglev(mut self, settings: maglev::Settings, in_a_batch: u32) -> Self {
        self.maglev = settings;
        self.builds = Builds::new(in_a_batch);
        self
    }

    /// Tells the time, in seconds since any moment.
    pub fn tick(&mut self, second: u64) {
        self.second = self.second.max(second);
    }

    /// Begins a batch: what was freed two batches and a second ago may be used again.
    pub fn begin(&mut self) {
        self.batch = Batch { number: self.batch.number + 1, second: self.second };
        self.space.begin(self.batch);
        self.tables.begin(self.batch);
        self.builds.begin();
        self.backends4.begin(self.batch);
        self.backends6.begin(self.batch);
        self.services.begin(self.batch);
    }

    /// The ServiceCIDRs.
    #[must_use]
    pub const fn service_cidrs(&self) -> &BTreeSet<IpNet> {
        &self.service_cidrs
    }

    /// The row of a frontend.
    #[must_use]
    pub fn frontend(&self, key: &FrontendRef) -> Option<&Frontend> {
        self.rows.get(key)
    }

    /// How many rows of a family a service port has that lead to backends.
    #[must_use]
    pub fn leading_rows(&self, service: u32, family: Family) -> u32 {
        self.services.leading(service, family)
    }

    /// All rows, by key.
    pub fn frontends(&self) -> impl Iterator<Item = (&FrontendRef, &Frontend)> {
        self.rows.iter()
    }

    /// The row of a backend.
    #[must_use]
    pub fn backend(&self, family: Family, id: u32) -> Option<BackendRow> {
        match family {
            Family::V4 => self.backends4.row(id).copied().map(BackendRow::V4),
            Family::V6 => self.backends6.row(id).copied().map(BackendRow::V6),
        }
    }

    /// The backend ids in a range, empty for an empty or unknown pool.
    #[must_use]
    pub fn pool(&self, family: Family, pool: Pool) -> &[u32] {
        match self.ranges.get(&pool.offset) {
            Some(range) if range.family == family && range.len == pool.len => range.ids(),
            _ => &[],
        }
    }

    /// All that a range's slots hold, as [`Self::pool`].
    #[must_use]
    pub fn words(&self, family: Family, pool: Pool) -> &[u32] {
        match self.ranges.get(&pool.offset) {
            Some(range) if range.family == family && range.len == pool.len => &range.words,
            _ => &[],
        }
    }

    /// All written ranges with what their slots hold.
    pub fn ranges(&self) -> impl Iterator<Item = (Pool, &[u32])> {
        let written = self.ranges.iter().filter(|(_, r)| !r.words.is_empty());
        written.map(|(offset, r)| (Pool { offset: *offset, len: r.len }, &*r.words))
    }

    /// Notes that the store has applied an op.
    pub fn commit(&mut self, op: &Op) {
        match op {
            Op::PutBackend { id, row: BackendRow::V4(row) } => self.backends4.wrote(*id, *row),
            Op::PutBackend { id, row: BackendRow::V6(row) } => self.backends6.wrote(*id, *row),
            // Its range accounts for it.
            Op::PutTable { .. } => {}
            Op::PutPool { pool, ids } => self.wrote_range(*pool, ids),
            Op::PutFrontend { key, row } => {
                // Names the new before it lets go of the old: what both name is never free in between.
                self.name_row(key.family(), row);
                if let Some(old) = self.rows.insert(*key, *row) {
                    self.unname_row(key.family(), &old);
                }
            }
            Op::PutServiceCidrs(nets) => self.service_cidrs.clone_from(nets),
            Op::PutRange(range) => {
                if self.sources.insert(*range) {
                    // An id rests only when its ranges are gone too.
                    self.services.ranged(range.service);
                }
            }
            Op::DeleteRange(range) => {
                if self.sources.remove(range) {
                    self.services.unranged(range.service, self.batch);
                }
            }
            Op::DeleteFrontend { key } => {
                if let Some(old) = self.rows.remove(key) {
                    self.unname_row(key.family(), &old);
                }
            }
            Op::DeleteBackend { family: Family::V4, id } => self.backends4.forget(*id, self.batch),
            Op::DeleteBackend { family: Family::V6, id } => self.backends6.forget(*id, self.batch),
        }
    }

    /// Gives back a range that [`Self::place`] held; it is free when no row came to name it.
    pub fn release(&mut self, pool: Pool) {
        let Some(range) = self.range_mut(pool) else { return };
        range.refs = range.refs.saturating_sub(1);
        if range.refs == 0 {
            self.drop_range(pool.offset);
        }
    }

    /// The next removal of a backend that nothing has named since before this batch. Ids that were never written
    /// are freed on the way.
    pub fn removals(&mut self) -> Vec<Op> {
        let mut ops = Vec::new();
        for id in self.backends4.idle_before(self.batch) {
            match self.backends4.row(id) {
                Some(_) => ops.push(Op::DeleteBackend { family: Family::V4, id }),
                None => self.backends4.forget(id, self.batch),
            }
        }
        for id in self.backends6.idle_before(self.batch) {
            match self.backends6.row(id) {
                Some(_) => ops.push(Op::DeleteBackend { family: Family::V6, id }),
                None => self.backends6.forget(id, self.batch),
            }
        }
        ops
    }

    /// How many backends wait for the next batch to be removed.
    #[must_use]
    pub fn idle_backends(&self) -> usize {
        self.backends4.idle() + self.backends6.idle()
    }

    /// The service ids.
    pub fn services(&mut self) -> &mut ServiceIds {
        &mut self.services
    }

    /// Whether one more group may have new tables in this batch.
    #[must_use]
    pub const fn may_build(&self) -> bool {
        self.builds.may_begin()
    }

    /// The current batch.
    #[must_use]
    pub fn batch(&self) -> Batch {
        self.batch
    }

    /// What the maps hold, as [`crate::MapStore::dump`] would say it.
    #[must_use]
    pub fn actual(&self) -> Actual {
        let mut slots = std::collections::BTreeMap::new();
        for (offset, range) in &self.ranges {
            slots.extend((*offset..).zip(range.words.iter().copied()));
        }
        Actual {
            frontends: self.rows.iter().map(|(k, r)| (*k, *r)).collect(),
            backends4: self.backends4.rows().map(|(id, r)| (id, *r)).collect(),
            backends6: self.backends6.rows().map(|(id, r)| (id, *r)).collect(),
            slots,
            tables: self.table_heads(),
            ranges: self.sources.clone(),
            service_cidrs: self.service_cidrs.clone(),
        }
    }

    fn wrote_range(&mut self, pool: Pool, words: &[u32]) {
        let Some(range) = self.ranges.get_mut(&pool.offset) else { return };
        let family = range.family;
        let (len, old) = (range.len as usize, std::mem::replace(&mut range.words, words.into()));
        for id in words.get(..len).unwrap_or_default() {
            self.name_backend(family, *id);
        }
        self.unname_backends(family, old.get(..len).unwrap_or_default());
    }

    fn drop_range(&mut self, offset: u32) {
        let Some(range) = self.ranges.remove(&offset) else { return };
        self.space.give_back(Pool { offset, len: range.extent }, self.batch);
        if let Some(table) = range.table {
            self.tables.give_back(table, self.batch);
        }
        self.unname_backends(range.family, range.ids());
    }

    fn name_backend(&mut self, family: Family, id: u32) {
        match family {
            Family::V4 => self.backends4.named(id),
            Family::V6 => self.backends6.named(id),
        }
    }

    fn unname_backends(&mut self, family: Family, ids: &[u32]) {
        for id in ids {
            match family {
                Family::V4 => self.backends4.unnamed(*id, self.batch),
                Family::V6 => self.backends6.unnamed(*id, self.batch),
            }
        }
    }

    fn range_mut(&mut self, pool: Pool) -> Option<&mut Range> {
        self.ranges.get_mut(&pool.offset).filter(|r| r.len == pool.len)
    }

    fn name_row(&mut self, family: Family, row: &Frontend) {
        self.services.named(family, row);
        for pool in row.pools.iter().filter(|p| p.len > 0) {
            if let Some(range) = self.range_mut(*pool) {
                range.refs += 1;
            }
        }
    }

    fn unname_row(&mut self, family: Family, row: &Frontend) {
        self.services.unnamed(family, row, self.batch);
        for pool in row.pools.iter().filter(|p| p.len > 0) {
            self.release(*pool);
        }
    }
}
