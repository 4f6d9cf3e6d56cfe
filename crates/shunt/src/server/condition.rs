//! How the agent is, as health checks see it. The loop publishes it, the servers read it.

use jiff::Timestamp;
use std::time::{Duration, Instant};

/// The loop goes round every few seconds at least; no sync takes as long as this.
const STANDSTILL: Duration = Duration::from_secs(60);

/// What health depends on; kube-proxy's rules (`pkg/proxy/healthcheck/proxy_health.go`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Condition {
    /// Since when an update waits to be written. `None` also while starting, and while only the API is awaited.
    pub queued: Option<Instant>,
    /// When the agent's loop last went round, to within seconds; `None` while starting.
    pub beat: Option<Instant>,
    /// When the maps were last brought up to date; `None` while starting.
    pub last_updated: Option<Timestamp>,
    /// This node may get new traffic, by its Node object.
    pub eligible: bool,
    /// For how long an update may wait: twice the sync period.
    pub patience: Duration,
    /// Whether IPv4 and IPv6 are handled.
    pub families: [bool; 2],
}

impl Default for Condition {
    fn default() -> Self {
        Self {
            queued: None,
            beat: None,
            last_updated: None,
            eligible: true,
            patience: Duration::from_secs(60),
            families: [true; 2],
        }
    }
}

impl Condition {
    /// The agent's loop goes round and so takes updates: what only a restart can mend when it does not.
    #[must_use]
    pub fn alive(&self, now: Instant) -> bool {
        self.beat.is_none_or(|beat| now.saturating_duration_since(beat) <= STANDSTILL)
    }

    /// Every update reaches the maps in time. Starting up counts as healthy, and so does an API that is away: neither
    /// leaves an update waiting.
    #[must_use]
    pub fn healthy(&self, now: Instant) -> bool {
        let waits = self.queued.map(|since| now.saturating_duration_since(since));
        self.alive(now) && waits.is_none_or(|time| time <= self.patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_update_that_waits_for_longer_than_twice_the_sync_period_is_unhealthy() {
        let now = Instant::now();
        let after = |seconds| {
            let condition = Condition { queued: Some(now), ..Condition::default() };
            condition.healthy(now + Duration::from_secs(seconds))
        };
        assert!(Condition::default().healthy(now), "starting up");
        assert_eq!([0, 60, 61].map(after), [true, true, false]);
    }

    #[test]
    fn a_loop_that_stands_still_is_neither_alive_nor_healthy() {
        let now = Instant::now();
        let condition = Condition { beat: Some(now), ..Condition::default() };
        let after = |seconds| now + Duration::from_secs(seconds);
        assert!(condition.alive(after(60)) && condition.healthy(after(60)));
        assert!(!condition.alive(after(61)) && !condition.healthy(after(61)));
    }
}
