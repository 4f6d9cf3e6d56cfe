//! What is costly to find out, shared by all who ask within a few seconds.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For so long an answer is recent.
const RECENT: Duration = Duration::from_secs(3);

/// One answer. Whoever asks while it is being found waits for it instead of looking, too.
#[derive(Debug)]
pub(super) struct Recent<T>(Mutex<Option<(Instant, T)>>);

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Clone> Recent<T> {
    pub(super) fn get(&self, find: impl FnOnce() -> T) -> T {
        self.get_at(Instant::now(), find)
    }

    fn get_at(&self, now: Instant, find: impl FnOnce() -> T) -> T {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((then, answer)) = &*last
            && now.saturating_duration_since(*then) < RECENT
        {
            return answer.clone();
        }
        let answer = find();
        *last = Some((now, answer.clone()));
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_serves_all_who_ask_soon_after_and_no_longer() {
        let (recent, now) = (Recent::default(), Instant::now());
        assert_eq!(recent.get_at(now, || 1), 1);
        assert_eq!(recent.get_at(now + RECENT / 2, || 2), 1);
        assert_eq!(recent.get_at(now + RECENT, || 3), 3);
    }
}
