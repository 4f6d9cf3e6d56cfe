//! What is removed when everything that is wanted has been written: frontends, then what only they led to.

use super::{Failure, Model, Report};
use crate::store::{FrontendRef, MapStore, Op, RangeRef};

impl Model {
    /// Removes frontends that nobody asks for.
    pub(super) fn remove_orphans(&mut self, store: &mut dyn MapStore, report: &mut Report) {
        for key in std::mem::take(&mut self.orphans) {
            if self.ledger.frontend(&key).is_none() {
                continue;
            }
            if let Err(error) = self.apply(store, &Op::DeleteFrontend { key }, report) {
                self.stuck.insert(key);
                report.failed.push(Failure { object: frontend_name(&key), error });
            }
        }
    }

    /// Removes source ranges that count no more, once no frontend can be left that they counted for. So, while ranges
    /// change, a client that may enter before and after may enter, and one that may not before nor after may not.
    pub(super) fn remove_loose(&mut self, store: &mut dyn MapStore, report: &mut Report) {
        for ((service, family), count) in std::mem::take(&mut self.loose) {
            // A row may have outlived its service: its removal, or its new owner's write, has failed.
            let seen = self.ledger.services().is_limited(service, family);
            if seen && (count.is_none() || !self.stuck.is_empty()) {
                self.loose.insert((service, family), count);
                continue;
            }
            let surplus: Vec<_> = self
                .ledger
                .sources(service, family)
                .filter(|net| count.as_ref().is_none_or(|c| !c.contains(net)))
                .collect();
            for net in surplus {
                if let Err(error) = self.apply(store, &Op::DeleteRange(RangeRef { service, net }), report) {
                    report.failed.push(Failure { object: format!("source range {net}"), error });
                    self.loose.insert((service, family), count.clone());
                }
            }
        }
    }

    /// Removes backends that had become unused in an earlier reconcile; answers how many could not be.
    pub(super) fn remove_idle(&mut self, store: &mut dyn MapStore, report: &mut Report) -> usize {
        let mut failed = 0;
        for op in self.ledger.removals() {
            if let Err(error) = self.apply(store, &op, report) {
                failed += 1;
                report.failed.push(Failure { object: "unused backend".into(), error });
            }
        }
        failed
    }
}

fn frontend_name(key: &FrontendRef) -> String {
    format!("frontend {}", crate::dump::address(key.addr(), key.port(), key.proto()))
}
