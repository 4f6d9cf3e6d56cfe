//! When what did not work is tried again.

use std::time::{Duration, Instant};

/// A container takes longer to start.
const FIRST: Duration = Duration::from_millis(50);
const LAST: Duration = Duration::from_secs(10);

/// A cgroup is mostly there with the next hint; without inotify it is found by looking, ever less often.
#[derive(Default)]
pub(super) struct Retry {
    at: Option<Instant>,
    tries: u32,
}

impl Retry {
    /// When the next try is due.
    pub(super) const fn at(&self) -> Option<Instant> {
        self.at
    }

    /// A try is over, because it was due or for another reason.
    pub(super) fn after(&mut self, now: Instant, all_well: bool) {
        if all_well {
            *self = Self::default();
        } else if self.at.is_none_or(|at| at <= now) {
            // What is missing since before must not be looked for more often because others come and go.
            self.at = Some(now + FIRST.saturating_mul(1 << self.tries.min(16)).min(LAST));
            self.tries += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_come_ever_later_whatever_happens_in_between_and_stop_when_all_is_well() {
        let (mut retry, start) = (Retry::default(), Instant::now());
        retry.after(start, true);
        assert_eq!(retry.at(), None);
        retry.after(start, false);
        assert_eq!(retry.at(), Some(start + FIRST));
        retry.after(start + FIRST / 2, false);
        assert_eq!(retry.at(), Some(start + FIRST), "not its turn");
        let mut now = start;
        for _ in 0..40 {
            now = retry.at().unwrap();
            retry.after(now, false);
        }
        assert_eq!(retry.at(), Some(now + LAST));
        retry.after(now, true);
        retry.after(now, false);
        assert_eq!(retry.at(), Some(now + FIRST));
    }
}
