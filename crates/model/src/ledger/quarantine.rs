//! Where freed ids and slots rest.

use std::collections::VecDeque;

/// Things freed in batch n may be used again from batch n + 2 on: a program that began before the row changed may
/// still be reading them, and would otherwise see another service's backends.
#[derive(Debug)]
pub struct Quarantine<T>(VecDeque<(u64, T)>);

impl<T> Default for Quarantine<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Quarantine<T> {
    /// Puts something away in a batch. Batches never go back.
    pub fn push(&mut self, batch: u64, thing: T) {
        self.0.push_back((batch, thing));
    }

    /// The next thing that may be used again in `batch`.
    pub fn pop(&mut self, batch: u64) -> Option<T> {
        self.0.front().filter(|(freed, _)| freed + 2 <= batch)?;
        self.0.pop_front().map(|(_, thing)| thing)
    }

    /// Everything that rests.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|(_, thing)| thing)
    }
}
