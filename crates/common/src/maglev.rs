//! Maglev: where a frontend's lookup tables are, and the hash of a flow that looks into them.
//!
//! The same flow has the same hash on every node (same seed), and the same pool the same table, so that a flow which comes to
//! another node in its middle finds the same backend. The hash is MurmurHash3's 32-bit variant (Austin Appleby, public domain).

/// 8-byte elements in one array of tables; a table never lies in two.
pub const CHUNK_UNITS: u32 = 1 << 19;
/// Arrays of tables.
pub const CHUNKS: u32 = 256;
/// 8-byte elements before a table's values: what it was made of (u64), and how many elements it has, these included.
pub const HEADER_UNITS: u32 = 2;
/// Pools of up to so many backends have tables of one byte a value, larger ones of two (little endian).
pub const NARROW_MAX: u32 = 256;
/// The sizes that a table may have, all prime: Cilium's.
pub const SIZES: [u32; 10] = [251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131_071];
/// Default of `maglev.tableSize`.
pub const DEFAULT_SIZE: u32 = 16381;

/// Where a pool's table is, as its last slot says it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TableRef(pub u32);

impl TableRef {
    const WIDE: u32 = 1 << 31;

    /// The table that begins at an 8-byte element, counted over all arrays.
    #[inline(always)]
    pub const fn new(at: u32, wide: bool) -> Self {
        Self(if wide { at | Self::WIDE } else { at })
    }
    /// Its first element.
    #[inline(always)]
    pub const fn at(self) -> u32 {
        self.0 & !Self::WIDE
    }
    /// Whether its values have two bytes.
    #[inline(always)]
    pub const fn is_wide(self) -> bool {
        self.0 & Self::WIDE != 0
    }
    /// The element (counted over all arrays) with a value, and the value's first byte in it.
    #[inline(always)]
    pub const fn value(self, entry: u32) -> (u32, u32) {
        let byte = if self.is_wide() { entry * 2 } else { entry };
        (self.at().wrapping_add(HEADER_UNITS + byte / 8), byte % 8)
    }
    /// How many elements a table of `size` values takes.
    pub const fn units(size: u32, wide: bool) -> u32 {
        let bytes = if wide { size * 2 } else { size };
        HEADER_UNITS + bytes.div_ceil(8)
    }
}

/// A flow's hash under way: words go in one by one.
#[derive(Clone, Copy, Debug)]
pub struct FlowHash {
    state: u32,
    bytes: u32,
}

impl FlowHash {
    /// Of no words yet.
    #[inline(always)]
    pub const fn new(seed: u32) -> Self {
        Self { state: seed, bytes: 0 }
    }

    /// Takes one more word in.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, word: u32) -> Self {
        let k = word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
        let state = (self.state ^ k).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
        Self { state, bytes: self.bytes + 4 }
    }

    /// Takes words in, in order.
    #[inline(always)]
    #[must_use]
    pub const fn words(mut self, words: &[u32]) -> Self {
        let mut i = 0;
        while i < words.len() {
            self = self.word(words[i]);
            i += 1;
        }
        self
    }

    /// The hash.
    #[inline(always)]
    pub const fn finish(self) -> u32 {
        let mut h = self.state ^ self.bytes;
        h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
        h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
        h ^ (h >> 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_murmur3s() {
        let of = |text: &str, seed| {
            let words = text.as_bytes().chunks(4).map(|c| u32::from_le_bytes(c.try_into().unwrap()));
            FlowHash::new(seed).words(&words.collect::<Vec<_>>()).finish()
        };
        assert_eq!(of("", 0), 0);
        assert_eq!(of("", 1), 0x514e_28b7);
        assert_eq!(of("test", 0), 0xba6b_d213);
        assert_eq!(of("test", 0x9747_b28c), 0x704b_81dc);
        assert_eq!(of("aaaa", 0x9747_b28c), 0x5a97_808a);
    }

    #[test]
    fn values_lie_one_after_the_other_behind_the_header() {
        let (narrow, wide) = (TableRef::new(100, false), TableRef::new(100, true));
        assert_eq!((narrow.value(0), narrow.value(7), narrow.value(8)), ((102, 0), (102, 7), (103, 0)));
        assert_eq!((wide.value(0), wide.value(3), wide.value(4)), ((102, 0), (102, 6), (103, 0)));
        assert_eq!((TableRef::units(16381, false), TableRef::units(251, true)), (2050, 65));
        for wide in [false, true] {
            let table = TableRef::new(7, wide);
            assert_eq!((table.at(), table.is_wide()), (7, wide));
            assert!(SIZES.iter().all(|size| table.value(size - 1).0 < 7 + TableRef::units(*size, wide)));
            assert!(SIZES.iter().all(|size| TableRef::units(*size, wide) <= CHUNK_UNITS));
        }
    }
}
