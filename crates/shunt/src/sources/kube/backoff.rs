//! How soon a watch tries again.

use kube::runtime::utils::Backoff;
use std::time::{Duration, Instant, SystemTime};

const FIRST: Duration = Duration::from_millis(100);
const LAST: Duration = Duration::from_secs(10);
/// So long without an error after a try, and the API is well again.
const WELL: Duration = Duration::from_secs(20);

/// The API is most often away for a moment (a server restarts): the first tries come soon, later ones spare it.
#[derive(Default)]
pub(super) struct Soon {
    tries: u32,
    /// When the last try was due.
    last: Option<Instant>,
}

impl Soon {
    fn delay(&mut self, now: Instant) -> Duration {
        if self.last.is_some_and(|last| now > last + WELL) {
            self.tries = 0;
        }
        let delay = FIRST.saturating_mul(1 << self.tries.min(10)).min(LAST);
        self.tries += 1;
        self.last = Some(now + delay);
        delay
    }
}

impl Iterator for Soon {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let delay = self.delay(Instant::now());
        // Not every node at the same moment: up to a quarter more.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
        Some(delay + delay.mul_f64(f64::from(now % 1000) / 4000.0))
    }
}

impl Backoff for Soon {
    /// Not at a good word of the stream: a watcher announces each list before it has asked anybody, so that the first
    /// delay would be the only one. Time without an error tells that the API is well.
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_announced_and_fails_each_time_is_tried_ever_later() {
        let mut soon = Soon::default();
        let tries = (0..9).map(|_| {
            soon.reset();
            soon.next().unwrap()
        });
        let tries: Vec<_> = tries.collect();
        assert!(tries[0] < FIRST * 2 && tries.windows(2).all(|w| w[0] < w[1] || w[0] >= LAST), "{tries:?}");
        assert!(tries[8] >= LAST, "{tries:?}");
    }

    #[test]
    fn after_some_time_without_an_error_the_first_try_is_soon_again() {
        let (mut soon, now) = (Soon::default(), Instant::now());
        for _ in 0..9 {
            soon.delay(now);
        }
        assert_eq!(soon.delay(now + LAST + WELL), LAST, "it has only just been tried");
        assert_eq!(soon.delay(now + LAST * 2 + WELL * 3), FIRST);
    }
}
