//! A store that fails on purpose.

use super::{Actual, Capacity, MapError, MapStore, Op};

/// Lets one op in `every` fail, by a sequence that the seed fixes.
#[derive(Clone, Debug)]
pub struct Faulty<S> {
    /// The store behind.
    pub inner: S,
    /// Failures so far.
    pub faults: usize,
    state: u64,
    permille: u32,
}

impl<S: MapStore> Faulty<S> {
    /// `permille` of a thousand ops fail. The same seed gives the same failures.
    pub fn new(inner: S, seed: u64, permille: u32) -> Self {
        Self { inner, faults: 0, state: seed, permille }
    }

    /// Changes how many of a thousand ops fail.
    pub fn set_permille(&mut self, permille: u32) {
        self.permille = permille;
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): small, and good enough to choose faults.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl<S: MapStore> MapStore for Faulty<S> {
    fn apply(&mut self, op: &Op) -> Result<(), MapError> {
        if self.next() % 1000 < u64::from(self.permille) {
            self.faults += 1;
            return Err(MapError::Kernel {
                map: "any",
                what: "a fault on purpose",
                error: "injected".into(),
            });
        }
        self.inner.apply(op)
    }

    fn dump(&mut self) -> Result<Actual, MapError> {
        self.inner.dump()
    }

    fn capacity(&self) -> Capacity {
        self.inner.capacity()
    }
}
