//! What the sources tell us. Every call is cheap: it converts one object and marks what must be looked at again.

use super::{Entry, Model, NodeCondition};
use crate::objects::{EndpointSlice, Kind, Node, Service, ServiceCidr};
use crate::snapshot::{NodeState, ServiceName, Slice, Spec, pod_name, service_name, whose};
use std::net::IpAddr;
use std::sync::Arc;

impl Model {
    /// A Service was added or changed.
    pub fn apply_service(&mut self, service: &Service) {
        let name = self.intern(&service.metadata.key());
        let spec = Spec::new(service, &self.options.service_proxy_name, &mut self.words).map(Box::new);
        let round = self.rounds[Kind::Service as usize].current;
        if spec.is_none() && !self.services.contains_key(&name) {
            return;
        }
        let entry = self.services.entry(name.clone()).or_default();
        entry.round = round;
        if entry.spec != spec {
            self.set_spec(&name, spec);
        }
    }

    /// A Service was removed.
    pub fn delete_service(&mut self, namespace: &str, name: &str) {
        let Some(name) = self.known(&format!("{namespace}/{name}")) else { return };
        self.set_spec(&name, None);
    }

    /// An EndpointSlice was added or changed.
    pub fn apply_slice(&mut self, slice: &EndpointSlice) {
        let key = slice.metadata.key();
        let Some(owner) = service_name(slice) else {
            self.remove_slice(&key);
            return;
        };
        let owner = self.intern(&owner);
        let known = self.slice_owner.get_key_value(key.as_str()).map(|(k, o)| (k.clone(), o.clone()));
        let key = match known {
            Some((key, old)) if old == owner => key,
            Some((key, _)) => {
                self.remove_slice(&key);
                key
            }
            None => key.into(),
        };
        let slice = Slice::new(slice, &self.options.node_name, &mut self.words);
        let round = self.rounds[Kind::EndpointSlice as usize].current;
        let entry = self.services.entry(owner.clone()).or_default();
        if entry.slices.put(key.clone(), slice, round) {
            self.slice_owner.insert(key, owner.clone());
            self.dirty.insert(owner);
            self.changes.endpoints += 1;
        }
    }

    /// An EndpointSlice was removed.
    pub fn delete_slice(&mut self, namespace: &str, name: &str) {
        self.remove_slice(&format!("{namespace}/{name}"));
    }

    /// This node's object was added or changed; other nodes' are ignored.
    pub fn apply_node(&mut self, node: &Node) {
        if node.metadata.name == self.options.node_name {
            self.rounds[Kind::Node as usize].node_seen = true;
            self.node_condition = NodeCondition::of(node);
            self.set_node(NodeState::new(node));
        }
    }

    /// This node's object was removed: its addresses are no longer known.
    pub fn delete_node(&mut self, name: &str) {
        if name == self.options.node_name {
            self.node_gone();
        }
    }

    /// A ServiceCIDR was added or changed.
    pub fn apply_service_cidr(&mut self, object: &ServiceCidr) {
        self.service_cidrs.apply(object, self.rounds[Kind::ServiceCidr as usize].current);
    }

    /// A ServiceCIDR was removed.
    pub fn delete_service_cidr(&mut self, name: &str) {
        self.service_cidrs.delete(name);
    }

    /// Where NodePorts answer, after `nodePort.addresses`; `None` for the node's primary address of each family.
    pub fn set_node_port_addresses(&mut self, addresses: Option<Vec<IpAddr>>) {
        if self.node_port_addresses != addresses {
            self.node_port_addresses = addresses;
            self.all_stale();
        }
    }

    /// Whether NodePorts also answer to the node's own sockets on 127.0.0.1 and ::1 (`localhost` of
    /// `nodePort.addresses`, kube-proxy's `localhostNodePorts`). Packets never match there (CVE-2020-8558).
    pub fn set_node_port_loopback(&mut self, on: bool) {
        if self.node_port_loopback != on {
            self.node_port_loopback = on;
            self.all_stale();
        }
    }

    /// A full list of a kind begins: `apply_*` each object, then call [`Self::end_replace`].
    pub fn begin_replace(&mut self, kind: Kind) {
        let round = &mut self.rounds[kind as usize];
        round.current += 1;
        round.node_seen = false;
    }

    /// Pods, which only host ports come from, cannot be listed: nothing waits for them any longer. The rows of host ports
    /// that an earlier agent wrote stay, until a list tells whose they are.
    pub fn do_without_pods(&mut self) {
        let round = &mut self.rounds[Kind::Pod as usize];
        round.without = !round.synced;
    }

    /// An object is in the list and cannot be read: what is known of it outlives the list.
    pub fn seen(&mut self, kind: Kind, namespace: &str, name: &str) {
        let round = self.rounds[kind as usize].current;
        let key = format!("{namespace}/{name}");
        match kind {
            Kind::Service => self.seen_entry(&key, round),
            Kind::Pod => self.seen_entry(&pod_name(namespace, name), round),
            Kind::EndpointSlice => {
                let owner = self.slice_owner.get(key.as_str());
                if let Some(entry) = owner.and_then(|owner| self.services.get_mut(owner)) {
                    entry.slices.seen(&key, round);
                }
            }
            Kind::ServiceCidr => self.service_cidrs.seen(name, round),
            Kind::Node => self.rounds[kind as usize].node_seen |= name == self.options.node_name,
            Kind::Namespace => {}
        }
    }

    fn seen_entry(&mut self, name: &str, round: u32) {
        if let Some(entry) = self.services.get_mut(name) {
            entry.round = round;
        }
    }

    /// A full list of a kind is complete: what it did not have is gone.
    pub fn end_replace(&mut self, kind: Kind) {
        let round = self.rounds[kind as usize];
        match kind {
            Kind::Service | Kind::Pod => {
                let gone =
                    |n: &str, e: &Entry| whose(n).0 == kind && e.spec.is_some() && e.round != round.current;
                let names: Vec<_> =
                    self.services.iter().filter(|(n, e)| gone(n, e)).map(|(n, _)| n.clone()).collect();
                for name in &names {
                    match kind {
                        Kind::Pod => self.remove_pod(name),
                        _ => self.set_spec(name, None),
                    }
                }
            }
            Kind::EndpointSlice => {
                let services = self.services.iter().filter(|(n, _)| whose(n).0 == Kind::Service);
                let gone = services.flat_map(|(_, e)| e.slices.not_of(round.current));
                let keys: Vec<_> = gone.cloned().collect();
                keys.iter().for_each(|key| self.remove_slice(key));
            }
            Kind::ServiceCidr => self.service_cidrs.end_list(round.current),
            Kind::Node if !round.node_seen => self.node_gone(),
            Kind::Node | Kind::Namespace => {}
        }
        let round = &mut self.rounds[kind as usize];
        round.synced = true;
        if std::mem::take(&mut round.without) {
            self.swept = false;
        }
    }

    /// [`Self::begin_replace`], each object, [`Self::end_replace`].
    pub fn replace_services<'a>(&mut self, services: impl IntoIterator<Item = &'a Service>) {
        self.begin_replace(Kind::Service);
        services.into_iter().for_each(|s| self.apply_service(s));
        self.end_replace(Kind::Service);
    }

    /// [`Self::begin_replace`], each object, [`Self::end_replace`].
    pub fn replace_slices<'a>(&mut self, slices: impl IntoIterator<Item = &'a EndpointSlice>) {
        self.begin_replace(Kind::EndpointSlice);
        slices.into_iter().for_each(|s| self.apply_slice(s));
        self.end_replace(Kind::EndpointSlice);
    }

    /// [`Self::begin_replace`], each object, [`Self::end_replace`].
    pub fn replace_nodes<'a>(&mut self, nodes: impl IntoIterator<Item = &'a Node>) {
        self.begin_replace(Kind::Node);
        nodes.into_iter().for_each(|n| self.apply_node(n));
        self.end_replace(Kind::Node);
    }

    pub(super) fn set_spec(&mut self, name: &ServiceName, spec: Option<Box<Spec>>) {
        let Some(entry) = self.services.get_mut(name) else { return };
        let old = std::mem::replace(&mut entry.spec, spec);
        let mut affected = Vec::new();
        if let Some(old) = &old {
            affected.extend(self.addresses.remove(name, old));
        }
        if let Some(new) = &entry.spec {
            affected.extend(self.addresses.add(name, new));
        }
        self.stale.extend(affected);
        self.stale.insert(name.clone());
        self.changes.services += 1;
    }

    fn node_gone(&mut self) {
        self.node_condition = NodeCondition::Unknown;
        self.set_node(NodeState::default());
    }

    fn set_node(&mut self, node: NodeState) {
        let mut former = std::mem::replace(&mut self.node, node);
        let labels = std::mem::take(&mut former.labels);
        let relabelled = labels != self.node.labels;
        former.labels.clone_from(&self.node.labels);
        if former != self.node {
            self.all_stale();
        } else if relabelled {
            // Labels decide only where services ask for nodes by them; the zone is looked at above.
            let asks = |entry: &Entry| entry.spec.as_ref().is_some_and(|spec| spec.policy.nodes.is_some());
            let asking = self.services.iter().filter(|(_, entry)| asks(entry));
            self.stale.extend(asking.map(|(name, _)| name.clone()));
        }
    }

    fn all_stale(&mut self) {
        self.stale.extend(self.services.keys().cloned());
    }

    fn remove_slice(&mut self, key: &str) {
        let Some(owner) = self.slice_owner.remove(key) else { return };
        if let Some(entry) = self.services.get_mut(&owner) {
            entry.slices.remove(key);
            self.dirty.insert(owner);
            self.changes.endpoints += 1;
        }
    }

    pub(super) fn known(&self, name: &str) -> Option<ServiceName> {
        self.services.get_key_value(name).map(|(n, _)| n.clone())
    }

    pub(super) fn intern(&self, name: &str) -> ServiceName {
        self.known(name).unwrap_or_else(|| Arc::from(name))
    }
}
