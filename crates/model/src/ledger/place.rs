//! From desired entries without numbers to entries with ids and slots.

use super::{Ledger, Range};
use crate::lower::{Group, Target};
use crate::store::{BackendRow, Family, FrontendRef, MapError};
use shunt_common::{FRONTEND_SCOPES, Frontend, Pool, maps};

/// The entries that one group asks for, in the order in which they may be written.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Entries {
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
    /// Gives ids and ranges to a group: those it has already where they still fit, else new ones.
    ///
    /// # Errors
    /// [`MapError::Full`] when the maps have no room; nothing stays taken.
    pub fn place(&mut self, service: u32, group: &Group) -> Result<Entries, PlaceError> {
        let mut entries = Entries::default();
        let mut pools = [Pool::default(); FRONTEND_SCOPES];
        for scope in 0..FRONTEND_SCOPES {
            let targets = &group.pools[scope];
            if scope > 0 && *targets == group.pools[0] && !group.keep_last {
                pools[scope] = pools[0];
                continue;
            }
            let placed = match self.assign_all(targets, &mut entries) {
                Ok(ids) if ids.is_empty() && group.keep_last => {
                    let ids = self.last_known(group, scope);
                    self.place_pool(group, scope, ids, &mut entries)
                }
                Ok(ids) => self.place_pool(group, scope, ids, &mut entries),
                Err(error) => Err(error),
            };
            match placed {
                Ok(pool) => pools[scope] = pool,
                Err(error) => return Err(self.give_up(&entries, error)),
            }
        }
        match self.assign_all(&group.others, &mut entries) {
            Ok(ids) => entries.kept = ids,
            Err(error) => return Err(self.give_up(&entries, error)),
        }
        for (key, balanced, row) in &group.frontends {
            let pools = if *balanced { pools } else { Default::default() };
            entries.frontends.push((*key, Frontend { service, pools, ..*row }));
        }
        Ok(entries)
    }

    fn give_up(&mut self, entries: &Entries, error: MapError) -> MapError {
        entries.pools.iter().for_each(|(pool, _)| self.release_unnamed(*pool));
        error
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
        scope: usize,
        ids: Vec<u32>,
        entries: &mut Entries,
    ) -> Result<Pool, MapError> {
        if ids.is_empty() {
            return Ok(Pool::default());
        }
        if let Some((pool, _)) = entries.pools.iter().find(|(_, have)| *have == ids) {
            return Ok(*pool);
        }
        let known = self.pools_of(group, scope).find(|pool| self.pool(group.family, *pool) == ids);
        let pool = match known {
            Some(pool) => pool,
            None => self.take_range(group.family, ids.len() as u32)?,
        };
        entries.pools.push((pool, ids));
        Ok(pool)
    }

    /// The pools that the group's rows name now, the scope's own first.
    fn pools_of(&self, group: &Group, scope: usize) -> impl Iterator<Item = Pool> {
        let rows = group.frontends.iter().filter_map(|(key, _, _)| self.frontend(key));
        rows.flat_map(move |row| [row.pools[scope], row.pools[FRONTEND_SCOPES - 1 - scope]])
            .filter(|pool| pool.len > 0)
    }

    /// The backends that the group's rows lead to now, ascending.
    fn last_known(&self, group: &Group, scope: usize) -> Vec<u32> {
        let pool = self.pools_of(group, scope).next().unwrap_or_default();
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
