//! The API without HTTP: what the lab, tests and benchmarks write with, and the faults.

use super::{
    admit::Rules,
    crud::{DeleteOptions, Target},
    error::{ApiError, Result},
    kinds::Kind,
    object::{key_of, text},
    patch::{self, PatchType},
    selectors::Selector,
    shared::Shared,
};
use serde_json::Value;
use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

/// A cheap, cloneable handle on an API.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Creates or replaces an object, its status included; a missing namespace is made. Returns the resource version.
    ///
    /// # Errors
    /// As a client would get them.
    pub fn put(&self, value: Value) -> Result<u64> {
        self.put_by(value, Rules::Inside)
    }

    /// Like [`Handle::put`] without rules or defaults: duplicate node ports and addresses, missing and misshapen fields.
    ///
    /// # Errors
    /// When kind or name are missing.
    pub fn force_put(&self, value: Value) -> Result<u64> {
        self.put_by(value, Rules::Forced)
    }

    fn put_by(&self, value: Value, rules: Rules) -> Result<u64> {
        let kind = kind_of(&value)?;
        let (namespace, name) = key_of(&value);
        let (namespace, name) = (default_namespace(kind, namespace).to_owned(), name.to_owned());
        match self.shared.create(kind, &namespace, value.clone(), rules, false) {
            Err(e) if e.reason == "AlreadyExists" => {
                let target = Target { kind, namespace: &namespace, name: &name, status: false };
                Ok(self.shared.update(target, value, rules, false)?.meta.version)
            }
            created => Ok(created?.meta.version),
        }
    }

    /// One object.
    pub fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<Value> {
        self.shared.store().get(kind, namespace, name).map(super::object::Object::value)
    }

    /// The objects of one namespace, or of all when it is empty, that a label selector matches.
    ///
    /// # Errors
    /// 400 when the selector does not parse.
    pub fn list(&self, kind: Kind, namespace: &str, labels: &str) -> Result<Vec<Value>> {
        let selector = Selector::parse(kind, labels, "")?;
        let objects: Vec<_> = {
            let store = self.shared.store();
            store.range(kind, namespace, None).filter(|o| selector.matches(&o.meta)).cloned().collect()
        };
        Ok(objects.iter().map(super::object::Object::value).collect())
    }

    /// How many objects of a kind there are.
    pub fn count(&self, kind: Kind) -> usize {
        self.shared.store().count(kind)
    }

    /// Patches an object, its status included.
    ///
    /// # Errors
    /// As a client would get them.
    pub fn patch(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        how: PatchType,
        patch: &Value,
    ) -> Result<u64> {
        let target = Target { kind, namespace, name, status: false };
        let change = |value: &mut Value| patch::apply(kind, how, patch, value);
        Ok(self.shared.modify(target, false, Rules::Inside, change)?.meta.version)
    }

    /// Deletes an object at once (a pod with a grace period: after it).
    ///
    /// # Errors
    /// 404 when it is not there.
    pub fn delete(&self, kind: Kind, namespace: &str, name: &str) -> Result<()> {
        let target = Target { kind, namespace, name, status: false };
        self.shared.delete(target, &DeleteOptions::default(), false).map(drop)
    }

    /// The newest resource version.
    pub fn version(&self) -> u64 {
        self.shared.store().version()
    }

    /// How many lists clients have asked for over HTTP, pages and tries that failed included.
    pub fn lists(&self) -> u64 {
        self.shared.lists.load(Ordering::Relaxed)
    }

    /// Waits until the controllers have dealt with every change so far. Says whether they did within `limit`.
    pub fn settle(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while !self.shared.is_settled() {
            if Instant::now() > end {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Fault: stops listening (connection refused) and cuts every connection.
    pub fn stop(&self) {
        self.shared.faults.send_modify(|f| {
            f.stopped = true;
            f.cut += 1;
        });
    }

    /// Ends [`Handle::stop`].
    pub fn resume(&self) {
        self.shared.faults.send_modify(|f| f.stopped = false);
    }

    /// Fault: cuts every connection once.
    pub fn cut(&self) {
        self.shared.faults.send_modify(|f| f.cut += 1);
    }

    /// Fault: forgets the past of every kind, so that every watch and every resume ends in 410.
    pub fn expire(&self) {
        let version = {
            let mut store = self.shared.store();
            store.compact();
            store.version()
        };
        self.shared.wake(version);
    }

    /// Fault: ends every watch without an error.
    pub fn drop_watches(&self) {
        self.shared.faults.send_modify(|f| f.drop_watches += 1);
    }

    /// Fault: nobody may list or watch these kinds, as without RBAC rules for them; none ends it.
    pub fn forbid(&self, kinds: &[Kind]) {
        self.shared.faults.send_modify(|f| {
            f.forbidden = kinds.to_vec();
            f.drop_watches += 1;
        });
    }

    /// Fault: every answer and every batch of watch events waits this long; zero ends it.
    pub fn slow(&self, delay: Duration) {
        self.shared.faults.send_modify(|f| f.delay = delay);
    }
}

fn kind_of(value: &Value) -> Result<Kind> {
    let (version, kind) = (text(value, "/apiVersion"), text(value, "/kind"));
    let unknown =
        || ApiError::bad_request(format!("no such kind here: apiVersion {version:?}, kind {kind:?}"));
    Kind::by_type(version, kind).ok_or_else(unknown)
}

fn default_namespace(kind: Kind, namespace: &str) -> &str {
    if kind.info().namespaced && namespace.is_empty() { "default" } else { namespace }
}
