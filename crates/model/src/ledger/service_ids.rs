//! Service ids: one for each service port, kept for as long as the port is wanted or a row names it.

use super::{Batch, Ids};
use crate::store::Family;
use shunt_common::{Frontend, frontend_flag};
use std::collections::HashMap;

/// Ids above this are not taken over from maps: nothing that we wrote has them.
const LIMIT: u32 = 1 << 24;

#[derive(Clone, Copy, Default, Debug)]
struct Use {
    rows: u32,
    /// Rows by family that lead to backends.
    leading: [u32; 2],
    /// Rows by family that limit their clients by source ranges.
    limited: [u32; 2],
    ranges: u32,
    owned: bool,
}

/// The ids of service ports.
#[derive(Debug)]
pub struct ServiceIds {
    numbers: Ids,
    used: HashMap<u32, Use>,
}

impl Default for ServiceIds {
    fn default() -> Self {
        Self { numbers: Ids::new(LIMIT), used: HashMap::new() }
    }
}

impl ServiceIds {
    /// A new id, owned by the caller.
    pub fn take(&mut self) -> Option<u32> {
        let id = self.numbers.take()?;
        self.used.insert(id, Use { owned: true, ..Use::default() });
        Some(id)
    }

    /// Owns an id that rows name but no port owns, as after a restart; false when another owns it.
    pub fn adopt(&mut self, id: u32) -> bool {
        self.used.get_mut(&id).is_some_and(|u| !std::mem::replace(&mut u.owned, true))
    }

    /// The port that owned the id is gone; rows may still name it.
    pub fn disown(&mut self, id: u32, batch: Batch) {
        self.change(id, batch, |u| u.owned = false);
    }

    /// One more row names the id.
    pub fn named(&mut self, family: Family, row: &Frontend) {
        if let Some(u) = self.use_of(row.service) {
            u.rows += 1;
            u.leading[family as usize] += leading(row);
            u.limited[family as usize] += limited(row);
        }
    }

    /// One row less names the id.
    pub fn unnamed(&mut self, family: Family, row: &Frontend, batch: Batch) {
        self.change(row.service, batch, |u| {
            u.rows = u.rows.saturating_sub(1);
            u.leading[family as usize] = u.leading[family as usize].saturating_sub(leading(row));
            u.limited[family as usize] = u.limited[family as usize].saturating_sub(limited(row));
        });
    }

    /// How many rows of a family that lead to backends name the id.
    #[must_use]
    pub fn leading(&self, id: u32, family: Family) -> u32 {
        self.used.get(&id).map_or(0, |u| u.leading[family as usize])
    }

    /// Whether a row of a family names the id for the sake of its source ranges.
    #[must_use]
    pub fn is_limited(&self, id: u32, family: Family) -> bool {
        self.used.get(&id).is_some_and(|u| u.limited[family as usize] > 0)
    }

    /// One more source range names the id.
    pub fn ranged(&mut self, id: u32) {
        if let Some(u) = self.use_of(id) {
            u.ranges += 1;
        }
    }

    /// One source range less names the id.
    pub fn unranged(&mut self, id: u32, batch: Batch) {
        self.change(id, batch, |u| u.ranges = u.ranges.saturating_sub(1));
    }

    /// What is known of an id, reserved if it was free; `None` for one that nothing of ours has.
    fn use_of(&mut self, id: u32) -> Option<&mut Use> {
        if !self.used.contains_key(&id) && self.numbers.reserve(id) {
            self.used.insert(id, Use::default());
        }
        self.used.get_mut(&id)
    }

    fn change(&mut self, id: u32, batch: Batch, change: impl FnOnce(&mut Use)) {
        let Some(u) = self.used.get_mut(&id) else { return };
        change(u);
        if u.rows == 0 && u.ranges == 0 && !u.owned {
            self.used.remove(&id);
            self.numbers.give_back(id, batch);
        }
    }

    /// Frees what has rested long enough.
    pub fn begin(&mut self, batch: Batch) {
        self.numbers.begin(batch);
    }

    /// How many ids are given out.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.used.len()
    }
}

fn leading(row: &Frontend) -> u32 {
    u32::from(row.pools.iter().any(|pool| pool.len > 0))
}

fn limited(row: &Frontend) -> u32 {
    u32::from(row.flags & frontend_flag::SOURCE_RANGES != 0)
}
