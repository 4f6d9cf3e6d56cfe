//! Every object of the API, the past of every kind, and the one counter of resource versions.

use super::{
    alloc::Alloc,
    history::{Event, History, What, Window},
    kinds::Kind,
    object::{Key, Object},
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::Bound;

/// One change, as the controllers see it.
#[derive(Debug, Clone)]
pub struct Change {
    /// Kind of the object.
    pub kind: Kind,
    /// The object before.
    pub old: Option<Object>,
    /// The object now; `None` when it is gone.
    pub new: Option<Object>,
}

#[derive(Debug, Default)]
struct Table {
    objects: BTreeMap<Key, Object>,
    history: History,
}

/// The state behind the API's lock.
#[derive(Debug)]
pub struct Store {
    tables: [Table; Kind::ALL.len()],
    version: u64,
    window: Window,
    /// ClusterIPs and node ports in use.
    pub alloc: Alloc,
}

impl Store {
    /// An empty store.
    pub fn new(alloc: Alloc, window: Window) -> Self {
        Self { tables: Default::default(), version: 1, window, alloc }
    }

    /// The newest resource version.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// How many objects of a kind there are.
    pub fn count(&self, kind: Kind) -> usize {
        self.tables[kind as usize].objects.len()
    }

    /// One object.
    pub fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Object> {
        self.tables[kind as usize].objects.get(&(namespace.into(), name.into()))
    }

    /// The objects of a kind in key order, of one namespace or (when empty) of all, after the key `after`.
    pub fn range<'a>(
        &'a self,
        kind: Kind,
        namespace: &'a str,
        after: Option<Key>,
    ) -> impl Iterator<Item = &'a Object> + 'a {
        let start = match after {
            Some(key) => Bound::Excluded(key),
            None => Bound::Included((namespace.into(), "".into())),
        };
        let objects = self.tables[kind as usize].objects.range((start, Bound::Unbounded));
        objects.map(|(_, o)| o).take_while(move |o| namespace.is_empty() || &*o.meta.key.0 == namespace)
    }

    /// The changes of a kind after `version`; see [`History::since`].
    pub fn since(&self, kind: Kind, version: u64, limit: usize) -> Option<Vec<Event>> {
        self.tables[kind as usize].history.since(version, limit)
    }

    /// Whether a reader of `kind` at `version` has lost changes.
    pub fn lost(&self, kind: Kind, version: u64) -> bool {
        self.tables[kind as usize].history.lost(version)
    }

    /// Forgets the past of every kind: readers at an older version get 410.
    pub fn compact(&mut self) {
        // A version of its own, so that even a reader who is up to date is too old.
        self.version += 1;
        for table in &mut self.tables {
            table.history.compact(self.version);
        }
    }

    /// Stores `value` under the next version, which is written into it.
    pub fn write(&mut self, kind: Kind, value: &mut Value) -> Change {
        let object = self.stamp(kind, value);
        let table = &mut self.tables[kind as usize];
        let old = table.objects.insert(object.meta.key.clone(), object.clone());
        let what = if old.is_some() { What::Modified } else { What::Added };
        let before = old.as_ref().map(|o| o.meta.clone());
        table
            .history
            .push(Event { version: self.version, what, object: object.clone(), before }, self.window);
        Change { kind, old, new: Some(object) }
    }

    /// Removes an object, leaving its last state with a new version in the past.
    pub fn remove(&mut self, kind: Kind, namespace: &str, name: &str) -> Option<Change> {
        let old = self.tables[kind as usize].objects.remove(&(namespace.into(), name.into()))?;
        let object = self.stamp(kind, &mut old.value());
        let before = Some(old.meta.clone());
        let event = Event { version: self.version, what: What::Deleted, object, before };
        self.tables[kind as usize].history.push(event, self.window);
        Some(Change { kind, old: Some(old), new: None })
    }

    fn stamp(&mut self, kind: Kind, value: &mut Value) -> Object {
        self.version += 1;
        value["metadata"]["resourceVersion"] = self.version.to_string().into();
        Object::new(kind, value, self.version)
    }
}
