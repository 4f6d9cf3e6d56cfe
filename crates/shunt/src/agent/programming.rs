//! How long changes take, for the metrics that kube-proxy has for it.

use super::Agent;
use crate::server::kube_proxy_metrics::{KubeProxy, ip_family};
use jiff::Timestamp;
use shunt_model::Changes;
use shunt_model::objects::EndpointSlice;
use shunt_model::store::Family;
use std::time::Duration;

/// When the change of a pod or Service was made that led to a slice (sig-scalability's network programming latency).
const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// How many changes are waited for at the most.
const MOST_TRIGGERS: usize = 1 << 16;

/// What has come and is not written.
pub(super) struct Programming {
    /// Changes from before are old news: a restart would tell hours.
    started: Timestamp,
    queued: Timestamp,
    /// What the maps have.
    written: Changes,
    /// What the counters have.
    counted: Changes,
    triggers: Vec<(Family, Timestamp)>,
}

impl Default for Programming {
    fn default() -> Self {
        let (written, counted) = Default::default();
        Self {
            started: Timestamp::now(),
            queued: Timestamp::UNIX_EPOCH,
            written,
            counted,
            triggers: Vec::new(),
        }
    }
}

impl Programming {
    /// An event came.
    pub(super) fn queued(&mut self) {
        self.queued = Timestamp::now();
    }

    /// A slice changed something.
    pub(super) fn changed(&mut self, slice: &EndpointSlice) {
        let annotations = slice.metadata.annotations.as_ref();
        let at = annotations.and_then(|a| a.get(TRIGGER_TIME)).and_then(|text| text.parse().ok());
        if let Some(at) = at.filter(|at| *at > self.started) {
            let family = if slice.address_type == "IPv6" { Family::V6 } else { Family::V4 };
            // What cannot be written for long must not fill memory.
            if self.triggers.len() < MOST_TRIGGERS {
                self.triggers.push((family, at));
            }
        }
    }

    /// What had come is written. What failed goes on waiting.
    pub(super) fn synced(&mut self, all: bool, changes: Changes, families: &[Family], metrics: &KubeProxy) {
        if !all {
            return;
        }
        self.written = changes;
        let now = Timestamp::now();
        for (family, at) in self.triggers.drain(..) {
            let took = Duration::try_from(now.duration_since(at)).unwrap_or_default();
            metrics.programming.get_or_create(&ip_family(family)).observe(took.as_secs_f64());
        }
        for family in families {
            metrics.last_sync.get_or_create(&ip_family(*family)).set(seconds(now));
        }
    }

    /// Brings gauges and counters up to date.
    pub(super) fn gauges(&mut self, changes: Changes, families: &[Family], metrics: &KubeProxy) {
        for family in families {
            metrics.last_queued.get_or_create(&ip_family(*family)).set(seconds(self.queued));
        }
        let pending = |now: u64, written: u64| i64::try_from(now - written).unwrap_or(i64::MAX);
        metrics.endpoints_pending.set(pending(changes.endpoints, self.written.endpoints));
        metrics.services_pending.set(pending(changes.services, self.written.services));
        metrics.endpoints.inc_by(changes.endpoints - self.counted.endpoints);
        metrics.services.inc_by(changes.services - self.counted.services);
        self.counted = changes;
    }
}

impl Agent {
    /// The families that are handled: one sync is one of each.
    pub(super) fn families(&self) -> Vec<Family> {
        let keys = [(Family::V4, "ipv4.enabled"), (Family::V6, "ipv6.enabled")];
        keys.into_iter().filter(|(_, key)| self.config.resolved.bool(key)).map(|(family, _)| family).collect()
    }
}

/// Notes the time of a sync; `full` of one that followed a full list.
pub(super) fn observe_sync(metrics: &KubeProxy, families: &[Family], full: bool, took: Duration) {
    let of_kind = if full { &metrics.full_sync } else { &metrics.partial_sync };
    for label in families.iter().map(|f| ip_family(*f)) {
        metrics.sync.get_or_create(&label).observe(took.as_secs_f64());
        of_kind.get_or_create(&label).observe(took.as_secs_f64());
    }
}

fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use shunt_model::objects::Meta;

    fn slice(at: &str) -> EndpointSlice {
        let annotations = Some([(TRIGGER_TIME.to_owned(), at.to_owned())].into());
        let metadata = Meta { annotations, ..Meta::default() };
        EndpointSlice { metadata, address_type: "IPv6".into(), ..EndpointSlice::default() }
    }

    #[test]
    fn only_trigger_times_after_our_start_are_kept_and_bad_ones_are_ignored() {
        let mut programming = Programming::default();
        let (before, after) = (programming.started, programming.started + Duration::from_secs(1));
        programming.changed(&slice(&before.to_string()));
        programming.changed(&slice("yesterday"));
        programming.changed(&EndpointSlice::default());
        programming.changed(&slice(&after.to_string()));
        assert_eq!(programming.triggers, [(Family::V6, after)]);
    }

    #[test]
    fn a_change_is_timed_when_it_is_written_and_a_failed_sync_lets_it_wait() {
        let metrics = KubeProxy::default();
        let mut programming = Programming { started: Timestamp::UNIX_EPOCH, ..Programming::default() };
        programming.changed(&slice(&Timestamp::now().to_string()));
        let changes = Changes { services: 2, endpoints: 3 };
        let pending = |p: &mut Programming| {
            p.gauges(changes, &Family::ALL, &metrics);
            (metrics.endpoints_pending.get(), metrics.endpoints.get())
        };
        programming.synced(false, changes, &Family::ALL, &metrics);
        assert_eq!((pending(&mut programming), programming.triggers.len()), ((3, 3), 1));
        programming.synced(true, changes, &Family::ALL, &metrics);
        assert_eq!((pending(&mut programming), programming.triggers.len()), ((0, 3), 0));
    }
}
