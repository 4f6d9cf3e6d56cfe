//! Ranges of pool slots: best fit, neighbours joined.

use super::{Batch, Quarantine};
use shunt_common::Pool;
use std::collections::{BTreeMap, BTreeSet};

/// The free part of the slot space.
#[derive(Debug)]
pub struct Space {
    /// offset -> length of each free stretch.
    by_offset: BTreeMap<u32, u32>,
    /// The same as (length, offset).
    by_len: BTreeSet<(u32, u32)>,
    resting: Quarantine<Pool>,
    size: u32,
}

impl Space {
    /// `size` free slots.
    pub fn new(size: u32) -> Self {
        let mut space = Self {
            by_offset: BTreeMap::new(),
            by_len: BTreeSet::new(),
            resting: Quarantine::default(),
            size,
        };
        space.add(0, size);
        space
    }

    /// A free range of `len` slots (not zero): the tightest that fits, lowest first.
    pub fn take(&mut self, len: u32) -> Option<Pool> {
        let (have, offset) = *self.by_len.range((len, 0)..).next()?;
        self.remove(offset, have);
        self.add(offset + len, have - len);
        Some(Pool { offset, len })
    }

    /// Takes this very range; false when it is empty, out of bounds or not wholly free.
    pub fn reserve(&mut self, range: Pool) -> bool {
        let Some(end) = range.offset.checked_add(range.len).filter(|e| *e <= self.size) else { return false };
        let Some((&offset, &len)) = self.by_offset.range(..=range.offset).next_back() else { return false };
        if range.len == 0 || offset + len < end {
            return false;
        }
        self.remove(offset, len);
        self.add(offset, range.offset - offset);
        self.add(end, offset + len - end);
        true
    }

    /// Gives a range back in a batch.
    pub fn give_back(&mut self, range: Pool, batch: Batch) {
        self.resting.push(batch, range);
    }

    /// Frees what has rested long enough when a batch begins.
    pub fn begin(&mut self, batch: Batch) {
        while let Some(range) = self.resting.pop(batch) {
            self.free(range);
        }
    }

    /// Slots given out.
    #[must_use]
    pub fn taken(&self) -> usize {
        let slots = |ranges: &mut dyn Iterator<Item = u32>| ranges.map(|l| l as usize).sum::<usize>();
        let free = slots(&mut self.by_offset.values().copied());
        self.size as usize - free - slots(&mut self.resting.iter().map(|r| r.len))
    }

    fn free(&mut self, range: Pool) {
        let (mut offset, mut len) = (range.offset, range.len);
        if let Some((&o, &l)) = self.by_offset.range(..offset).next_back().filter(|(o, l)| *o + *l == offset)
        {
            self.remove(o, l);
            (offset, len) = (o, l + len);
        }
        if let Some(&l) = self.by_offset.get(&(offset + len)) {
            self.remove(offset + len, l);
            len += l;
        }
        self.add(offset, len);
    }

    fn add(&mut self, offset: u32, len: u32) {
        if len > 0 {
            self.by_offset.insert(offset, len);
            self.by_len.insert((len, offset));
        }
    }

    fn remove(&mut self, offset: u32, len: u32) {
        self.by_offset.remove(&offset);
        self.by_len.remove(&(len, offset));
    }
}

#[cfg(test)]
mod tests {
    use super::{Batch, Space};
    use proptest::prelude::*;
    use shunt_common::Pool;

    #[test]
    fn neighbours_join_when_freed() {
        let mut space = Space::new(10);
        let ranges: Vec<Pool> = (0..5).map(|_| space.take(2).unwrap()).collect();
        assert_eq!(space.take(1), None);
        for i in [0, 2, 1, 4, 3] {
            space.give_back(ranges[i], Batch::slow(0));
        }
        assert_eq!(space.take(1), None);
        space.begin(Batch::slow(2));
        assert_eq!(space.take(10), Some(Pool { offset: 0, len: 10 }));
    }

    #[test]
    fn a_reserved_range_is_not_given_out() {
        let mut space = Space::new(10);
        assert!(space.reserve(Pool { offset: 3, len: 4 }));
        assert!(!space.reserve(Pool { offset: 6, len: 2 }) && !space.reserve(Pool { offset: 9, len: 2 }));
        assert_eq!((space.take(3).map(|p| p.offset), space.take(3).map(|p| p.offset)), (Some(0), Some(7)));
        assert_eq!(space.taken(), 10);
    }

    proptest! {
        #[test]
        fn ranges_never_overlap_and_all_come_back(lens in prop::collection::vec(1u32..9, 1..40), keep: u64) {
            let mut space = Space::new(200);
            let mut held: Vec<Pool> = Vec::new();
            for (i, len) in lens.iter().enumerate() {
                if keep >> (i % 64) & 1 == 0 && !held.is_empty() {
                    let gone = held.swap_remove(i % held.len());
                    space.give_back(gone, Batch::slow(i as u64));
                }
                space.begin(Batch::slow(i as u64));
                if let Some(range) = space.take(*len) {
                    for other in &held {
                        prop_assert!(range.offset + range.len <= other.offset
                            || other.offset + other.len <= range.offset);
                    }
                    held.push(range);
                }
            }
            prop_assert_eq!(space.taken(), held.iter().map(|r| r.len as usize).sum::<usize>());
            for range in held {
                space.give_back(range, Batch::slow(100));
            }
            space.begin(Batch::slow(102));
            prop_assert_eq!(space.take(200), Some(Pool { offset: 0, len: 200 }));
        }
    }
}
