//! Numbers that follow from a seed alone, on every machine and with every version of every crate: a seed in a bug report
//! must give its cluster for ever. (SplitMix64.)

pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        // Neighbouring seeds must not give neighbouring clusters.
        let mut random = Self(seed ^ 0x5348_554e_5421_0001);
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// Each of `all` with a chance.
    pub fn some<T: Copy>(&mut self, percent: usize, all: &[T]) -> Vec<T> {
        all.iter().copied().filter(|_| self.percent(percent)).collect()
    }
}
