//! From stale services to held frontends: who asks for what, and who gets it.

use super::Model;
use crate::Problem;
use crate::claims::Claimant;
use crate::lower::{Env, Wanted, wanted};
use crate::snapshot::{ServiceName, Spec, whose};
use shunt_common::{FrontendKind, Proto};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Model {
    /// Brings the claims of every stale service up to date; each one, and each one it takes from or gives to, is
    /// dirty then.
    pub(super) fn resolve(&mut self) {
        for name in std::mem::take(&mut self.stale) {
            self.reclaim(&name);
            self.dirty.insert(name);
        }
    }

    fn reclaim(&mut self, name: &ServiceName) {
        let Some(entry) = self.services.get(name) else { return };
        let (new, problems) = match &entry.spec {
            Some(spec) => wanted(name, spec, &self.env()),
            None => Default::default(),
        };
        let created = entry.spec.as_ref().and_then(|s| s.created.clone());
        let who = Claimant { created, name: name.clone() };
        let Some(entry) = self.services.get_mut(name) else { return };
        entry.problems = problems.into();
        let old = std::mem::replace(&mut entry.wanted, new.clone().into());
        let before = entry.claimed_as.take();
        let aged = before.as_ref().is_some_and(|before| **before != who);
        let who = before.filter(|_| !aged).unwrap_or_else(|| Arc::new(who));
        entry.claimed_as = Some(who.clone());

        let keeps: BTreeSet<_> = if aged { BTreeSet::new() } else { new.iter().map(|w| w.key).collect() };
        for gone in old.iter().filter(|w| !keeps.contains(&w.key)) {
            match self.claims.remove(&gone.key, name) {
                Some(affected) => self.dirty.extend(affected),
                None => _ = self.orphans.insert(gone.key),
            }
        }
        let had: BTreeSet<_> = if aged { BTreeSet::new() } else { old.iter().map(|w| w.key).collect() };
        for added in new.iter().filter(|w| !had.contains(&w.key)) {
            self.dirty.extend(self.claims.add(added.key, &who));
            self.orphans.remove(&added.key);
            self.stuck.remove(&added.key);
        }
    }

    pub(super) fn env(&self) -> Env<'_> {
        Env {
            options: &self.options,
            node: &self.node,
            node_ports: self.node_port_addresses(),
            node_port_loopback: self.node_port_loopback,
            addresses: &self.addresses,
        }
    }

    /// The frontends that a service has, and a problem for each port that another service keeps from it.
    pub(super) fn held(&self, name: &ServiceName) -> (Vec<Wanted>, Vec<Problem>) {
        let Some(entry) = self.services.get(name) else { return Default::default() };
        let (mut held, mut lost) = (Vec::with_capacity(entry.wanted.len()), Vec::new());
        for want in &entry.wanted {
            match self.claims.holder(&want.key) {
                Some(holder) if holder != name && want.is_wildcard() => {}
                Some(holder) if holder != name => {
                    let problem = conflict(name, entry.spec.as_deref(), want, holder);
                    if !lost.contains(&problem) {
                        lost.push(problem);
                    }
                }
                _ => held.push(*want),
            }
        }
        (held, lost)
    }
}

fn conflict(name: &str, spec: Option<&Spec>, want: &Wanted, holder: &str) -> Problem {
    let proto = Proto::from_number(want.key.proto()).map_or("?", Proto::name);
    let port = spec.and_then(|s| s.ports.get(usize::from(want.port))).map_or("", |p| &p.name);
    let what = match want.kind {
        // One line for a port, not one for each node address.
        FrontendKind::NodePort => format!("nodePort {}/{proto}", want.key.port()),
        _ => format!("{} {}:{}/{proto}", want.kind.name(), want.key.addr(), want.key.port()),
    };
    let what = format!("port {port:?}: {what} belongs to {holder}");
    let (kind, name) = whose(name);
    Problem::new(kind, name, what, "give one of the two another; the older keeps it, else the first by name")
}
