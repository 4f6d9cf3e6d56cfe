//! Events to the model, in batches.

use super::{Agent, Events};
use crate::sources::{Event, Object};
use shunt_model::objects::{Kind, Node};
use shunt_model::snapshot::parse_address;
use shunt_model::{Model, NodeCondition, Problem};
use std::collections::HashSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tokio::time::timeout_at;

/// So long without an event ends a batch.
const QUIET: Duration = Duration::from_millis(2);
/// A batch ends however many events come.
const LONGEST: Duration = Duration::from_millis(100);

impl Agent {
    /// Takes an event and those that follow it closely, then writes what they ask for, or lets it wait for
    /// `minSyncPeriod`.
    pub(super) async fn take_batch(&mut self, first: Event, events: &mut Events) {
        let begun = tokio::time::Instant::now();
        self.take(first);
        loop {
            let until = (tokio::time::Instant::now() + QUIET).min(begun + LONGEST);
            match timeout_at(until, events.recv()).await {
                Ok(Some(event)) => self.take(event),
                // Over the time with events at hand, or quiet, or the source has ended.
                Ok(None) | Err(_) => break,
            }
            if begun.elapsed() >= LONGEST {
                break;
            }
        }
        // Before the rest, which may be a lot or put off: a pod's containers are about to start.
        self.opt_outs_changed();
        if !self.progress.put_off(Instant::now()) {
            self.sync();
        }
    }

    fn take(&mut self, event: Event) {
        if self.opt_out.as_mut().is_some_and(|opt_out| opt_out.note(&event)) {
            return;
        }
        match event {
            Event::ListBegins(kind) => self.model.begin_replace(kind),
            Event::ListEnds(kind) => {
                self.model.end_replace(kind);
                self.forget_node(kind);
                self.progress.listed = true;
                tracing::debug!(kind = kind.name(), "list complete");
                // Problems of objects that a sync does not look at.
                self.log_problems();
            }
            Event::Apply(Object::Service(service)) => self.model.apply_service(&service),
            Event::Apply(Object::EndpointSlice(slice)) => {
                let before = self.model.changes();
                self.model.apply_slice(&slice);
                if self.model.changes() != before {
                    self.programming.changed(&slice);
                }
            }
            Event::Apply(Object::Node(node)) => self.apply_node(&node),
            Event::Apply(Object::Pod(pod)) => self.model.apply_pod(&pod),
            Event::Apply(Object::ServiceCidr(object)) => self.model.apply_service_cidr(&object),
            // Only who opts out asks about them.
            Event::Apply(Object::Namespace(_)) | Event::Delete(Kind::Namespace, ..) => {}
            Event::Seen(kind, namespace, name) => self.model.seen(kind, &namespace, &name),
            Event::Delete(Kind::Service, namespace, name) => self.model.delete_service(&namespace, &name),
            Event::Delete(Kind::EndpointSlice, namespace, name) => self.model.delete_slice(&namespace, &name),
            Event::Delete(Kind::Pod, namespace, name) => self.model.delete_pod(&namespace, &name),
            Event::Delete(Kind::ServiceCidr, _, name) => self.model.delete_service_cidr(&name),
            Event::Delete(Kind::Node, _, name) => {
                self.model.delete_node(&name);
                self.forget_node(Kind::Node);
            }
            Event::Problems { about, problems } => self.source_problems(about, problems),
            Event::Connection(kind, state) => self.connection(kind, state),
            Event::Forbidden(kind, error) => self.forbidden(kind, error),
        }
        self.progress.queued.get_or_insert_with(Instant::now);
        self.programming.queued();
    }

    fn apply_node(&mut self, node: &Node) {
        if node.metadata.name == self.config.node_name {
            let addresses = node.status.addresses.iter().flatten();
            let internal = addresses.filter(|a| a.type_ == "InternalIP");
            self.set_node_ips(internal.filter_map(|a| parse_address(&a.address)).collect());
        }
        self.model.apply_node(node);
    }

    /// Without a Node object the interfaces tell the node's addresses; the model has forgotten the object's.
    fn forget_node(&mut self, kind: Kind) {
        if node_is_gone(kind, &self.model) {
            self.set_node_ips(Vec::new());
        }
    }

    fn set_node_ips(&mut self, addresses: Vec<IpAddr>) {
        let addresses = with_own(addresses, self.config.node_address());
        if self.node_ips != addresses {
            self.node_ips = addresses;
            self.reclassify();
        }
    }

    fn source_problems(&mut self, about: String, problems: Vec<Problem>) {
        self.tell(&problems);
        if problems.is_empty() {
            self.source_problems.remove(&about);
        } else {
            self.source_problems.insert(about, problems);
        }
    }

    /// What serves most is not held up by what serves few: services go without ServiceCIDRs and host ports.
    fn forbidden(&mut self, kind: Kind, error: String) {
        let lost = match kind {
            Kind::Pod => "host ports are not served",
            Kind::ServiceCidr => "unused service addresses are not dropped",
            _ => return self.connection(kind, Err(error)),
        };
        if kind == Kind::Pod {
            self.model.do_without_pods();
        }
        let name = kind.name();
        let problem = Problem {
            object: name.into(),
            what: format!("{lost}, or as before: may not be listed: {error}"),
            todo: format!("let this agent list and watch {name} objects (a ClusterRole); all else is served"),
        };
        self.source_problems(name.into(), vec![problem]);
    }

    fn connection(&mut self, kind: Kind, state: Result<(), String>) {
        match state {
            Ok(()) => {
                self.source_problems.remove(kind.name());
                if self.down.remove(&kind).is_some() {
                    tracing::info!(kind = kind.name(), "watching again");
                }
            }
            Err(error) => {
                // Each failed try says the same: one line for each thing that is wrong.
                if self.down.get(&kind) != Some(&error) {
                    tracing::warn!(kind = kind.name(), %error, "the API is away; what is known is served on");
                }
                self.down.insert(kind, error);
            }
        }
    }

    /// Logs problems that are new and forgets those that are over.
    pub(super) fn log_problems(&mut self) {
        let now = self.problems();
        self.tell(&now);
        let now: HashSet<_> = now.into_iter().collect();
        self.logged.retain(|problem| now.contains(problem));
    }

    /// Logs those problems that are new.
    pub(super) fn tell(&mut self, problems: &[Problem]) {
        for problem in problems {
            if self.logged.insert(problem.clone()) {
                tracing::warn!(object = %problem.object, todo = %problem.todo, "{}", problem.what);
            }
        }
    }
}

/// Whether this node's object is not among the Nodes, after news of a kind.
fn node_is_gone(kind: Kind, model: &Model) -> bool {
    kind == Kind::Node && model.node_condition() == NodeCondition::Unknown
}

/// `bindAddress` stands in for the Node's addresses of its family, and comes first.
fn with_own(mut addresses: Vec<IpAddr>, own: Option<IpAddr>) -> Vec<IpAddr> {
    if let Some(own) = own {
        addresses.retain(|a| a.is_ipv4() != own.is_ipv4());
        addresses.insert(0, own);
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bind_address_overrides_the_nodes_address_of_its_family_and_comes_first() {
        let all = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect::<Vec<IpAddr>>();
        let node = all(&["192.0.2.1", "192.0.2.2", "fd00::1"]);
        assert_eq!(with_own(node.clone(), None), node);
        let own = |text: &str| with_own(node.clone(), text.parse().ok());
        assert_eq!(own("10.0.0.1"), all(&["10.0.0.1", "fd00::1"]));
        assert_eq!(own("fd00::9"), all(&["fd00::9", "192.0.2.1", "192.0.2.2"]));
        assert_eq!(with_own(Vec::new(), "10.0.0.1".parse().ok()), all(&["10.0.0.1"]));
    }

    #[test]
    fn a_list_without_this_nodes_object_is_as_good_as_its_deletion() {
        let capacity = shunt_model::store::Capacity {
            backends: 1,
            slots: 1,
            frontends: 1,
            ranges: 1,
            table_units: 1 << 20,
        };
        let mut model = Model::new(shunt_model::Options::new("n1"), capacity);
        let node: Node = serde_json::from_str(r#"{"metadata":{"name":"n1"}}"#).unwrap();
        model.replace_nodes([&node]);
        assert!(!node_is_gone(Kind::Node, &model));
        model.begin_replace(Kind::Node);
        assert!(!node_is_gone(Kind::Node, &model), "not before the list is complete");
        model.end_replace(Kind::Node);
        assert!(node_is_gone(Kind::Node, &model) && !node_is_gone(Kind::Service, &model));
        model.apply_node(&node);
        model.delete_node("n1");
        assert!(node_is_gone(Kind::Node, &model));
    }
}
