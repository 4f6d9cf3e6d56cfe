//! How long the lab waits for what should happen soon.

use std::time::Duration;

/// By how many times longer than on a usual machine: an emulated one verifies a program in a minute.
pub const VARIABLE: &str = "LAB_PATIENCE";

/// A limit of so many seconds on a usual machine, lengthened as [`VARIABLE`] in the environment asks.
pub fn seconds(usual: u64) -> Duration {
    let times = std::env::var(VARIABLE).ok().and_then(|times| times.parse().ok()).unwrap_or(1);
    Duration::from_secs(usual.saturating_mul(times))
}
