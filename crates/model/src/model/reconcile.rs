//! Brings the maps to what the services ask for, at a cost in proportion to what changed.

use super::Model;
use super::departed::{Departed, members};
use crate::Problem;
use crate::diff::diff;
use crate::ledger::{Entries, PlaceError};
use crate::lower::{Group, Here, health_check_address, lower};
use crate::objects::Kind;
use crate::snapshot::{ServiceName, whose};
use crate::store::{Family, MapError, MapStore, Op};
use ipnet::IpNet;
use shunt_common::{Frontend, FrontendKind};
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

/// What one reconcile did and left to do.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Report {
    /// Kinds without a complete first list: nothing was written for want of them.
    pub waiting: Vec<Kind>,
    /// Services that were looked at.
    pub services: usize,
    /// Ops that were applied.
    pub ops: usize,
    /// What failed this time.
    pub failed: Vec<Failure>,
    /// Services and removals whose last write failed, now or earlier. While this is not zero the maps are not what
    /// they should be: call [`Model::retry_pending`] after a backoff, then reconcile.
    pub retries_due: usize,
    /// Services whose Maglev tables were not built, since enough others were: call reconcile again at once. Those that had
    /// none are balanced at random meanwhile; those that had some keep their rows as they were.
    pub tables_due: usize,
    /// All problems of the services that were looked at, for the log.
    pub problems: Vec<Problem>,
    /// Backends that no pool names any more. Programs may be reading them still, so the next reconcile removes them:
    /// call it within some milliseconds even when no event comes.
    pub removals_due: usize,
    /// Backends that service ports lost, or that are gone: UDP flows and sockets that follow them must end. The frontends
    /// that led there have been switched.
    pub departed: Vec<Departed>,
}

/// An op that failed, and whose it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// `Service namespace/name`, or what else was being written.
    pub object: String,
    /// Why.
    pub error: MapError,
}

impl Model {
    /// Applies what the dirty services ask for.
    ///
    /// For each of their ports: backends, pool, frontends, each after the one it leads to, up to the first op that
    /// fails. Until its frontend's row is switched, a port keeps its old pool whole. Then frontends nobody asks for
    /// are removed, and at last backends that had become unused in an earlier reconcile.
    pub fn reconcile(&mut self, store: &mut dyn MapStore) -> Report {
        let mut report = Report { waiting: self.waiting(), ..Report::default() };
        if !report.waiting.is_empty() {
            return report;
        }
        self.ledger.begin();
        self.resolve();
        self.sweep();
        for name in std::mem::take(&mut self.dirty) {
            self.reconcile_service(&name, store, &mut report);
        }
        self.build_due(store, &mut report);
        report.tables_due = self.tables_due.len();
        let failed_cidrs = self.reconcile_service_cidrs(store, &mut report);
        self.remove_orphans(store, &mut report);
        self.remove_loose(store, &mut report);
        let failed_removals = self.remove_idle(store, &mut report);
        report.removals_due = self.ledger.idle_backends() - failed_removals;
        report.retries_due =
            self.failed.len() + self.stuck.len() + self.loose.len() + failed_removals + failed_cidrs;
        report
    }

    /// Builds tables that are due, as many as there may be now.
    fn build_due(&mut self, store: &mut dyn MapStore, report: &mut Report) {
        let mut last: Option<ServiceName> = None;
        while self.ledger.may_build() {
            // One that is due again, for another of its ports, is not looked at twice.
            let from = last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let Some(name) =
                self.tables_due.range::<ServiceName, _>((from, Bound::Unbounded)).next().cloned()
            else {
                return;
            };
            self.reconcile_service(&name, store, report);
            last = Some(name);
        }
    }

    /// Makes everything that failed dirty again. Removals of unused backends are tried again by every reconcile.
    pub fn retry_pending(&mut self) {
        self.dirty.append(&mut self.failed);
        self.orphans.append(&mut self.stuck);
    }

    /// Whether a reconcile would do anything.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.stale.is_empty()
            || !self.dirty.is_empty()
            || !self.tables_due.is_empty()
            || !self.orphans.is_empty()
            || !self.loose.is_empty()
            || (self.is_synced() && !self.swept)
            || self.ledger.idle_backends() > 0
            || self.service_cidrs_due().is_some()
    }

    /// The ServiceCIDRs that the maps should hold and do not.
    fn service_cidrs_due(&self) -> Option<&BTreeSet<IpNet>> {
        self.service_cidrs.wanted().filter(|nets| *nets != self.ledger.service_cidrs())
    }

    /// Returns how many writes failed. They are tried again by every reconcile.
    fn reconcile_service_cidrs(&mut self, store: &mut dyn MapStore, report: &mut Report) -> usize {
        let Some(nets) = self.service_cidrs_due().cloned() else { return 0 };
        let Err(error) = self.apply(store, &Op::PutServiceCidrs(nets), report) else { return 0 };
        report.failed.push(Failure { object: "ServiceCIDRs".into(), error });
        1
    }

    /// Once, when all has been listed: rows that were read back and that nobody asks for are orphans.
    fn sweep(&mut self) {
        if !std::mem::replace(&mut self.swept, true) {
            let without_pods = self.rounds[Kind::Pod as usize].without;
            let kept = |row: &Frontend| without_pods && row.kind == FrontendKind::HostPort as u8;
            let keys = self.ledger.frontends().filter(|(_, row)| !kept(row)).map(|(key, _)| *key);
            self.orphans.extend(keys.filter(|key| self.claims.holder(key).is_none()));
        }
    }

    fn reconcile_service(&mut self, name: &ServiceName, store: &mut dyn MapStore, report: &mut Report) {
        report.services += 1;
        self.failed.remove(name);
        self.tables_due.remove(name);
        self.update_health_check(name);
        let groups = self.lower_service(name);
        self.no_local.set(name, &groups);
        let mut failed = Vec::new();
        for group in &groups {
            if let Err(error) = self.reconcile_group(name, group, store, report) {
                failed.extend(group.frontends.iter().map(|f| (f.key, error.to_string())));
                let (kind, name) = whose(name);
                report.failed.push(Failure { object: format!("{} {name}", kind.name()), error });
            }
        }
        if !failed.is_empty() {
            self.failed.insert(name.clone());
        }
        let Some(entry) = self.services.get_mut(name) else { return };
        entry.failed = failed.into();
        report.problems.extend(entry.problems().cloned());
        if entry.is_empty() {
            self.services.remove(name);
        }
    }

    /// Lowers a service, notes its conflicts and lets go of the ids of ports it has no more.
    fn lower_service(&mut self, name: &ServiceName) -> Vec<Group> {
        let (held, lost) = self.held(name);
        let health_checks = Family::ALL.map(|family| health_check_address(&self.env(), family));
        let Some(entry) = self.services.get_mut(name) else { return Vec::new() };
        entry.conflicts = lost.into();
        let slices = entry.slices.iter();
        let here = Here {
            node: &self.node,
            zone: self.words.known_zone(self.node.zone.as_deref()),
            topology: self.options.service_topology,
            algorithm: u8::from(self.options.maglev),
            health_checks,
            mode: self.options.mode,
        };
        let groups = match &entry.spec {
            Some(spec) => lower(name, spec, slices, &here, &held),
            None => Vec::new(),
        };
        if let Some(why) = groups.iter().find_map(|g| g.not_direct) {
            let (object, name) = whose(name);
            let what = format!("forwarding mode dsr: {why}; it is served by SNAT");
            let problem = Problem::new(object, name, what, "annotate it with shunt.io/forwarding-mode: snat");
            entry.conflicts = entry.conflicts.iter().cloned().chain([problem]).collect();
        }
        let ports = entry.spec.as_ref().map(|s| &s.ports);
        let used: BTreeSet<&str> =
            ports.map(|p| groups.iter().map(|g| &*p[g.port].name).collect()).unwrap_or_default();
        let batch = self.ledger.batch();
        let ledger = &mut self.ledger;
        for (port, id) in &entry.ids {
            let alive = |family| {
                let mut of_family = groups.iter().filter(|g| g.family == family);
                ports.is_some_and(|p| of_family.any(|g| p[g.port].name == *port))
            };
            for family in Family::ALL.into_iter().filter(|f| !alive(*f)) {
                ledger.keep(*id, family, &[]);
                if ledger.sources(*id, family).next().is_some() {
                    self.loose.insert((*id, family), None);
                }
            }
        }
        let (kept, gone) =
            std::mem::take(&mut entry.ids).into_iter().partition(|(port, _)| used.contains(&**port));
        entry.ids = Vec::into(kept);
        let gone: Vec<(Arc<str>, u32)> = gone;
        gone.iter().for_each(|(_, id)| ledger.services().disown(*id, batch));
        groups
    }

    fn reconcile_group(
        &mut self,
        name: &ServiceName,
        group: &Group,
        store: &mut dyn MapStore,
        report: &mut Report,
    ) -> Result<(), MapError> {
        let service = self.service_id(name, group)?;
        self.loose.remove(&(service, group.family));
        let keys = || group.frontends.iter().map(|front| front.key);
        let before = members(&self.ledger, service, group.family, keys());
        let mut entries = match self.ledger.place(service, group) {
            Ok(entries) => entries,
            Err(PlaceError::Map(error)) => return Err(error),
            Err(PlaceError::Later) => {
                self.tables_due.insert(name.clone());
                return Ok(());
            }
        };
        let mut result = self.write(group, &entries, store, report);
        if let Err(why @ MapError::NoTable { .. }) = result {
            entries = self.ledger.place_at_random(service, group, why)?;
            result = self.write(group, &entries, store, report);
        }
        if entries.table_due {
            self.tables_due.insert(name.clone());
        }
        let mut kept = entries.kept;
        if result.is_err() {
            // What the old rows kept is kept until the new ones stand.
            kept.extend(self.ledger.kept(service, group.family));
            kept.sort_unstable();
            kept.dedup();
        }
        self.ledger.keep(service, group.family, &kept);
        let after = members(&self.ledger, service, group.family, keys());
        report.lost(&self.ledger, service, group.family, &before, &after);
        let surplus = |net| !entries.ranges.contains(&net);
        if result.is_ok() && self.ledger.sources(service, group.family).any(surplus) {
            let count = Some(entries.ranges).filter(|_| group.is_limited());
            self.loose.insert((service, group.family), count);
        }
        // Served, but not as asked for: tried again later, when there may be room.
        result.and(entries.no_table.map_or(Ok(()), Err))
    }

    /// Applies what a group asks for, up to the first op that fails, and gives its ranges back.
    fn write(
        &mut self,
        group: &Group,
        entries: &Entries,
        store: &mut dyn MapStore,
        report: &mut Report,
    ) -> Result<(), MapError> {
        let ops = diff(&self.ledger, group.family, entries);
        let result = ops.iter().try_for_each(|op| self.apply(store, op, report));
        entries.pools.iter().for_each(|(pool, _)| self.ledger.release(*pool));
        result
    }

    /// Applies an op and notes it.
    pub(super) fn apply(
        &mut self,
        store: &mut dyn MapStore,
        op: &Op,
        report: &mut Report,
    ) -> Result<(), MapError> {
        store.apply(op)?;
        report.ops += 1;
        report.applied(&self.ledger, op);
        self.ledger.commit(op);
        Ok(())
    }
}
