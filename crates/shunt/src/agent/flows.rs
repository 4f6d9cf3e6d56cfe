//! Ending flows that are over, a step at a time.

use crate::server::Metrics;
use shunt_datapath::Expirer;
use shunt_model::Departed;
use std::time::{Duration, Instant};

/// After an error.
const RETRY: Duration = Duration::from_secs(10);
/// However full the table: the loop has other work too.
const SHORTEST: Duration = Duration::from_millis(5);

pub(super) struct Flows {
    expirer: Expirer,
    /// When the next step is due.
    pub(super) next: Instant,
    /// Why the last step failed.
    pub(super) error: Option<String>,
}

impl Flows {
    pub(super) fn new(expirer: Expirer) -> Self {
        Self { expirer, next: Instant::now(), error: None }
    }

    /// Ends flows of services that lost a backend, from now on.
    pub(super) fn end_departed(&mut self, departed: &[Departed]) {
        if !departed.is_empty() {
            self.expirer.end_departed(departed);
            self.next = Instant::now();
        }
    }

    pub(super) fn step(&mut self, metrics: &Metrics) {
        match self.expirer.step() {
            Ok((done, wait)) => {
                metrics.expired.inc_by(done.expired);
                metrics.backend_gone.inc_by(done.backend_gone);
                metrics.orphans.inc_by(done.orphans);
                self.error = None;
                self.next = Instant::now() + wait.max(SHORTEST);
            }
            Err(error) => {
                let error = error.to_string();
                if self.error.as_ref() != Some(&error) {
                    tracing::error!(%error, "cannot end flows that are over");
                }
                self.error = Some(error);
                self.next = Instant::now() + RETRY;
            }
        }
    }
}
