//! How the agent is, as health checks see it. The loop publishes it, the servers read it.

use jiff::Timestamp;
use std::time::{Duration, Instant};

/// What health depends on; kube-proxy's rules (`pkg/proxy/healthcheck/proxy_health.go`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Condition {
    /// Since when an update waits to be written. `None` also while starting, and while only the API is awaited.
    pub queued: Option<Instant>,
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
            last_updated: None,
            eligible: true,
            patience: Duration::from_secs(60),
            families: [true; 2],
        }
    }
}

impl Condition {
    /// Every update reaches the maps in time. Starting up counts as healthy, and so does an API that is away: neither
    /// leaves an update waiting.
    #[must_use]
    pub fn healthy(&self, now: Instant) -> bool {
        self.queued.is_none_or(|since| now.saturating_duration_since(since) <= self.patience)
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
}
