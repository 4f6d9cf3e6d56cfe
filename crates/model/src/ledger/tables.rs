//! Where Maglev tables are: a space for each array, since a table lies in one.

use super::{Batch, Ledger, Space};
use crate::maglev::Member;
use crate::store::{BackendRow, Family, Op, TableHead};
use shunt_common::Pool;
use shunt_common::maglev::{CHUNK_UNITS, TableRef};
use std::collections::BTreeMap;

/// A table that a range names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Table {
    /// Its first 8-byte element.
    pub at: u32,
    /// Its elements, and what it was made of.
    pub head: TableHead,
}

/// The free part of the arrays of tables.
#[derive(Debug)]
pub struct TableSpace {
    /// Those that any table was ever in.
    chunks: Vec<Space>,
    limit: u32,
}

impl TableSpace {
    /// Of `limit` elements, a whole number of arrays or not.
    pub const fn new(limit: u32) -> Self {
        Self { chunks: Vec::new(), limit }
    }

    /// Room for so many elements: its first one. The first array with room, so that few arrays are made.
    pub fn take(&mut self, units: u32) -> Option<u32> {
        let taken = self.chunks.iter_mut().zip(0..).find_map(|(c, n)| Some((n, c.take(units)?)));
        let (number, room) = match taken {
            Some(taken) => taken,
            None => {
                let number = self.chunks.len() as u32;
                let mut chunk = self.array(number)?;
                let room = chunk.take(units)?;
                self.chunks.push(chunk);
                (number, room)
            }
        };
        Some(number * CHUNK_UNITS + room.offset)
    }

    /// Takes this very room; false when it is not wholly free or no room at all.
    pub fn reserve(&mut self, at: u32, units: u32) -> bool {
        let number = at / CHUNK_UNITS;
        while self.chunks.len() as u32 <= number {
            let Some(chunk) = self.array(self.chunks.len() as u32) else { return false };
            self.chunks.push(chunk);
        }
        self.chunks[number as usize].reserve(Pool { offset: at % CHUNK_UNITS, len: units })
    }

    /// An array of which nothing is given out; `None` beyond the limit.
    fn array(&self, number: u32) -> Option<Space> {
        let before = number.checked_mul(CHUNK_UNITS)?;
        let units = self.limit.checked_sub(before)?.min(CHUNK_UNITS);
        (units > 0).then(|| Space::new(units))
    }

    /// Gives a table's room back in a batch.
    pub fn give_back(&mut self, table: Table, batch: Batch) {
        let room = Pool { offset: table.at % CHUNK_UNITS, len: table.head.units as u32 };
        if let Some(chunk) = self.chunks.get_mut((table.at / CHUNK_UNITS) as usize) {
            chunk.give_back(room, batch);
        }
    }

    /// Frees what has rested long enough when a batch begins.
    pub fn begin(&mut self, batch: Batch) {
        self.chunks.iter_mut().for_each(|chunk| chunk.begin(batch));
    }

    /// Elements given out.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.chunks.iter().map(Space::taken).sum()
    }
}

/// How much is built in a batch: nothing else happens meanwhile.
#[derive(Debug)]
pub struct Builds {
    limit: u32,
    built: u32,
}

impl Builds {
    /// About `limit` values in a batch: no group begins when there are so many.
    pub const fn new(limit: u32) -> Self {
        Self { limit, built: 0 }
    }

    /// A batch begins.
    pub fn begin(&mut self) {
        self.built = 0;
    }

    /// Whether a group may still have new tables in this batch; the first may always.
    pub const fn may_begin(&self) -> bool {
        self.built == 0 || self.built < self.limit
    }

    /// A table of so many values is built.
    pub fn built(&mut self, values: u32) {
        self.built = self.built.saturating_add(values);
    }
}

impl Ledger {
    /// The headers of all tables of written ranges.
    pub(super) fn table_heads(&self) -> BTreeMap<u32, TableHead> {
        let written = self.ranges.values().filter(|r| !r.words.is_empty());
        written.filter_map(|r| r.table).map(|table| (table.at, table.head)).collect()
    }

    /// The op that writes again the table of a range, `None` where its backends have changed meanwhile: then the range is
    /// about to be replaced.
    #[must_use]
    pub fn rewrite_table(&self, at: u32) -> Option<Op> {
        let range = self.ranges.values().find(|r| r.table.is_some_and(|t| t.at == at))?;
        let len = range.len as usize;
        let ordered = range.words.get(len..2 * len)?;
        let members: Option<Vec<Member>> =
            ordered.iter().map(|id| self.backend(range.family, *id).as_ref().map(Member::from)).collect();
        let table = self.maglev.table(&members?);
        (TableHead::of(&table) == range.table.map(|t| t.head))
            .then(|| Op::PutTable { at, table: table.into() })
    }

    /// Backends in order of address and port: what a table's values count by.
    pub(super) fn ordered(
        &self,
        family: Family,
        ids: &[u32],
        rows: &BTreeMap<u32, BackendRow>,
    ) -> Option<Vec<(u32, Member)>> {
        let row = |id: &u32| rows.get(id).copied().or_else(|| self.backend(family, *id));
        let mut all: Vec<(u32, Member)> =
            ids.iter().map(|id| Some((*id, Member::from(&row(id)?)))).collect::<Option<_>>()?;
        all.sort_by(|a, b| a.1.cmp(&b.1));
        Some(all)
    }
}

/// What a range's slots hold beside a table.
pub(super) fn words(ids: &[u32], ordered: &[(u32, Member)], at: u32, wide: bool) -> Vec<u32> {
    let mut words = ids.to_vec();
    words.extend(ordered.iter().map(|(id, _)| *id));
    words.push(TableRef::new(at, wide).0);
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maglev::Settings;
    use shunt_common::maglev::CHUNKS;

    #[test]
    fn ten_thousand_services_of_ten_backends_need_less_than_half_of_a_u32_table_for_each() {
        let settings = Settings::default();
        let mut space = TableSpace::new(CHUNKS * CHUNK_UNITS);
        let units = settings.units(10);
        assert!((0..10_000).all(|_| space.take(units).is_some()));
        // Whole arrays are what the kernel allocates.
        let bytes = space.chunks.len() as u64 * u64::from(CHUNK_UNITS) * 8;
        let plain = 10_000 * u64::from(settings.size) * 4;
        println!("{} arrays, {bytes} bytes; {plain} bytes as u32", space.chunks.len());
        assert_eq!((space.taken() as u64 * 8, bytes), (164_000_000, 40 << 22));
        assert!(bytes * 2 < plain, "{bytes} of {plain}");
    }

    #[test]
    fn a_limit_that_is_no_whole_number_of_arrays_is_kept_and_no_table_lies_in_two() {
        let mut space = TableSpace::new(2 * CHUNK_UNITS + 5);
        let half = CHUNK_UNITS / 2 + 1;
        assert_eq!(
            [half, half, half, 5, 1].map(|units| space.take(units)),
            [Some(0), Some(CHUNK_UNITS), None, Some(half), Some(half + 5)]
        );
        assert!(!space.reserve(2 * CHUNK_UNITS, 6) && !space.reserve(3 * CHUNK_UNITS, 1));
        assert!(space.reserve(2 * CHUNK_UNITS, 5));
    }
}
