//! Pods with host ports, each kept as a service of its own.

use super::Model;
use crate::objects::{Kind, Pod};
use crate::snapshot::{host_ports, pod_name};

impl Model {
    /// A Pod was added or changed; those of other nodes and those without host ports are forgotten.
    pub fn apply_pod(&mut self, pod: &Pod) {
        let key = pod_name(pod.metadata.namespace(), &pod.metadata.name);
        let ours = Some(&self.options.node_name).filter(|_| self.options.host_ports);
        let read = ours.and_then(|node| host_ports(pod, node, &mut self.words));
        let Some((spec, slices)) = read else { return self.remove_pod(&key) };
        let name = self.intern(&key);
        let entry = self.services.entry(name.clone()).or_default();
        entry.round = self.rounds[Kind::Pod as usize].current;
        if entry.slices.replace(slices) {
            self.dirty.insert(name.clone());
        }
        if entry.spec.as_deref() != Some(&spec) {
            self.set_spec(&name, Some(Box::new(spec)));
        }
    }

    /// A Pod was removed.
    pub fn delete_pod(&mut self, namespace: &str, name: &str) {
        self.remove_pod(&pod_name(namespace, name));
    }

    pub(super) fn remove_pod(&mut self, key: &str) {
        let Some(name) = self.known(key) else { return };
        if let Some(entry) = self.services.get_mut(&name) {
            entry.slices.replace(Vec::new());
        }
        self.set_spec(&name, None);
    }
}
