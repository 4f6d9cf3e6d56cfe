//! Ending flows that are over, a step at a time.

use crate::server::Metrics;
use crate::server::kube_proxy_metrics::ip_family;
use shunt_datapath::{Expirer, Step};
use shunt_model::Departed;
use shunt_model::store::Family;
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
                let done =
                    Family::ALL.into_iter().zip(done).filter_map(|(family, step)| Some((family, step?)));
                done.for_each(|(family, step)| record(metrics, family, &step));
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

fn record(metrics: &Metrics, family: Family, step: &Step) {
    metrics.expired.inc_by(step.expired);
    metrics.backend_gone.inc_by(step.backend_gone);
    metrics.orphans.inc_by(step.orphans);
    let label = ip_family(family);
    metrics.kube_proxy.conntrack_deleted.get_or_create(&label).inc_by(step.backend_gone);
    metrics.kube_proxy.conntrack_sync.get_or_create(&label).observe(step.took.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn udp_flows_whose_backend_is_gone_count_under_kube_proxys_name_by_family() {
        let metrics = Metrics::default();
        record(&metrics, Family::V6, &Step { expired: 7, backend_gone: 3, ..Step::default() });
        let deleted = |family| metrics.kube_proxy.conntrack_deleted.get_or_create(&ip_family(family)).get();
        assert_eq!(Family::ALL.map(deleted), [0, 3]);
        assert_eq!((metrics.expired.get(), metrics.backend_gone.get()), (7, 3));
    }
}
