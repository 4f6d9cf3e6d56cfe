//! Where freed ids and slots rest.

use std::collections::VecDeque;

/// Seconds of the coarse clock between freeing a thing and using it again: at least one whole second, however the ticks fall.
const REST: u64 = 2;

/// When something was freed: batches follow each other within milliseconds, so they alone are no time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Batch {
    /// Counts up.
    pub number: u64,
    /// The coarse clock as the batch began.
    pub second: u64,
}

#[cfg(test)]
impl Batch {
    /// The `number`th of batches that follow each other slowly.
    pub const fn slow(number: u64) -> Self {
        Self { number, second: number * REST }
    }
}

/// Things freed in batch n may be used again from batch n + 2 on, and not before they have rested for a second: a program
/// that began before the row changed may still be reading them, and would otherwise see another service's backends.
#[derive(Debug)]
pub struct Quarantine<T>(VecDeque<(Batch, T)>);

impl<T> Default for Quarantine<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Quarantine<T> {
    /// Puts something away in a batch. Batches never go back.
    pub fn push(&mut self, batch: Batch, thing: T) {
        self.0.push_back((batch, thing));
    }

    /// The next thing that may be used again in `batch`.
    pub fn pop(&mut self, batch: Batch) -> Option<T> {
        let rested = |freed: &Batch| freed.number + 2 <= batch.number && freed.second + REST <= batch.second;
        self.0.front().filter(|(freed, _)| rested(freed))?;
        self.0.pop_front().map(|(_, thing)| thing)
    }

    /// Everything that rests.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|(_, thing)| thing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_many_batches_in_a_moment_nor_a_long_time_in_one_batch_are_rest() {
        let mut quarantine = Quarantine::default();
        quarantine.push(Batch { number: 5, second: 100 }, "thing");
        for (number, second) in [(7, 100), (1000, 100), (1000, 101), (6, 1000)] {
            assert_eq!(quarantine.pop(Batch { number, second }), None, "{number} {second}");
        }
        assert_eq!(quarantine.pop(Batch { number: 7, second: 102 }), Some("thing"));
    }
}
