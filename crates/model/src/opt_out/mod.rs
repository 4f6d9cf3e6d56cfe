//! Which pods of this node want their sockets left to the packet path, by a label on them or on their namespace.
//!
//! A reducer over Pods and Namespaces beside [`crate::Model`]: no frontend and no backend comes from it, so that nothing
//! there waits for it.

mod pod;
mod word;

use crate::Problem;
use crate::objects::{Kind, Namespace, Pod};
use pod::PodEntry;
use std::collections::BTreeMap;
use word::{Said, Word};

pub use word::{IN, OUT};

/// What Pods and Namespaces say.
#[derive(Debug)]
pub struct OptOuts {
    label: String,
    node: String,
    /// By `namespace/name`: the pods of this node that run, or will.
    pods: BTreeMap<String, Listed<PodEntry>>,
    /// Those with the label.
    namespaces: BTreeMap<String, Listed<Said>>,
    rounds: [Round; 2],
}

#[derive(Debug)]
struct Listed<T> {
    round: u32,
    it: T,
}

#[derive(Clone, Copy, Default, Debug)]
struct Round {
    current: u32,
    listed: bool,
}

impl OptOuts {
    /// Nobody has said anything yet; `label` is the key of the label that counts.
    #[must_use]
    pub fn new(label: impl Into<String>, node: impl Into<String>) -> Self {
        let (pods, namespaces) = (BTreeMap::new(), BTreeMap::new());
        Self { label: label.into(), node: node.into(), pods, namespaces, rounds: [Round::default(); 2] }
    }

    /// The key of the label that counts.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// A Pod was added or changed. Those of other nodes, those that have ended and those of the node's own network, whose
    /// sockets are the node's, have nothing to opt out of.
    pub fn apply_pod(&mut self, pod: &Pod) {
        let (key, round) = (pod.metadata.key(), self.round(Kind::Pod));
        match PodEntry::new(pod, &self.node, &self.label) {
            Some(it) => _ = self.pods.insert(key, Listed { round, it }),
            None => _ = self.pods.remove(&key),
        }
    }

    /// A Namespace was added or changed.
    pub fn apply_namespace(&mut self, namespace: &Namespace) {
        let (name, round) = (&namespace.metadata.name, self.round(Kind::Namespace));
        match Said::new(Kind::Namespace, name, &namespace.metadata, &self.label) {
            Said { word: Word::Nothing, problem: None } => _ = self.namespaces.remove(name),
            it => _ = self.namespaces.insert(name.clone(), Listed { round, it }),
        }
    }

    /// An object was removed.
    pub fn delete(&mut self, kind: Kind, namespace: &str, name: &str) {
        match kind {
            Kind::Pod => _ = self.pods.remove(&format!("{namespace}/{name}")),
            Kind::Namespace => _ = self.namespaces.remove(name),
            Kind::Service | Kind::EndpointSlice | Kind::Node | Kind::ServiceCidr => {}
        }
    }

    /// An object is in the list and cannot be read: what is known of it outlives the list.
    pub fn seen(&mut self, kind: Kind, namespace: &str, name: &str) {
        let round = self.round(kind);
        let entry = match kind {
            Kind::Pod => self.pods.get_mut(&format!("{namespace}/{name}")).map(|l| &mut l.round),
            Kind::Namespace => self.namespaces.get_mut(name).map(|l| &mut l.round),
            Kind::Service | Kind::EndpointSlice | Kind::Node | Kind::ServiceCidr => None,
        };
        if let Some(known) = entry {
            *known = round;
        }
    }

    /// A full list of a kind begins.
    pub fn begin_replace(&mut self, kind: Kind) {
        if let Some(round) = place(kind).map(|at| &mut self.rounds[at]) {
            round.current += 1;
        }
    }

    /// A full list of a kind is complete: what it did not have is gone.
    pub fn end_replace(&mut self, kind: Kind) {
        let now = self.round(kind);
        match kind {
            Kind::Pod => self.pods.retain(|_, listed| listed.round == now),
            Kind::Namespace => self.namespaces.retain(|_, listed| listed.round == now),
            Kind::Service | Kind::EndpointSlice | Kind::Node | Kind::ServiceCidr => {}
        }
        if let Some(round) = place(kind).map(|at| &mut self.rounds[at]) {
            round.listed = true;
        }
    }

    /// Whether Pods and Namespaces have both been listed: only then a pod that is not among [`Self::pods`] has not opted out.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.rounds.iter().all(|round| round.listed)
    }

    /// The pods that have opted out, by `namespace/name`, and the name that the kubelet gives their cgroups: the pod's uid.
    pub fn pods(&self) -> impl Iterator<Item = (&str, &str)> {
        self.out().filter_map(|(key, pod)| Some((key, pod.uid.as_deref().ok()?)))
    }

    /// What is wrong with any of the labels, and with pods that have opted out and cannot be found.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let namespaces = self.namespaces.values().map(|n| &n.it);
        let words = namespaces.chain(self.pods.values().map(|p| &p.it.says));
        let lost = self.out().filter_map(|(key, pod)| {
            let (what, todo) = pod.uid.as_ref().err()?;
            Some(Problem::new(Kind::Pod, key, what, *todo))
        });
        words.filter_map(|said| said.problem.clone()).chain(lost).collect()
    }

    fn out(&self) -> impl Iterator<Item = (&str, &PodEntry)> {
        let all = self.pods.iter().map(|(key, listed)| (key.as_str(), &listed.it));
        all.filter(|(key, pod)| match pod.says.word {
            Word::Out => true,
            Word::In => false,
            Word::Nothing => {
                let namespace = key.split_once('/').map_or("", |(namespace, _)| namespace);
                self.namespaces.get(namespace).is_some_and(|n| n.it.word == Word::Out)
            }
        })
    }

    fn round(&self, kind: Kind) -> u32 {
        place(kind).map_or(0, |at| self.rounds[at].current)
    }
}

fn place(kind: Kind) -> Option<usize> {
    match kind {
        Kind::Pod => Some(0),
        Kind::Namespace => Some(1),
        Kind::Service | Kind::EndpointSlice | Kind::Node | Kind::ServiceCidr => None,
    }
}
