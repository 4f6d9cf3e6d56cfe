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

#[derive(Debug)]
struct Claim {
    holder: Claimant,
    /// The others, in no order; nearly always none.
    waiting: Vec<Claimant>,
}

/// The claims of all services. A tree, since it has no spare room to speak of.
#[derive(Default, Debug)]
pub struct Claims(BTreeMap<FrontendRef, Claim>);

impl Claims {
    /// The service that has a frontend.
    #[must_use]
    pub fn holder(&self, key: &FrontendRef) -> Option<&ServiceName> {
        self.0.get(key).map(|c| &c.holder.name)
    }

    /// Adds a claim. Returns the services whose frontends or problems this changes.
    pub fn add(&mut self, key: FrontendRef, who: &Claimant) -> Vec<ServiceName> {
        let Some(claim) = self.0.get_mut(&key) else {
            self.0.insert(key, Claim { holder: who.clone(), waiting: Vec::new() });
            return Vec::new();
        };
        if *who > claim.holder {
            claim.waiting.push(who.clone());
            return Vec::new();
        }
        let loser = std::mem::replace(&mut claim.holder, who.clone());
        claim.waiting.push(loser);
        claim.waiting()
    }

    /// Takes a claim back. Returns the services whose frontends or problems this changes, or `None` when nobody asks
    /// for the frontend any more.
    pub fn remove(&mut self, key: &FrontendRef, name: &ServiceName) -> Option<Vec<ServiceName>> {
        let claim = self.0.get_mut(key)?;
        if claim.holder.name != *name {
            claim.waiting.retain(|w| w.name != *name);
            return Some(Vec::new());
        }
        let Some(next) = (0..claim.waiting.len()).min_by_key(|i| &claim.waiting[*i]) else {
            self.0.remove(key);
            return None;
        };
        let mut affected = claim.waiting();
        claim.holder = claim.waiting.swap_remove(next);
        affected.retain(|n| n != name);
        Some(affected)
    }
}

impl Claim {
    fn waiting(&self) -> Vec<ServiceName> {
        self.waiting.iter().map(|w| w.name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Claimant, Claims};
    use crate::store::FrontendRef;
    use shunt_common::Proto;

    fn who(created: Option<&str>, name: &str) -> Claimant {
        Claimant { created: created.map(Into::into), name: name.into() }
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
