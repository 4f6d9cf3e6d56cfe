//! Bringing the maps to what is asked for, and trying again what failed.

use super::{Agent, never, programming};
use shunt_model::store::{MapError, Op};
use shunt_model::{Failure, MapStore, Report};
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

/// Packets may still read what was unlinked a moment ago.
const REMOVALS: Duration = Duration::from_millis(5);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// How far the maps are.
#[derive(Default)]
pub(super) struct Progress {
    /// Everything listed has been written once.
    pub(super) synced: bool,
    /// Since when something waits to be written.
    pub(super) queued: Option<Instant>,
    /// Unix time of the last sync, seconds.
    pub(super) last: u64,
    /// What could not be written and waits for its retry, by object.
    pub(super) failed: BTreeMap<String, Failed>,
    /// What the last comparison with the kernel could not mend.
    pub(super) unmended: Vec<String>,
    /// A full list has been taken in since memory was last given back.
    pub(super) listed: bool,
    /// `minSyncPeriod`.
    pause: Duration,
    /// When changes were last written.
    written_at: Option<Instant>,
    /// When a batch is due that came too soon after that.
    batch_at: Option<Instant>,
    removals_at: Option<Instant>,
    tables_at: Option<Instant>,
    retry_at: Option<Instant>,
    retries: u32,
}

/// A write that failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Failed {
    error: String,
    /// For want of room, which somebody's services have used up: the proxy does what it can.
    full: bool,
}

impl Failed {
    fn new(failure: &Failure) -> Self {
        Self { error: failure.error.to_string(), full: failure.error.is_full() }
    }
}

impl Progress {
    /// Nothing done yet; `pause` is the least time between two writes of changes.
    pub(super) fn new(pause: Duration) -> Self {
        Self { pause, ..Self::default() }
    }

    /// Whether a batch that has come must wait, since changes have just been written. It is due in time then.
    pub(super) fn put_off(&mut self, now: Instant) -> bool {
        self.batch_at = self.written_at.map(|at| at + self.pause).filter(|at| *at > now);
        self.batch_at.is_some()
    }

    /// What could not be written, a line for each object.
    pub(super) fn failures(&self) -> impl Iterator<Item = String> {
        self.failed.iter().map(|(object, failed)| format!("{object}: {}", failed.error))
    }

    /// Whether nothing waits for its retry but what has no room: whoever uses that up must not hold back what is told of others.
    pub(super) fn is_whole(&self) -> bool {
        self.failed.values().all(|failed| failed.full)
    }

    /// When the next sync is due without an event.
    pub(super) fn next(&self) -> Instant {
        [self.batch_at, self.removals_at, self.tables_at, self.retry_at]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or_else(never)
    }

    fn finish(&mut self, report: &Report) {
        let now = Instant::now();
        self.batch_at = None;
        if report.ops > 0 || !report.failed.is_empty() {
            self.written_at = Some(now);
        }
        // They are written together with whatever has come by then.
        self.removals_at = (report.removals_due > 0).then(|| now + REMOVALS.max(self.pause));
        // At once, but for what came meanwhile.
        self.tables_at = (report.tables_due > 0).then_some(now);
        // No retry is set for later: all that had failed was tried.
        if self.retry_at.is_none() {
            self.failed.clear();
        }
        // What waits for its retry has not been tried this time: it is as wrong as before.
        for failure in &report.failed {
            let failed = Failed::new(failure);
            // Of two failures of a service the kernel's is the graver.
            let known = self.failed.entry(failure.object.clone()).or_insert_with(|| failed.clone());
            if known.full || !failed.full {
                *known = failed;
            }
        }
        if report.failed.is_empty() && self.retry_at.is_none() {
            self.retries = 0;
        } else if self.retry_at.is_none() {
            let delay = FIRST_RETRY.saturating_mul(1 << self.retries.min(16)).min(LAST_RETRY);
            self.retries += 1;
            // One that is set already stays: a service that changes often and fails each time must not put off the others.
            self.retry_at = Some(now + delay);
        }
        // A full map is one tenant's fault, and no reason for load balancers to leave a node, nor for its restart: the next
        // node is as full.
        if self.is_whole() {
            self.queued = None;
        }
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        self.last = unix.map_or(0, |d| d.as_secs());
    }
}

impl Agent {
    /// Writes what is due.
    pub(super) fn sync(&mut self) {
        let begun = Instant::now();
        if self.progress.retry_at.is_some_and(|at| at <= begun) {
            self.progress.retry_at = None;
            self.model.retry_pending();
        }
        self.model.tick(self.started.elapsed().as_secs());
        let report = self.model.reconcile(&mut self.store);
        if !report.waiting.is_empty() {
            return;
        }
        self.progress.finish(&report);
        self.sockets.note(&report.departed);
        self.record(&report, begun);
        self.update_health_ports();
        if !std::mem::replace(&mut self.progress.synced, true) {
            tracing::info!(
                services = self.model.service_count(),
                ops = report.ops,
                failed = report.failed.len(),
                seconds = self.started.elapsed().as_secs_f64(),
                "everything listed is written"
            );
            // Only now: no packet meets half-filled maps.
            self.apply_interfaces();
        }
        if std::mem::take(&mut self.progress.listed) {
            shunt_datapath::memory::give_back();
        }
    }

    fn record(&mut self, report: &Report, begun: Instant) {
        let families = self.families();
        self.programming.synced(
            report.failed.is_empty() && self.progress.is_whole(),
            self.model.changes(),
            &families,
            &self.metrics.kube_proxy,
        );
        if report.ops > 0 {
            let full = self.progress.listed;
            programming::observe_sync(&self.metrics.kube_proxy, &families, full, begun.elapsed());
            self.metrics.sync_duration.observe(begun.elapsed().as_secs_f64());
            tracing::debug!(services = report.services, ops = report.ops, "written");
        }
        self.metrics.ops.inc_by(report.ops as u64);
        self.metrics.apply_errors.inc_by(report.failed.len() as u64);
        self.metrics.last_sync.set(i64::try_from(self.progress.last).unwrap_or(i64::MAX));
        // A full map fails for every service: one line says it.
        if let Some(first) = report.failed.first() {
            let more = report.failed.len() - 1;
            tracing::error!(object = %first.object, more, "not as asked for, will be tried again: {}", first.error);
        }
        self.tell(&report.problems);
    }

    /// Compares maps and interfaces with what we remember and mends what others changed.
    pub(super) fn verify(&mut self) {
        self.log_problems();
        let unchecked = self.check_interfaces();
        self.apply_interfaces();
        self.verify_opt_outs();
        let (mended, failed) = match self.store.dump() {
            Ok(actual) => mend(&mut self.store, &self.model.verify(&actual)),
            Err(error) => (0, Some(format!("cannot compare the maps: {error}"))),
        };
        if mended > 0 {
            tracing::warn!(ops = mended, "somebody else had changed the maps; mended");
            self.metrics.repairs.inc_by(mended as u64);
        }
        self.progress.unmended = unchecked.into_iter().chain(failed).collect();
        for error in &self.progress.unmended {
            tracing::error!("{error}");
        }
    }
}

/// Writes what others changed as far as it can be written; answers how much that was and what is wrong with the rest.
fn mend(store: &mut dyn MapStore, ops: &[Op]) -> (usize, Option<String>) {
    let errors: Vec<MapError> = ops.iter().filter_map(|op| store.apply(op).err()).collect();
    let (all, failed) = (ops.len(), errors.len());
    let told = |error| format!("{failed} of {all} rows that others changed cannot be mended: {error}");
    (all - failed, errors.first().map(told))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(failed: usize, removals_due: usize) -> Report {
        let error = MapError::Kernel { map: "frontends4", what: "writing", error: "ENOMEM".into() };
        let failure = Failure { object: "Service a/b".into(), error };
        Report { failed: vec![failure; failed], removals_due, ..Report::default() }
    }

    #[test]
    fn what_failed_stays_told_until_its_retry_and_others_writes_do_not_hide_it() {
        let mut progress = Progress { queued: Some(Instant::now()), ..Progress::default() };
        progress.finish(&report(1, 0));
        assert!(progress.next() <= Instant::now() + FIRST_RETRY);
        progress.finish(&report(0, 0));
        assert_eq!(progress.failed.len(), 1);
        assert!(progress.queued.is_some());
        assert!(!progress.is_whole(), "a write of others is no news of it");
        progress.retry_at = None;
        progress.finish(&report(0, 0));
        assert!(progress.failed.is_empty() && progress.queued.is_none() && progress.is_whole());
    }

    #[test]
    fn changes_are_written_at_once_after_a_pause_and_else_when_the_least_period_is_over() {
        let mut progress = Progress::new(Duration::from_secs(5));
        assert!(!progress.put_off(Instant::now()), "the first");
        progress.finish(&Report { removals_due: 1, ..Report::default() });
        assert!(!progress.put_off(Instant::now()), "nothing was written");
        let begun = Instant::now();
        progress.finish(&Report { ops: 1, removals_due: 1, ..Report::default() });
        assert!(
            progress.next() >= begun + Duration::from_secs(5),
            "removals would write what comes meanwhile"
        );
        assert!(progress.put_off(begun + Duration::from_secs(3)));
        let due = progress.next();
        assert!(due >= begun + Duration::from_secs(5) && due < begun + Duration::from_secs(6));
        assert!(!progress.put_off(due));
        progress.finish(&Report::default());
        assert!(progress.next() > due + Duration::from_secs(60), "nothing is left to do");
    }

    #[test]
    fn retries_come_ever_later_and_removals_soon() {
        let mut progress = Progress::default();
        for _ in 0..40 {
            progress.retry_at = None;
            progress.finish(&report(1, 0));
        }
        let wait = progress.next().saturating_duration_since(Instant::now());
        assert!(wait <= LAST_RETRY && wait > LAST_RETRY / 2, "{wait:?}");
        progress.finish(&report(0, 3));
        assert!(progress.next() <= Instant::now() + REMOVALS);
    }

    #[test]
    fn a_service_that_fails_again_and_again_neither_puts_off_the_retry_of_others_nor_fills_the_list() {
        let mut progress = Progress::default();
        progress.finish(&report(1, 0));
        let due = progress.next();
        for _ in 0..100 {
            progress.finish(&report(1, 0));
        }
        assert_eq!(progress.next(), due);
        assert_eq!(progress.retries, 1, "none of these was a retry");
        assert_eq!(progress.failures().count(), 1);
    }

    #[test]
    fn a_full_map_is_told_and_tried_again_and_no_update_waits_for_it() {
        let error = MapError::Full { map: "frontends4", max: 1, key: "bpf.lbMapMax" };
        let failure = Failure { object: "Service a/big".into(), error };
        let mut progress = Progress { queued: Some(Instant::now()), ..Progress::default() };
        progress.finish(&Report { failed: vec![failure.clone()], ..Report::default() });
        assert_eq!(progress.queued, None);
        assert_eq!(progress.failures().count(), 1);
        assert!(progress.retry_at.is_some() && progress.is_whole());
        progress.queued = Some(Instant::now());
        let mut both = report(1, 0);
        both.failed.push(failure);
        progress.finish(&both);
        assert!(progress.queued.is_some(), "what the kernel refuses is another matter");
    }

    #[test]
    fn tables_that_are_due_are_built_at_once() {
        let mut progress = Progress::new(Duration::from_secs(5));
        progress.finish(&Report { ops: 1, tables_due: 3, ..Report::default() });
        assert!(progress.next() <= Instant::now());
        progress.finish(&Report::default());
        assert!(progress.next() > Instant::now() + Duration::from_secs(60));
    }

    /// Refuses backends.
    struct Half(Vec<Op>);

    impl MapStore for Half {
        fn apply(&mut self, op: &Op) -> Result<(), MapError> {
            if matches!(op, Op::DeleteBackend { .. }) {
                return Err(MapError::Kernel { map: "backends4", what: "writing", error: "EPERM".into() });
            }
            self.0.push(op.clone());
            Ok(())
        }
        fn dump(&mut self) -> Result<shunt_model::store::Actual, MapError> {
            Ok(shunt_model::store::Actual::default())
        }
        fn capacity(&self) -> shunt_model::store::Capacity {
            shunt_model::store::Capacity { backends: 1, slots: 1, frontends: 1, ranges: 1, table_units: 1 }
        }
    }

    #[test]
    fn what_can_be_mended_is_mended_though_something_before_it_fails_and_the_failure_is_told() {
        let bad = Op::DeleteBackend { family: shunt_model::store::Family::V4, id: 7 };
        let good = Op::PutPool { pool: shunt_common::Pool { offset: 0, len: 1 }, ids: vec![1] };
        let mut store = Half(Vec::new());
        let (mended, error) = mend(&mut store, &[bad.clone(), good.clone(), bad]);
        assert_eq!((mended, store.0), (1, vec![good]));
        let error = error.unwrap();
        assert!(error.contains("2 of 3 rows") && error.contains("EPERM"), "{error}");
        assert_eq!(mend(&mut Half(Vec::new()), &[]), (0, None));
    }
}
