//! How soon a watch tries again.

use kube::runtime::utils::Backoff;
use std::time::{Duration, SystemTime};

const FIRST: Duration = Duration::from_millis(100);
const LAST: Duration = Duration::from_secs(10);

/// The API is most often away for a moment (a server restarts): the first tries come soon, later ones spare it.
#[derive(Default)]
pub(super) struct Soon {
    tries: u32,
}

impl Iterator for Soon {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let delay = FIRST.saturating_mul(1 << self.tries.min(10)).min(LAST);
        self.tries += 1;
        // Not every node at the same moment: up to a quarter more.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
        Some(delay + delay.mul_f64(f64::from(now % 1000) / 4000.0))
    }
}

impl Backoff for Soon {
    fn reset(&mut self) {
        self.tries = 0;
    }
}
