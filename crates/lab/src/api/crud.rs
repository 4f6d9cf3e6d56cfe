//! The verbs that change objects. Each takes the lock once, so a patch cannot lose against a concurrent write.

use super::{
    admit::{self, Rules},
    alloc::Claims,
    error::{ApiError, Result},
    kinds::Kind,
    object::{Object, list, text},
    shared::Shared,
    store::Store,
    time,
};
use serde_json::{Value, json};
use std::{sync::Arc, thread, time::Duration};

/// Which object, and which part of it.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Kind.
    pub kind: Kind,
    /// Namespace; empty for cluster-wide kinds.
    pub namespace: &'a str,
    /// Name.
    pub name: &'a str,
    /// Whether only the status is written.
    pub status: bool,
}

/// What must hold for a delete, and how long a pod may take.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// The uid that the object must have.
    pub uid: Option<String>,
    /// The resource version that the object must have.
    pub version: Option<String>,
    /// Grace period in seconds, for pods.
    pub grace: Option<u64>,
}

impl Shared {
    /// Stores a new object.
    pub fn create(
        &self,
        kind: Kind,
        namespace: &str,
        mut value: Value,
        rules: Rules,
        dry: bool,
    ) -> Result<Object> {
        let store = &mut *self.store();
        admit::identify(kind, namespace, None, &mut value)?;
        self.check_namespace(store, kind, namespace, rules)?;
        admit::new_metadata(kind, &mut value)?;
        let name = text(&value, "/metadata/name").to_owned();
        if store.get(kind, namespace, &name).is_some() {
            return Err(ApiError::exists(kind, &name));
        }
        if rules == Rules::Client && matches!(kind, Kind::Service | Kind::Pod) {
            admit::remove(&mut value, "status");
        }
        if kind == Kind::Service && value.get("status").is_none() && rules != Rules::Forced {
            value["status"] = json!({"loadBalancer": {}});
        }
        self.store_admitted(store, kind, None, value, rules, dry)
    }

    /// Replaces an object, or its status.
    pub fn update(&self, target: Target<'_>, value: Value, rules: Rules, dry: bool) -> Result<Object> {
        let store = &mut *self.store();
        self.update_locked(store, target, value, rules, dry)
    }

    /// Replaces an object by what `change` makes of it.
    pub fn modify(
        &self,
        target: Target<'_>,
        dry: bool,
        rules: Rules,
        change: impl FnOnce(&mut Value) -> Result<()>,
    ) -> Result<Object> {
        let store = &mut *self.store();
        let mut value = current(store, target)?.value();
        change(&mut value)?;
        self.update_locked(store, target, value, rules, dry)
    }

    fn update_locked(
        &self,
        store: &mut Store,
        target: Target<'_>,
        mut value: Value,
        rules: Rules,
        dry: bool,
    ) -> Result<Object> {
        let Target { kind, namespace, name, status } = target;
        let old = current(store, target)?.clone();
        let had = old.value();
        admit::identify(kind, namespace, Some(name), &mut value)?;
        check_version(kind, &old, text(&value, "/metadata/resourceVersion"))?;
        let uid = text(&value, "/metadata/uid");
        if !uid.is_empty() && uid != old.meta.uid {
            return Err(ApiError::conflict(
                kind,
                name,
                "the UID in the precondition does not match the UID in record",
            ));
        }
        if status {
            let written = value.get("status").cloned().unwrap_or_else(|| json!({}));
            value = had.clone();
            value["status"] = written;
        } else if rules == Rules::Client && kind.info().status {
            match had.get("status") {
                Some(status) => value["status"] = status.clone(),
                None => admit::remove(&mut value, "status"),
            }
        }
        admit::kept_metadata(&had, &mut value);
        value["metadata"]["resourceVersion"] = had["metadata"]["resourceVersion"].clone();
        let object = self.store_admitted(store, kind, Some((&old, &had)), value, rules, dry)?;
        let finished = text(&had, "/metadata/deletionTimestamp");
        if !finished.is_empty()
            && list(&object.value(), "/metadata/finalizers").is_empty()
            && kind != Kind::Pod
            && !dry
        {
            self.erase(store, kind, namespace, name);
        }
        Ok(object)
    }

    /// The common end of create and update: rules of the kind, then the write unless nothing changed.
    fn store_admitted(
        &self,
        store: &mut Store,
        kind: Kind,
        old: Option<(&Object, &Value)>,
        mut value: Value,
        rules: Rules,
        dry: bool,
    ) -> Result<Object> {
        let saved = dry.then(|| store.alloc.clone());
        if rules == Rules::Forced {
            self.claim_forced(store, kind, old.map(|o| o.1), &value);
        } else {
            admit::admit(kind, old.map(|o| o.1), &mut value, store)?;
        }
        if let Some(alloc) = saved {
            store.alloc = alloc;
            return Ok(Object::new(kind, &value, old.map_or(0, |o| o.0.meta.version)));
        }
        if let Some((object, had)) = old {
            if *had == value {
                return Ok(object.clone());
            }
            if kind.info().generation && differs_beside_metadata(had, &value) {
                let generation = had.pointer("/metadata/generation").and_then(Value::as_u64).unwrap_or(0);
                value["metadata"]["generation"] = (generation + 1).into();
            }
        }
        let change = store.write(kind, &mut value);
        let object = change.new.clone().expect("a write leaves an object");
        self.announce(store, change);
        Ok(object)
    }

    fn claim_forced(&self, store: &mut Store, kind: Kind, old: Option<&Value>, value: &Value) {
        if kind == Kind::Service {
            let (namespace, name) = super::object::key_of(value);
            let held = old.map(Claims::of).unwrap_or_default();
            store.alloc.replace(&(namespace.into(), name.into()), &held, &Claims::of(value));
        }
    }

    /// Deletes an object, or marks it when finalizers or a pod's grace period keep it. Returns its last state and
    /// whether it is gone.
    pub fn delete(
        self: &Arc<Self>,
        target: Target<'_>,
        options: &DeleteOptions,
        dry: bool,
    ) -> Result<(Object, bool)> {
        let Target { kind, namespace, name, .. } = target;
        let store = &mut *self.store();
        let old = current(store, target)?.clone();
        if options.uid.as_ref().is_some_and(|uid| *uid != old.meta.uid) {
            return Err(ApiError::conflict(
                kind,
                name,
                "the UID in the precondition does not match the UID in record",
            ));
        }
        check_version(kind, &old, options.version.as_deref().unwrap_or_default())?;
        if dry {
            return Ok((old, true));
        }
        let mut value = old.value();
        let grace = if kind == Kind::Pod { grace_of(&value, options) } else { 0 };
        if grace == 0 && list(&value, "/metadata/finalizers").is_empty() {
            self.erase(store, kind, namespace, name);
            return Ok((old, true));
        }
        if value.pointer("/metadata/deletionTimestamp").is_none() {
            value["metadata"]["deletionTimestamp"] = time::stamp(time::now() + grace).into();
            value["metadata"]["deletionGracePeriodSeconds"] = grace.into();
            let change = store.write(kind, &mut value);
            self.announce(store, change);
            if grace > 0 {
                self.erase_later(&old, grace);
            }
        }
        Ok((current(store, target)?.clone(), false))
    }

    /// Plays the kubelet: the pod is gone when its grace period is over.
    fn erase_later(self: &Arc<Self>, pod: &Object, grace: u64) {
        let (weak, meta) = (Arc::downgrade(self), pod.meta.clone());
        thread::spawn(move || {
            thread::sleep(Duration::from_secs(grace));
            let Some(shared) = weak.upgrade() else { return };
            let (namespace, name) = &meta.key;
            let target = Target { kind: Kind::Pod, namespace, name, status: false };
            let options = DeleteOptions { uid: Some(meta.uid.clone()), version: None, grace: Some(0) };
            // Already gone, or another pod of this name: nothing to do.
            let _ = shared.delete(target, &options, false);
        });
    }

    /// Removes an object for good, with what it held and, for a namespace, what is in it.
    fn erase(&self, store: &mut Store, kind: Kind, namespace: &str, name: &str) {
        if kind == Kind::Namespace {
            for kind in Kind::ALL.into_iter().filter(|k| k.info().namespaced) {
                let names: Vec<_> = store.range(kind, name, None).map(|o| o.meta.key.1.clone()).collect();
                for inner in names {
                    self.erase(store, kind, name, &inner);
                }
            }
        }
        let Some(change) = store.remove(kind, namespace, name) else { return };
        if kind == Kind::Service
            && let Some(old) = &change.old
        {
            store.alloc.replace(&old.meta.key, &Claims::of(&old.value()), &Claims::default());
        }
        self.announce(store, change);
    }

    fn check_namespace(&self, store: &mut Store, kind: Kind, namespace: &str, rules: Rules) -> Result<()> {
        if !kind.info().namespaced || store.get(Kind::Namespace, "", namespace).is_some() {
            return Ok(());
        }
        if rules == Rules::Client {
            return Err(ApiError::not_found(Kind::Namespace, namespace));
        }
        let mut value = json!({"metadata": {"name": namespace}});
        admit::identify(Kind::Namespace, "", None, &mut value)?;
        admit::new_metadata(Kind::Namespace, &mut value)?;
        value["metadata"]["labels"] = json!({"kubernetes.io/metadata.name": namespace});
        value["status"] = json!({"phase": "Active"});
        let change = store.write(Kind::Namespace, &mut value);
        self.announce(store, change);
        Ok(())
    }
}

fn current<'a>(store: &'a Store, target: Target<'_>) -> Result<&'a Object> {
    let found = store.get(target.kind, target.namespace, target.name);
    found.ok_or_else(|| ApiError::not_found(target.kind, target.name))
}

fn check_version(kind: Kind, object: &Object, asked: &str) -> Result<()> {
    if asked.is_empty() || asked == object.meta.version.to_string() {
        return Ok(());
    }
    let why = "the object has been modified; please apply your changes to the latest version and try again";
    Err(ApiError::conflict(kind, &object.meta.key.1, why))
}

/// A pod without an explicit grace period goes at once: there is no kubelet to wait for, unless the lab plays one.
fn grace_of(pod: &Value, options: &DeleteOptions) -> u64 {
    let own = pod.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_u64);
    options.grace.or(own).unwrap_or(0)
}

fn differs_beside_metadata(old: &Value, new: &Value) -> bool {
    let without = |v: &Value| {
        let mut v = v.clone();
        admit::remove(&mut v, "metadata");
        v
    };
    without(old) != without(new)
}
