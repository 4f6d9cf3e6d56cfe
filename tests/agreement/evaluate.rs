//! What the rows say.

use crate::flow::{self, Flow};
use crate::observe::Seen;
use crate::setup::World;
use shunt_common::Reason;
use shunt_model::fate::{Client, Fate, affinity, fate};
use shunt_model::store::Actual;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// A fate in the words of the table, and where it was decided.
#[derive(Clone, Debug)]
pub struct Evaluated {
    /// The node whose rows said so.
    pub node: String,
    pub fate: String,
    /// What the client sees of it; `None` when that is the network's affair.
    look: Option<Look>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Look {
    /// Each of these answers, and nobody else.
    All(BTreeSet<String>),
    /// One of these, always the same.
    One(BTreeSet<String>),
    Is(Seen),
}

/// The client's own node decides; what it lets pass and leads to another node that one decides, by the packets.
pub fn evaluate(flow: &Flow, maps: &[Actual], world: &World) -> Evaluated {
    let from = flow.from.as_ref().unwrap();
    let owner = world.lab.nodes.iter().position(|n| n.addresses.of(flow.to.is_ipv6()) == flow.to.ip());
    let decide = |node: usize, client: Client, sockets: bool| {
        let fate = fate(&maps[node], client, flow.to, flow.proto);
        let sticky = affinity(&maps[node], flow.to, flow.proto).is_some();
        let name = world.lab.nodes[node].name.clone();
        (fate.clone(), said(name, fate, sticky, look_of(client, sockets), world))
    };
    // What is no node's address comes to the first one from outside.
    let Some(own) = from.node else { return decide(owner.unwrap_or(0), from.client, false).1 };
    let (fate, here) = decide(own, from.client, from.sockets);
    match owner {
        Some(other) if other != own && fate == Fate::Pass => {
            decide(other, Client::Outside(address(flow, world)), false).1
        }
        _ => here,
    }
}

/// Who the client is to another node.
fn address(flow: &Flow, world: &World) -> IpAddr {
    let from = flow.from.as_ref().unwrap();
    match from.client {
        Client::Pod(addr) | Client::Outside(addr) => addr,
        Client::Node => world.lab.nodes[from.node.unwrap()].addresses.of(flow.to.is_ipv6()),
    }
}

/// How drops look to a client: a socket of the node is told, and so is a pod's where its address does not matter; packets
/// just vanish.
fn look_of(client: Client, sockets: bool) -> impl Fn(Reason) -> Seen {
    move |reason| match (reason, client) {
        (Reason::NoLocalBackend, _) if sockets => Seen::NoWay,
        (Reason::SourceRange, Client::Node) if sockets => Seen::Denied,
        _ => Seen::Silent,
    }
}

fn said(node: String, fate: Fate, sticky: bool, drop: impl Fn(Reason) -> Seen, world: &World) -> Evaluated {
    match fate {
        Fate::Backends(all) => {
            let names: BTreeSet<String> = all
                .iter()
                .map(|to| world.pod_at(to.addr).unwrap_or_else(|| format!("a stranger {}", to.addr)))
                .collect();
            let text = names.iter().cloned().collect::<Vec<_>>().join(" ");
            if sticky {
                Evaluated { node, fate: format!("one of {text}"), look: Some(Look::One(names)) }
            } else {
                Evaluated { node, fate: text, look: Some(Look::All(names)) }
            }
        }
        Fate::Reject(_) => Evaluated { node, fate: fate.to_string(), look: Some(Look::Is(Seen::Refused)) },
        Fate::Drop(reason) => Evaluated { node, fate: fate.to_string(), look: Some(Look::Is(drop(reason))) },
        Fate::Pass => Evaluated { node, fate: fate.to_string(), look: None },
    }
}

impl Evaluated {
    /// A fate, and backends that would show it: those of an example.
    pub fn example(node: &str, fate: &str, pods: &[&str]) -> Self {
        let names = pods.iter().map(ToString::to_string).collect();
        Self { node: node.into(), fate: fate.into(), look: Some(Look::All(names)) }
    }

    /// Whether this is what the client saw.
    pub fn shows_as(&self, flow: &Flow, seen: &Seen) -> bool {
        if let Some(then) = &flow.then {
            return match (then.as_str(), seen) {
                ("unanswered", seen) => !matches!(seen, Seen::Pods(_) | Seen::Refused),
                ("refused", seen) => *seen == Seen::Refused,
                (names, Seen::Pods(pods)) => flow::names(names) == *pods,
                _ => false,
            };
        }
        match (&self.look, seen) {
            (Some(Look::All(names)), Seen::Pods(pods)) => names == pods,
            (Some(Look::One(names)), Seen::Pods(pods)) => pods.len() == 1 && pods.is_subset(names),
            (Some(Look::Is(look)), seen) => look == seen,
            _ => false,
        }
    }
}
