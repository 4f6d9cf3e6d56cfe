//! The kernel's clock that stamps are written in.

use crate::{Error, sys};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Ticks of the kernel's clock in a second (CONFIG_HZ).
///
/// The coarse clocks advance once a tick, so their resolution tells it without a program or a kernel's config file.
pub(crate) fn hz() -> Result<u32, Error> {
    let failed = Error::system("reading the resolution of CLOCK_MONOTONIC_COARSE");
    let mut resolution = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid clock and a struct that outlives the call.
    if unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &mut resolution) } != 0 {
        return Err(failed(io::Error::last_os_error()));
    }
    match resolution.tv_nsec {
        tick @ 100_000..=100_000_000 if resolution.tv_sec == 0 => {
            Ok(((1_000_000_000 + tick / 2) / tick) as u32)
        }
        tick => Err(failed(io::Error::other(format!("{tick} ns is no tick")))),
    }
}

/// Reads the clock of stamps by running the `clock` program.
#[derive(Debug)]
pub struct Clock {
    program: OwnedFd,
    hz: u32,
}

impl Clock {
    pub(crate) const fn new(program: OwnedFd, hz: u32) -> Self {
        Self { program, hz }
    }

    /// Ticks a second.
    pub const fn hz(&self) -> u32 {
        self.hz
    }

    /// Jiffies and nanoseconds since boot, as the programs see them now.
    ///
    /// # Errors
    /// What the kernel says to the test run.
    pub fn sample(&self) -> Result<(u64, u64), Error> {
        // A packet must have an Ethernet header at least; the program writes its first 16 bytes.
        let packet = [0u8; 64];
        let mut out = [0u8; 64];
        sys::program::test_run(self.program.as_fd(), &packet, &mut [], &mut out, 1)
            .map_err(Error::system("running program clock"))?;
        let word = |at: usize| u64::from_ne_bytes(out[at..at + 8].try_into().expect("eight bytes"));
        Ok((word(0), word(8)))
    }

    /// The stamp that a program would write now: the low half of jiffies.
    ///
    /// # Errors
    /// As [`Self::sample`].
    pub fn now(&self) -> Result<u32, Error> {
        Ok(self.sample()?.0 as u32)
    }

    /// The stamp that session affinity would write now, in whole seconds of the same clock.
    ///
    /// # Errors
    /// As [`Self::sample`].
    pub fn seconds(&self) -> Result<u32, Error> {
        Ok((self.sample()?.0 / u64::from(self.hz)) as u32)
    }

    /// How long ago a stamp was written. A stamp a little ahead of `now` (written since) counts as zero.
    pub fn age(&self, now: u32, stamp: u32) -> Duration {
        Duration::from_millis(u64::from(age(now, stamp)) * 1000 / u64::from(self.hz))
    }
}

/// Ticks from `stamp` to `now`, both the low half of jiffies; zero for a stamp ahead of `now`.
pub(crate) const fn age(now: u32, stamp: u32) -> u32 {
    let ticks = now.wrapping_sub(stamp);
    if ticks > u32::MAX / 2 { 0 } else { ticks }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_wrap_and_the_future_is_now() {
        assert_eq!(age(5, 3), 2);
        assert_eq!(age(1, u32::MAX), 2);
        assert_eq!(age(3, 5), 0);
    }

    #[test]
    fn the_tick_is_one_that_kernels_are_built_with() {
        let hz = hz().unwrap();
        assert!([100, 250, 300, 1000].contains(&hz), "{hz}");
    }
}
