//! Ending flows that are over, in bounded steps from user space.
//!
//! A pass walks a family's table in chunks; how fast depends on how full the table was in the last pass. A row is
//! first judged by itself, which costs nothing; only a row that has been silent for its lifetime costs a look at its
//! partner. Both rows of a flow go together, and only when both are silent.

mod departed;
mod judge;
mod lifetimes;
mod pass;

pub use lifetimes::Lifetimes;

use crate::mapped::Arrays;
use crate::{Clock, Error};
use pass::Pass;
use shunt_common::maps::{FLOWS4, FLOWS6};
use shunt_common::{Ip4, Ip6, Proto};
use shunt_model::Departed;
use shunt_model::store::Family;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Rows read in one step of one family: about a millisecond's work when many of them are over.
pub const STEP_ROWS: u32 = 4096;

/// What a step did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Step {
    /// Rows looked at.
    pub visited: u64,
    /// Flows ended because both directions were silent for their lifetime.
    pub expired: u64,
    /// Rows removed because their partner was missing; each is a bug or a crash in the middle of something.
    pub orphans: u64,
    /// UDP flows ended because their backend is gone, or their service lost it.
    pub backend_gone: u64,
    /// Passes over a family's table that this step finished.
    pub passes: u64,
    /// How long it took.
    pub took: Duration,
}

impl std::ops::AddAssign for Step {
    fn add_assign(&mut self, other: Self) {
        let Self { visited, expired, orphans, backend_gone, passes, took } = other;
        self.visited += visited;
        self.expired += expired;
        self.orphans += orphans;
        self.backend_gone += backend_gone;
        self.passes += passes;
        self.took += took;
    }
}

/// Ends flows that are over. Call [`Self::step`] again after the time it answers.
#[derive(Debug)]
pub struct Expirer {
    clock: Clock,
    lifetimes: Lifetimes,
    v4: Pass<Ip4>,
    v6: Pass<Ip6>,
}

impl Expirer {
    pub(crate) fn new(
        map: impl Fn(&'static str) -> Result<OwnedFd, Error>,
        arrays: &Arrays,
        clock: Clock,
        lifetimes: Lifetimes,
    ) -> Result<Self, Error> {
        let v4 = Pass::new(map(FLOWS4)?, FLOWS4, arrays.backends4.clone())?;
        let v6 = Pass::new(map(FLOWS6)?, FLOWS6, arrays.backends6.clone())?;
        Ok(Self { clock, lifetimes, v4, v6 })
    }

    /// Ends the UDP flows of services that lost a backend which others still have; the steps from now on do it. Flows to a
    /// backend without a row end by themselves.
    pub fn end_departed(&mut self, departed: &[Departed]) {
        let of = |family| {
            let of = departed.iter().filter(move |d| d.backend.family() == family);
            of.filter(|d| d.backend.proto() == Proto::Udp as u8).filter_map(|d| Some((d.service?, d.id)))
        };
        self.v4.end_departed(of(Family::V4));
        self.v6.end_departed(of(Family::V6));
    }

    /// Does what is due now, at most [`STEP_ROWS`] rows of each family, and answers what that was by [`Family`] (`None` where
    /// nothing was due) and when to call again.
    ///
    /// # Errors
    /// What the kernel says; the pass goes on from where it stood.
    pub fn step(&mut self) -> Result<([Option<Step>; 2], Duration), Error> {
        let start = Instant::now();
        let mut done = [None; 2];
        if self.v4.due(start) || self.v6.due(start) {
            let (now, rules) = (self.clock.now()?, self.lifetimes.in_ticks(self.clock.hz()));
            if self.v4.due(start) {
                done[Family::V4 as usize] = Some(self.v4.step(now, &rules, start)?);
            }
            if self.v6.due(start) {
                done[Family::V6 as usize] = Some(self.v6.step(now, &rules, start)?);
            }
        }
        let next = self.v4.next().min(self.v6.next());
        Ok((done, next.saturating_duration_since(Instant::now())))
    }

    /// Runs one whole pass over both tables without pacing, for tests and for a table that is about to be full.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub fn pass(&mut self) -> Result<Step, Error> {
        let (now, rules) = (self.clock.now()?, self.lifetimes.in_ticks(self.clock.hz()));
        let mut done = self.v4.whole(now, &rules)?;
        done += self.v6.whole(now, &rules)?;
        Ok(done)
    }
}
