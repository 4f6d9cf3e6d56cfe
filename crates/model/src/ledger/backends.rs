//! Backends of one family: who has which id, what its row holds, and how many pool slots name it.

use super::{Batch, Ids};
use shunt_common::{Addr, Backend, PortBe};
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// What makes two endpoints the same backend, in whatever services they stand.
pub type BackendKey<A> = (A, PortBe, u8);

/// The key of a row.
pub fn key_of<A: Addr>(row: &Backend<A>) -> BackendKey<A> {
    (row.addr, row.port, row.proto)
}

#[derive(Clone, Copy, Debug)]
struct Slot<A> {
    /// What the map holds; without a state when the id is given out but not written.
    row: Backend<A>,
    /// Pool slots, in ranges that we account for, that name this id.
    refs: u32,
}

/// The ids, rows and reference counts of one family's backends.
#[derive(Debug)]
pub struct Backends<A> {
    ids: HashMap<BackendKey<A>, u32>,
    /// Indexed by id.
    slots: Vec<Slot<A>>,
    numbers: Ids,
    /// Ids that no pool names, with the batch in which that came to be.
    idle: BTreeMap<u32, Batch>,
}

impl<A: Addr + Hash> Backends<A> {
    /// No backends; ids run from 1 to `limit`, exclusive.
    pub fn new(limit: u32) -> Self {
        Self { ids: HashMap::new(), slots: Vec::new(), numbers: Ids::new(limit), idle: BTreeMap::new() }
    }

    /// The id of a backend, a new one when it has none; `None` when there are none left.
    pub fn assign(&mut self, key: BackendKey<A>, batch: Batch) -> Option<u32> {
        if let Some(id) = self.ids.get(&key) {
            // Wanted again: rests anew, in case the group that wants it fails before a pool names it.
            self.idle.entry(*id).and_modify(|b| *b = batch);
            return Some(*id);
        }
        let id = self.numbers.take()?;
        self.ids.insert(key, id);
        self.grow(id);
        let (addr, port, proto) = key;
        self.slots[id as usize].row = Backend { addr, port, proto, ..Backend::ZERO };
        self.idle.insert(id, batch);
        Some(id)
    }

    /// Takes over a row that was read back. A second id for one backend is kept apart and goes idle.
    pub fn restore(&mut self, id: u32, row: Backend<A>) -> bool {
        if !self.numbers.reserve(id) {
            return false;
        }
        self.grow(id);
        self.slots[id as usize].row = row;
        self.ids.entry(key_of(&row)).or_insert(id);
        self.idle.insert(id, Batch::default());
        true
    }

    /// What the map holds for an id, `None` for nothing.
    #[must_use]
    pub fn row(&self, id: u32) -> Option<&Backend<A>> {
        self.slots.get(id as usize).map(|s| &s.row).filter(|r| r.state != 0)
    }

    /// The map now holds `row`.
    pub fn wrote(&mut self, id: u32, row: Backend<A>) {
        self.grow(id);
        self.slots[id as usize].row = row;
    }

    /// One more slot names an id.
    pub fn named(&mut self, id: u32) {
        if let Some(slot) = self.slots.get_mut(id as usize) {
            slot.refs += 1;
            self.idle.remove(&id);
        }
    }

    /// One slot less names an id.
    pub fn unnamed(&mut self, id: u32, batch: Batch) {
        if let Some(slot) = self.slots.get_mut(id as usize).filter(|s| s.refs > 0) {
            slot.refs -= 1;
            if slot.refs == 0 {
                self.idle.insert(id, batch);
            }
        }
    }

    /// Ids that no pool has named since before `batch`.
    pub fn idle_before(&self, batch: Batch) -> Vec<u32> {
        self.idle.iter().filter(|(_, b)| **b < batch).map(|(id, _)| *id).collect()
    }

    /// How many ids no pool names.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.idle.len()
    }

    /// The map holds nothing for an idle id any more; the id becomes free.
    pub fn forget(&mut self, id: u32, batch: Batch) {
        let Some(slot) = self.slots.get_mut(id as usize) else { return };
        let key = key_of(&slot.row);
        slot.row = Backend::ZERO;
        if self.ids.get(&key) == Some(&id) {
            self.ids.remove(&key);
        }
        self.idle.remove(&id);
        self.numbers.give_back(id, batch);
    }

    /// All ids with a row.
    pub fn rows(&self) -> impl Iterator<Item = (u32, &Backend<A>)> {
        self.slots.iter().zip(0..).filter(|(s, _)| s.row.state != 0).map(|(s, id)| (id, &s.row))
    }

    /// Frees what has rested long enough.
    pub fn begin(&mut self, batch: Batch) {
        self.numbers.begin(batch);
    }

    /// How many ids are given out.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.numbers.taken()
    }

    fn grow(&mut self, id: u32) {
        let len = self.slots.len().max(id as usize + 1);
        self.slots.resize(len, Slot { row: Backend::ZERO, refs: 0 });
    }
}
