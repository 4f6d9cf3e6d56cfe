//! From desired entries without numbers to entries with ids and slots.

use super::{Ledger, Range};
use crate::lower::{Group, REACHES, Target};
use crate::store::{BackendRow, Family, FrontendRef, MapError};
use ipnet::IpNet;
use shunt_common::{Frontend, Pool, maps};

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
    /// Frontends.
    pub frontends: Vec<(FrontendRef, Frontend)>,
    /// Ids of the backends that no pool names.
    pub kept: Vec<u32>,
}

/// No id or range is left for a group. What it had taken so far is given back.
pub type PlaceError = MapError;

impl Ledger {
    /// Gives ids and ranges to a group: those it has already where they still fit, else new ones. Each range is held, so
    /// that it stays while the group's rows are switched one by one; give each back by [`Self::release`] after that.
    ///
    /// # Errors
    /// [`MapError::Full`] when the maps have no room; nothing stays taken.
    pub fn place(&mut self, service: u32, group: &Group) -> Result<Entries, PlaceError> {
        let mut entries = Entries { service, ranges: group.ranges.clone(), ..Entries::default() };
        match self.place_pools(group, &mut entries) {
            Ok(pools) => {
                for front in &group.frontends {
                    let pools = front.reach.map(|scopes| scopes.map(|reach| pools[reach as usize]));
                    let pools = pools.unwrap_or_default();
                    entries.frontends.push((front.key, Frontend { service, pools, ..front.row }));
                }
                Ok(entries)
            }
            Err(error) => {
                entries.pools.iter().for_each(|(pool, _)| self.release(*pool));
                Err(error)
            }
        }
    }

    fn place_pools(&mut self, group: &Group, entries: &mut Entries) -> Result<[Pool; REACHES], MapError> {
        let mut pools = [Pool::default(); REACHES];
        for (reach, targets) in group.pools.iter().enumerate() {
            let mut ids = self.assign_all(targets, entries)?;
            if ids.is_empty() && group.keep_last {
                ids = self.last_known(group, reach);
            }
            pools[reach] = self.place_pool(group, ids, entries)?;
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

    fn place_pool(&mut self, group: &Group, ids: Vec<u32>, entries: &mut Entries) -> Result<Pool, MapError> {
        if ids.is_empty() {
            return Ok(Pool::default());
        }
        if let Some((pool, _)) = entries.pools.iter().find(|(_, have)| *have == ids) {
            return Ok(*pool);
        }
        let known = self.pools_of(group).find(|pool| self.pool(group.family, *pool) == ids);
        let pool = match known {
            Some(pool) => pool,
            None => self.take_range(group.family, ids.len() as u32)?,
        };
        if let Some(range) = self.range_mut(pool) {
            range.refs += 1;
        }
        entries.pools.push((pool, ids));
        Ok(pool)
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

    fn take_range(&mut self, family: Family, len: u32) -> Result<Pool, MapError> {
        let full = MapError::Full { map: maps::POOL, max: self.capacity.slots, key: "bpf.lbMapMax" };
        let pool = self.space.take(len).ok_or(full)?;
        self.ranges.insert(pool.offset, Range { family, len, ids: Box::default(), refs: 0 });
        Ok(pool)
    }
}
