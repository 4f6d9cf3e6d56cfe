//! What the controller remembers: services by selector, pods by label, slices by service, zones by node.

use super::ours;
use crate::api::{
    kinds::Kind,
    object::{Key, Object, string_map},
    store::Change,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// Namespace, label and value.
type Label = (Arc<str>, String, String);

struct Service {
    object: Object,
    selector: BTreeMap<String, String>,
}

/// The controller's memory. Objects are shared with the store, so it is small.
#[derive(Default)]
pub struct Index {
    services: HashMap<Key, Service>,
    /// Services by the first pair of their selector: every pod they select has it.
    by_selector: HashMap<Label, BTreeSet<Key>>,
    pods: HashMap<Key, Object>,
    by_label: HashMap<Label, BTreeSet<Key>>,
    slices: HashMap<Key, BTreeMap<String, Object>>,
    zones: HashMap<String, String>,
}

impl Index {
    /// Takes a change in and adds the services that it can touch to `dirty`.
    pub fn follow(&mut self, change: &Change, dirty: &mut BTreeSet<Key>) {
        match change.kind {
            Kind::Service => self.follow_service(change, dirty),
            Kind::Pod => self.follow_pod(change, dirty),
            Kind::EndpointSlice => self.follow_slice(change, dirty),
            Kind::Node => self.follow_node(change),
            _ => {}
        }
    }

    fn follow_service(&mut self, change: &Change, dirty: &mut BTreeSet<Key>) {
        let Some(object) = change.new.as_ref().or(change.old.as_ref()) else { return };
        let key = object.meta.key.clone();
        if let Some(old) = self.services.remove(&key)
            && let Some(label) = first_pair(&key, &old.selector)
        {
            remove(&mut self.by_selector, &label, &key);
            dirty.insert(key.clone());
        }
        if let Some(new) = &change.new {
            let selector = string_map(new.value().pointer("/spec/selector"));
            // Services without a selector have their slices from somebody else; they cost nothing here.
            if let Some(label) = first_pair(&key, &selector) {
                self.by_selector.entry(label).or_default().insert(key.clone());
                self.services.insert(key.clone(), Service { object: new.clone(), selector });
                dirty.insert(key);
            }
        }
    }

    fn follow_pod(&mut self, change: &Change, dirty: &mut BTreeSet<Key>) {
        if let Some(old) = &change.old {
            self.pods.remove(&old.meta.key);
            for label in labels(old) {
                remove(&mut self.by_label, &label, &old.meta.key);
            }
            self.touch(old, dirty);
        }
        if let Some(new) = &change.new {
            self.touch(new, dirty);
            for label in labels(new) {
                self.by_label.entry(label).or_default().insert(new.meta.key.clone());
            }
            self.pods.insert(new.meta.key.clone(), new.clone());
        }
    }

    /// The services that select a pod.
    fn touch(&self, pod: &Object, dirty: &mut BTreeSet<Key>) {
        let candidates = labels(pod).filter_map(|l| self.by_selector.get(&l)).flatten();
        dirty.extend(candidates.filter(|k| selects(&self.services[*k].selector, pod)).cloned());
    }

    fn follow_slice(&mut self, change: &Change, dirty: &mut BTreeSet<Key>) {
        let known = |index: &Self, key: &Key, slice: &Object| {
            let slices = index.slices.get(key);
            slices.and_then(|s| s.get(&*slice.meta.key.1)).map(|o| o.meta.version)
        };
        if let Some((old, key)) = change.old.as_ref().and_then(|o| Some((o, ours(o)?))) {
            let moved = change.new.as_ref().and_then(ours).as_ref() != Some(&key);
            if moved && known(self, &key, old).is_some_and(|v| v <= old.meta.version) {
                self.forget_slice(&key, &old.meta.key.1);
                dirty.insert(key);
            }
        }
        if let Some((new, key)) = change.new.as_ref().and_then(|n| Some((n, ours(n)?)))
            && known(self, &key, new).is_none_or(|v| v < new.meta.version)
        {
            self.remember_slice(&key, new.clone());
            dirty.insert(key);
        }
    }

    fn follow_node(&mut self, change: &Change) {
        if let Some(old) = &change.old {
            self.zones.remove(&*old.meta.key.1);
        }
        if let Some(new) = &change.new
            && let Some(zone) = new.meta.labels.get("topology.kubernetes.io/zone")
        {
            self.zones.insert(new.meta.key.1.to_string(), zone.clone());
        }
    }

    /// A service that has a selector.
    pub fn service(&self, key: &Key) -> Option<Value> {
        self.services.get(key).map(|s| s.object.value())
    }

    /// The pods that a service selects.
    pub fn pods<'a>(&'a self, key: &Key) -> impl Iterator<Item = Value> + 'a {
        let service = self.services.get(key);
        let sets = service.into_iter().flat_map(|s| s.selector.iter()).map(|(k, v)| {
            let label = (key.0.clone(), k.clone(), v.clone());
            self.by_label.get(&label)
        });
        // The rarest label decides how many pods are looked at.
        let rarest = sets.min_by_key(|s| s.map_or(0, BTreeSet::len)).flatten();
        let pods = rarest.into_iter().flatten().filter_map(|k| self.pods.get(k));
        pods.filter(move |p| service.is_some_and(|s| selects(&s.selector, p))).map(Object::value)
    }

    /// The slices that this controller made for a service, by name.
    pub fn slices(&self, key: &Key) -> Vec<(String, Value)> {
        let slices = self.slices.get(key).into_iter().flatten();
        slices.map(|(name, object)| (name.clone(), object.value())).collect()
    }

    /// The zone of a node.
    pub fn zone(&self, node: &str) -> Option<&str> {
        self.zones.get(node).map(String::as_str)
    }

    /// Notes a slice as it is now, ahead of the change in the queue.
    pub fn remember_slice(&mut self, key: &Key, slice: Object) {
        self.slices.entry(key.clone()).or_default().insert(slice.meta.key.1.to_string(), slice);
    }

    /// Notes that a slice is gone.
    pub fn forget_slice(&mut self, key: &Key, name: &str) {
        if let Some(slices) = self.slices.get_mut(key) {
            slices.remove(name);
            if slices.is_empty() {
                self.slices.remove(key);
            }
        }
    }
}

fn first_pair(key: &Key, selector: &BTreeMap<String, String>) -> Option<Label> {
    selector.iter().next().map(|(k, v)| (key.0.clone(), k.clone(), v.clone()))
}

fn labels(object: &Object) -> impl Iterator<Item = Label> + '_ {
    object.meta.labels.iter().map(|(k, v)| (object.meta.key.0.clone(), k.clone(), v.clone()))
}

fn selects(selector: &BTreeMap<String, String>, pod: &Object) -> bool {
    selector.iter().all(|(k, v)| pod.meta.labels.get(k) == Some(v))
}

fn remove(map: &mut HashMap<Label, BTreeSet<Key>>, label: &Label, key: &Key) {
    if let Some(keys) = map.get_mut(label) {
        keys.remove(key);
        if keys.is_empty() {
            map.remove(label);
        }
    }
}
