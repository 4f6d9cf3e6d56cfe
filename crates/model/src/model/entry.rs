//! What the model keeps of one service. Ten thousand of these, and a hundred thousand endpoints, fit in the agent's
//! budget because nothing here has spare room: no maps with half-full nodes, no lists with capacity to grow.

use crate::Problem;
use crate::claims::Claimant;
use crate::lower::Wanted;
use crate::snapshot::{Slice, Spec};
use crate::store::FrontendRef;
use std::sync::Arc;

/// Everything we know of one service.
#[derive(Default, Debug)]
pub struct Entry {
    /// What the Service asks for; `None` while there is none, or none that is ours.
    pub spec: Option<Box<Spec>>,
    /// Relist round in which the Service was last seen.
    pub round: u32,
    /// Its slices.
    pub slices: Slices,
    /// Claimed frontends.
    pub wanted: Box<[Wanted]>,
    /// The age and name under which they were claimed; the claims share it.
    pub claimed_as: Option<Arc<Claimant>>,
    /// Service ids by port name.
    pub ids: Box<[(Arc<str>, u32)]>,
    /// Addresses that were refused.
    pub problems: Box<[Problem]>,
    /// Frontends that other services keep.
    pub conflicts: Box<[Problem]>,
    /// Frontends that the last reconcile did not bring to their state, and why.
    pub failed: Box<[(FrontendRef, String)]>,
}

impl Entry {
    /// Everything that is wrong with the service or its slices.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        let spec = self.spec.iter().flat_map(|s| &s.problems);
        let slices = self.slices.iter().flat_map(|s| &s.problems);
        spec.chain(slices).chain(&self.problems).chain(&self.conflicts)
    }

    /// Whether there is nothing left to know.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spec.is_none() && self.slices.0.is_empty() && self.wanted.is_empty() && self.ids.is_empty()
    }
}

/// The slices of a service, in order of `namespace/name`; nearly always one.
#[derive(Default, Debug)]
pub struct Slices(Vec<Held>);

#[derive(Debug)]
struct Held {
    key: Arc<str>,
    slice: Slice,
    round: u32,
}

impl Slices {
    /// Adds or replaces a slice; false when it was there, the same.
    pub fn put(&mut self, key: Arc<str>, slice: Slice, round: u32) -> bool {
        match self.0.binary_search_by(|h| h.key.cmp(&key)) {
            Ok(at) => {
                let held = &mut self.0[at];
                held.round = round;
                let changed = held.slice != slice;
                held.slice = slice;
                changed
            }
            Err(at) => {
                self.0.reserve_exact(1);
                self.0.insert(at, Held { key, slice, round });
                true
            }
        }
    }

    /// Notes that a slice is still there.
    pub fn seen(&mut self, key: &str, round: u32) {
        if let Some(held) = self.0.iter_mut().find(|h| *h.key == *key) {
            held.round = round;
        }
    }

    /// Holds these slices and no others; false when they are the same.
    pub fn replace(&mut self, slices: Vec<Slice>) -> bool {
        if self.0.iter().map(|h| &h.slice).eq(&slices) {
            return false;
        }
        let held = |slice: Slice| Held { key: slice.family.name().into(), slice, round: 0 };
        self.0 = slices.into_iter().map(held).collect();
        true
    }

    /// Removes a slice.
    pub fn remove(&mut self, key: &str) {
        self.0.retain(|h| *h.key != *key);
    }

    /// The slices.
    pub fn iter(&self) -> impl Iterator<Item = &Slice> + Clone {
        self.0.iter().map(|h| &h.slice)
    }

    /// The keys of slices that were last seen in another relist round.
    pub fn not_of(&self, round: u32) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().filter(move |h| h.round != round).map(|h| &h.key)
    }
}
