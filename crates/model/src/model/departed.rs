//! Backends that stopped serving: what datagrams and sockets that follow them are told by.

use super::Report;
use crate::ledger::Ledger;
use crate::store::{BackendRow, Family, FrontendRef, Op};
use shunt_common::{BackendState, Frontend};
use std::collections::BTreeSet;

/// A backend that no longer serves a service port, or none at all. Where it led is told here, since its id may soon be
/// another's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Departed {
    /// The service id of the port; `None` when the backend is gone, or serves nobody any more.
    pub service: Option<u32>,
    /// Its id.
    pub id: u32,
    /// Its last row.
    pub backend: BackendRow,
}

/// The backends that the rows under `keys` lead to for a service port, before or after its pools are switched, and those
/// that it keeps beside its pools: they serve the flows that they have.
pub(super) fn members(
    ledger: &Ledger,
    service: u32,
    family: Family,
    keys: impl Iterator<Item = FrontendRef>,
) -> BTreeSet<u32> {
    // A key may come from another service, whose pool it still names.
    let rows = keys.filter_map(|key| ledger.frontend(&key)).filter(|row| row.service == service);
    let mut members = pooled(ledger, family, rows.copied());
    members.extend(ledger.kept(service, family));
    members
}

/// The backends in the pools of rows.
fn pooled(ledger: &Ledger, family: Family, rows: impl Iterator<Item = Frontend>) -> BTreeSet<u32> {
    // Rows of a port share their ranges: each is read once.
    let pools: BTreeSet<_> = rows.flat_map(|row| row.pools).filter(|pool| pool.len > 0).collect();
    pools.into_iter().flat_map(|pool| ledger.pool(family, pool)).copied().collect()
}

impl Report {
    /// Notes which members a service port has lost.
    pub(super) fn lost(
        &mut self,
        ledger: &Ledger,
        service: u32,
        family: Family,
        before: &BTreeSet<u32>,
        after: &BTreeSet<u32>,
    ) {
        let gone = before.difference(after).filter_map(|id| {
            let backend = ledger.backend(family, *id)?;
            Some(Departed { service: Some(service), id: *id, backend })
        });
        self.departed.extend(gone);
    }

    /// Notes the backends that an op, which has been applied but not committed, removes or takes out of service, and those of a
    /// service port whose last row that leads to them it takes away.
    pub(super) fn applied(&mut self, ledger: &Ledger, op: &Op) {
        let (family, id) = match op {
            Op::DeleteFrontend { key } => return self.abandoned(ledger, key, None),
            Op::PutFrontend { key, row } => return self.abandoned(ledger, key, Some(row)),
            Op::DeleteBackend { family, id } => (*family, *id),
            Op::PutBackend { id, row } if row.state() == Some(BackendState::TerminatingNotServing) => {
                (row.family(), *id)
            }
            _ => return,
        };
        let serves = |row: &BackendRow| row.state() != Some(BackendState::TerminatingNotServing);
        if let Some(backend) = ledger.backend(family, id).filter(serves) {
            self.departed.push(Departed { service: None, id, backend });
        }
    }

    /// Notes the members of a service port that loses the last row that leads to them, be it to another port, except those that
    /// the latter has too.
    fn abandoned(&mut self, ledger: &Ledger, key: &FrontendRef, new: Option<&Frontend>) {
        let family = key.family();
        let Some(old) = ledger.frontend(key) else { return };
        if new.is_some_and(|new| new.service == old.service) {
            return;
        }
        let before = pooled(ledger, family, [*old].into_iter());
        if before.is_empty() || ledger.leading_rows(old.service, family) > 1 {
            return;
        }
        let after = pooled(ledger, family, new.copied().into_iter());
        self.lost(ledger, old.service, family, &before, &after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Capacity;
    use shunt_common::Proto;

    #[test]
    fn a_backend_departs_once_when_it_stops_serving_and_not_again_when_its_row_goes() {
        let mut ledger =
            Ledger::new(Capacity { backends: 8, slots: 8, frontends: 8, ranges: 8, table_units: 1 << 20 });
        let row = |state| BackendRow::new([10, 0, 0, 1].into(), 53, Proto::Udp, state, 0);
        let put = |state| Op::PutBackend { id: 1, row: row(state) };
        let delete = Op::DeleteBackend { family: Family::V4, id: 1 };
        let mut departs = |op: Op| {
            let mut report = Report::default();
            report.applied(&ledger, &op);
            ledger.commit(&op);
            report.departed
        };
        assert_eq!(departs(put(BackendState::Active)), []);
        assert_eq!(departs(put(BackendState::Terminating)), [], "it still serves those it has");
        let gone = Departed { service: None, id: 1, backend: row(BackendState::Terminating) };
        assert_eq!(departs(put(BackendState::TerminatingNotServing)), [gone]);
        assert_eq!(departs(delete), []);
    }
}
