//! Small numbers to give out: lowest first, and a number that was given back rests for a while.

use super::{Batch, Quarantine};
use std::collections::BTreeSet;

/// Hands out ids from 1 to `limit`, exclusive.
#[derive(Debug)]
pub struct Ids {
    free: BTreeSet<u32>,
    /// Every id from here on is free.
    next: u32,
    limit: u32,
    resting: Quarantine<u32>,
}

impl Ids {
    /// All of `1..limit` are free.
    pub fn new(limit: u32) -> Self {
        Self { free: BTreeSet::new(), next: 1, limit, resting: Quarantine::default() }
    }

    /// The lowest free id, `None` when all are taken or resting.
    pub fn take(&mut self) -> Option<u32> {
        if let Some(id) = self.free.pop_first() {
            return Some(id);
        }
        (self.next < self.limit).then(|| {
            self.next += 1;
            self.next - 1
        })
    }

    /// Takes this very id; false when it is out of range or taken.
    pub fn reserve(&mut self, id: u32) -> bool {
        if id == 0 || id >= self.limit {
            return false;
        }
        if id >= self.next {
            self.free.extend(self.next..id);
            self.next = id + 1;
            return true;
        }
        self.free.remove(&id)
    }

    /// Gives an id back in a batch.
    pub fn give_back(&mut self, id: u32, batch: Batch) {
        self.resting.push(batch, id);
    }

    /// Frees what has rested long enough when a batch begins.
    pub fn begin(&mut self, batch: Batch) {
        while let Some(id) = self.resting.pop(batch) {
            self.free.insert(id);
        }
    }

    /// How many are given out.
    #[must_use]
    pub fn taken(&self) -> usize {
        (self.next as usize - 1) - self.free.len() - self.resting.iter().count()
    }
}

#[cfg(test)]
mod tests {
    use super::{Batch, Ids};

    #[test]
    fn an_id_given_back_rests_for_a_whole_batch() {
        let mut ids = Ids::new(3);
        assert_eq!((ids.take(), ids.take(), ids.take()), (Some(1), Some(2), None));
        ids.give_back(1, Batch::slow(5));
        ids.begin(Batch::slow(6));
        assert_eq!((ids.take(), ids.taken()), (None, 1));
        ids.begin(Batch::slow(7));
        assert_eq!(ids.take(), Some(1));
    }

    #[test]
    fn ids_read_back_are_not_given_out_again() {
        let mut ids = Ids::new(10);
        assert!(ids.reserve(3) && !ids.reserve(3) && !ids.reserve(0) && !ids.reserve(10));
        assert_eq!((ids.take(), ids.take(), ids.take()), (Some(1), Some(2), Some(4)));
        assert_eq!(ids.taken(), 4);
    }
}
