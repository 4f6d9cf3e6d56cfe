//! Who has a frontend when several services ask for it.

use crate::snapshot::ServiceName;
use crate::store::FrontendRef;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A service that asks for a frontend. The least of all claimants keeps it: the oldest, then the first by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claimant {
    /// `metadata.creationTimestamp`; a service without one counts as youngest.
    pub created: Option<Arc<str>>,
    /// `namespace/name`.
    pub name: ServiceName,
}

impl Ord for Claimant {
    fn cmp(&self, other: &Self) -> Ordering {
        let ageless = self.created.is_none().cmp(&other.created.is_none());
        ageless.then_with(|| self.created.cmp(&other.created)).then_with(|| self.name.cmp(&other.name))
    }
}

impl PartialOrd for Claimant {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The claims of all services. Trees, since they have no spare room to speak of.
#[derive(Default, Debug)]
pub struct Claims {
    holders: BTreeMap<FrontendRef, Arc<Claimant>>,
    /// The others of frontends that several ask for, in no order; never empty.
    waiting: BTreeMap<FrontendRef, Vec<Arc<Claimant>>>,
}

impl Claims {
    /// The service that has a frontend.
    #[must_use]
    pub fn holder(&self, key: &FrontendRef) -> Option<&ServiceName> {
        self.holders.get(key).map(|holder| &holder.name)
    }

    /// Adds a claim. Returns the services whose frontends or problems this changes.
    pub fn add(&mut self, key: FrontendRef, who: &Arc<Claimant>) -> Vec<ServiceName> {
        let Some(holder) = self.holders.get_mut(&key) else {
            self.holders.insert(key, who.clone());
            return Vec::new();
        };
        let waiting = self.waiting.entry(key).or_default();
        if who > holder {
            waiting.push(who.clone());
            return Vec::new();
        }
        waiting.push(std::mem::replace(holder, who.clone()));
        names(waiting)
    }

    /// Takes a claim back. Returns the services whose frontends or problems this changes, or `None` when nobody asks
    /// for the frontend any more.
    pub fn remove(&mut self, key: &FrontendRef, name: &ServiceName) -> Option<Vec<ServiceName>> {
        let holder = self.holders.get_mut(key)?;
        let Some(waiting) = self.waiting.get_mut(key) else {
            if holder.name != *name {
                return Some(Vec::new());
            }
            self.holders.remove(key);
            return None;
        };
        let affected = if holder.name == *name {
            let mut all = names(waiting);
            all.retain(|n| n != name);
            let next = (0..waiting.len()).min_by_key(|i| &waiting[*i]).expect("somebody waits");
            *holder = waiting.swap_remove(next);
            all
        } else {
            waiting.retain(|w| w.name != *name);
            Vec::new()
        };
        if waiting.is_empty() {
            self.waiting.remove(key);
        }
        Some(affected)
    }
}

fn names(claimants: &[Arc<Claimant>]) -> Vec<ServiceName> {
    claimants.iter().map(|c| c.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::{Claimant, Claims};
    use crate::store::FrontendRef;
    use shunt_common::Proto;
    use std::sync::Arc;

    fn who(created: Option<&str>, name: &str) -> Arc<Claimant> {
        Arc::new(Claimant { created: created.map(Into::into), name: name.into() })
    }

    #[test]
    fn the_oldest_has_it_and_the_next_oldest_inherits() {
        let key = FrontendRef::new("10.0.0.1".parse().unwrap(), 80, Proto::Tcp);
        let mut claims = Claims::default();
        let [young, old, ageless] = [
            who(Some("2026-02-01T00:00:00Z"), "a/y"),
            who(Some("2025-02-01T00:00:00Z"), "z/o"),
            who(None, "a/a"),
        ];
        assert!(claims.add(key, &ageless).is_empty());
        assert_eq!(claims.add(key, &young), std::slice::from_ref(&ageless.name));
        assert_eq!(claims.add(key, &old).len(), 2);
        assert_eq!(claims.holder(&key), Some(&old.name));
        assert_eq!(claims.remove(&key, &old.name).map(|a| a.len()), Some(2));
        assert_eq!(claims.holder(&key), Some(&young.name));
        assert_eq!(claims.remove(&key, &ageless.name), Some(vec![]));
        assert_eq!(claims.remove(&key, &young.name), None);
        assert_eq!(claims.holder(&key), None);
    }
}
