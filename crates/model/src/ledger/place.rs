//! From desired entries without numbers to entries with ids and slots.

use super::tables::{Table, words};
use super::{Ledger, Range};
use crate::lower::{Group, REACHES, Target};
use crate::maglev::{Member, Settings};
use crate::store::TableHead;
use crate::store::{BackendRow, Family, FrontendRef, MapError};
use ipnet::IpNet;
use shunt_common::{Frontend, Pool, frontend_flag, maps};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The entries that one group asks for, in the order in which they may be written.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Entries {
    /// Service id.
    pub service: u32,
    /// Source ranges of the service port in this family.
    pub ranges: Vec<IpNet>,
    /// Backends by id.
    pub backends: Vec<(u32, BackendRow)>,
    /// Ranges and their ids, which ascend: the programs look for one by halving.
    pub pools: Vec<(Pool, Vec<u32>)>,
    /// Maglev tables of ranges that are new, by first element.
    pub tables: Vec<(u32, Arc<[u8]>)>,
    /// Why the group is served at random though it asks for Maglev.
    pub no_table: Option<MapError>,
    /// The group is served at random until a later batch has built its table.
    pub table_due: bool,
    /// Frontends.
    pub frontends: Vec<(FrontendRef, Frontend)>,
    /// Ids of the backends that no pool names.
    pub kept: Vec<u32>,
}

/// Why a group gets no ids and ranges.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PlaceError {
    /// No id or range is left. What it had taken so far is given back.
    Map(MapError),
    /// Enough tables have been built in this batch, and the group's rows have tables that serve until the next.
    Later,
}

impl From<MapError> for PlaceError {
    fn from(error: MapError) -> Self {
        Self::Map(error)
    }
}

/// How a group's pools are to be balanced.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Chance,
    /// By tables, which may be new or must be there.
    Table {
        new: bool,
    },
}

impl Ledger {
    /// Gives ids and ranges to a group: those it has already where they still fit, else new ones. Each range is held, so
    /// that it stays while the group's rows are switched one by one; give each back by [`Self::release`] after that.
    ///
    /// A group that asks for Maglev and can have no table is placed at random, which is better than nothing: for good, when
    /// there is no room ([`Entries::no_table`]), or until a later batch builds it ([`Entries::table_due`]).
    ///
    /// # Errors
    /// [`PlaceError`] when the maps have no room, or the group has tables and must wait for new ones; nothing stays taken.
    pub fn place(&mut self, service: u32, group: &Group) -> Result<Entries, PlaceError> {
        if !group.wants_maglev() {
            return self.place_by(service, group, By::Chance);
        }
        let served = || group.frontends.iter().filter_map(|front| self.frontend(&front.key));
        let has_table = served().any(|row| row.flags & frontend_flag::MAGLEV != 0);
        match self.place_by(service, group, By::Table { new: self.builds.may_begin() }) {
            Err(PlaceError::Later) if has_table => Err(PlaceError::Later),
            Err(PlaceError::Later) => {
                let entries = self.place_by(service, group, By::Chance)?;
                Ok(Entries { table_due: true, ..entries })
            }
            Err(PlaceError::Map(why)) if why.is_full() => Ok(self.place_at_random(service, group, why)?),
            placed => placed,
        }
    }

    /// Places a group that asks for Maglev without a table.
    ///
    /// # Errors
    /// [`MapError::Full`] when the maps have no room; nothing stays taken.
    pub fn place_at_random(
        &mut self,
        service: u32,
        group: &Group,
        why: MapError,
    ) -> Result<Entries, MapError> {
        match self.place_by(service, group, By::Chance) {
            Ok(entries) => Ok(Entries { no_table: Some(why), ..entries }),
            Err(PlaceError::Map(error)) => Err(error),
            Err(PlaceError::Later) => Err(why),
        }
    }

    fn place_by(&mut self, service: u32, group: &Group, by: By) -> Result<Entries, PlaceError> {
        let mut entries = Entries { service, ranges: group.ranges.clone(), ..Entries::default() };
        let pools = match self.place_pools(group, &mut entries, by) {
            Ok(pools) => pools,
            Err(error) => {
                entries.pools.iter().for_each(|(pool, _)| self.release(*pool));
                return Err(error);
            }
        };
        for front in &group.frontends {
            let pools = front.reach.map(|scopes| scopes.map(|reach| pools[reach as usize]));
            let mut row = Frontend { service, pools: pools.unwrap_or_default(), ..front.row };
            match by {
                By::Chance => row.algorithm = 0,
                By::Table { .. } if front.reach.is_some() => row.flags |= frontend_flag::MAGLEV,
                By::Table { .. } => {}
            }
            entries.frontends.push((front.key, row));
        }
        Ok(entries)
    }

    fn place_pools(
        &mut self,
        group: &Group,
        entries: &mut Entries,
        by: By,
    ) -> Result<[Pool; REACHES], PlaceError> {
        let mut pools = [Pool::default(); REACHES];
        for (reach, targets) in group.pools.iter().enumerate() {
            let mut ids = self.assign_all(targets, entries)?;
            if ids.is_empty() && group.keep_last {
                ids = self.last_known(group, reach);
            }
            pools[reach] = self.place_pool(group, ids, entries, by)?;
        }
        for target in &group.others {
            // No reason not to serve: in a map that is full only those are kept that have a row already.
            if let Ok(id) = self.assign(&target.0) {
                entries.kept.push(id);
                entries.backends.push((id, target.0));
            }
        }
        Ok(pools)
    }

    /// The ids of backends, ascending.
    fn assign_all(&mut self, targets: &[Target], entries: &mut Entries) -> Result<Vec<u32>, MapError> {
        let mut ids = Vec::with_capacity(targets.len());
        for target in targets {
            let id = self.assign(&target.0)?;
            ids.push(id);
            entries.backends.push((id, target.0));
        }
        ids.sort_unstable();
        Ok(ids)
    }

    fn place_pool(
        &mut self,
        group: &Group,
        ids: Vec<u32>,
        entries: &mut Entries,
        by: By,
    ) -> Result<Pool, PlaceError> {
        if ids.is_empty() {
            return Ok(Pool::default());
        }
        let maglev = by != By::Chance;
        let slots = if maglev { 2 * ids.len() + 1 } else { ids.len() };
        let same = |have: &[u32]| have.len() == slots && have.starts_with(&ids);
        if let Some((pool, _)) = entries.pools.iter().find(|(_, have)| same(have)) {
            return Ok(*pool);
        }
        let ordered = if maglev { Some(self.members(group.family, &ids, entries)?) } else { None };
        let digest = ordered.as_ref().map(|o| self.maglev.digest(&names(o)));
        let known = self.pools_of(group).find(|pool| {
            let table = self.ranges.get(&pool.offset).and_then(|r| r.table);
            self.pool(group.family, *pool) == ids && table.map(|t| t.head.digest) == digest
        });
        let (pool, words) = match (known, ordered) {
            (Some(pool), _) => (pool, self.words(group.family, pool).to_vec()),
            (None, None) => (self.take_range(group.family, ids.len() as u32, None)?, ids),
            (None, Some(_)) if by == (By::Table { new: false }) => return Err(PlaceError::Later),
            (None, Some(ordered)) => self.take_with_table(group.family, &ids, &ordered, entries)?,
        };
        if let Some(range) = self.range_mut(pool) {
            range.refs += 1;
        }
        entries.pools.push((pool, words));
        Ok(pool)
    }

    /// The backends of a pool as its table counts them.
    fn members(
        &self,
        family: Family,
        ids: &[u32],
        entries: &Entries,
    ) -> Result<Vec<(u32, Member)>, MapError> {
        let rows: BTreeMap<u32, BackendRow> = entries.backends.iter().copied().collect();
        let most = usize::from(u16::MAX) - 1;
        let ordered = self.ordered(family, ids, &rows).filter(|_| ids.len() <= most);
        ordered.ok_or_else(|| MapError::NoTable {
            why: format!(
                "a pool has {} backends, and a table has no numbers for more than {most}",
                ids.len()
            ),
        })
    }

    /// A new range with a new table.
    fn take_with_table(
        &mut self,
        family: Family,
        ids: &[u32],
        ordered: &[(u32, Member)],
        entries: &mut Entries,
    ) -> Result<(Pool, Vec<u32>), MapError> {
        let units = self.maglev.units(ids.len());
        let at = self.tables.take(units).ok_or_else(MapError::tables_full)?;
        let names = names(ordered);
        let head = TableHead { digest: self.maglev.digest(&names), units: u64::from(units) };
        let table = Table { at, head };
        match self.take_range(family, ids.len() as u32, Some(table)) {
            Ok(pool) => {
                self.builds.built(self.maglev.size);
                entries.tables.push((at, self.maglev.table(&names).into()));
                Ok((pool, words(ids, ordered, at, Settings::is_wide(ids.len()))))
            }
            Err(error) => {
                self.tables.give_back(table, self.batch);
                Err(error)
            }
        }
    }

    /// The pools that the group's rows name now.
    fn pools_of(&self, group: &Group) -> impl Iterator<Item = Pool> {
        let rows = group.frontends.iter().filter_map(|front| self.frontend(&front.key));
        rows.flat_map(|row| row.pools).filter(|pool| pool.len > 0)
    }

    /// The backends that the rows lead to now where they are to reach so far, ascending.
    fn last_known(&self, group: &Group, reach: usize) -> Vec<u32> {
        let pools = group.frontends.iter().filter_map(|front| {
            let scope = front.reach?.iter().position(|r| *r as usize == reach)?;
            Some(self.frontend(&front.key)?.pools[scope])
        });
        let pool = pools.into_iter().find(|pool| pool.len > 0).unwrap_or_default();
        let mut ids = self.pool(group.family, pool).to_vec();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    fn assign(&mut self, row: &BackendRow) -> Result<u32, MapError> {
        let (id, map) = match row {
            BackendRow::V4(b) => {
                (self.backends4.assign((b.addr, b.port, b.proto), self.batch), maps::BACKENDS4)
            }
            BackendRow::V6(b) => {
                (self.backends6.assign((b.addr, b.port, b.proto), self.batch), maps::BACKENDS6)
            }
        };
        id.ok_or(MapError::Full { map, max: self.capacity.backends, key: "bpf.lbMapMax" })
    }

    fn take_range(&mut self, family: Family, len: u32, table: Option<Table>) -> Result<Pool, MapError> {
        let full = MapError::Full { map: maps::POOL, max: self.capacity.slots, key: "bpf.lbMapMax" };
        let extent = if table.is_some() { 2 * len + 1 } else { len };
        let offset = self.space.take(extent).ok_or(full)?.offset;
        self.ranges.insert(offset, Range { family, len, extent, words: Box::default(), table, refs: 0 });
        Ok(Pool { offset, len })
    }
}

fn names(ordered: &[(u32, Member)]) -> Vec<Member> {
    ordered.iter().map(|(_, member)| member.clone()).collect()
}
