//! nftables rules as a value: the words that kube-proxy uses, no more. What the evaluator judges is what the printer
//! prints, so that the kernel can be asked whether the two mean the same.

mod evaluate;
mod print;

pub use evaluate::{Fate, Host, Source};

use ipnet::IpNet;
use shunt_common::Proto;
use shunt_model::store::Family;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// An address, protocol and port.
pub type Dest = (IpAddr, Proto, u16);

/// One table, `ip kube-proxy` or `ip6 kube-proxy`.
pub struct Ruleset {
    pub family: Family,
    pub bases: Vec<Base>,
    pub chains: BTreeMap<String, Vec<Rule>>,
    /// Sets of addresses.
    pub sets: BTreeMap<&'static str, BTreeSet<IpAddr>>,
    /// A local endpoint that a pod may be sent to although it is the pod itself.
    pub hairpin: BTreeSet<Dest>,
    /// Maps from what a packet is sent to.
    pub dests: BTreeMap<&'static str, BTreeMap<Dest, Verdict>>,
    /// Maps from protocol and port, for any of the node's addresses.
    pub ports: BTreeMap<&'static str, BTreeMap<(Proto, u16), Verdict>>,
    /// Clients that an endpoint has had, with their seconds; the kernel fills them.
    pub affinity: BTreeMap<String, u32>,
}

/// Where the kernel enters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hook {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

/// A chain that the kernel enters; it accepts what no rule decides.
#[derive(Clone, Copy, Debug)]
pub struct Base {
    pub name: &'static str,
    pub nat: bool,
    pub hook: Hook,
    pub priority: i32,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Goto(String),
    Drop,
}

#[derive(Clone, Debug)]
pub struct Rule {
    /// All must hold.
    pub when: Vec<Match>,
    pub then: Action,
}

#[derive(Clone, Debug)]
pub enum Match {
    /// The connection's first packet.
    New,
    /// The connection was given another destination.
    Translated,
    /// To an address of a set.
    To(&'static str),
    /// From an address of the node.
    FromLocal,
    /// To an address in these.
    ToNets(Vec<IpNet>),
    /// From (or not from) these.
    From { not: bool, nets: Vec<IpNet> },
    /// By (or not by) an interface whose name begins so.
    By { not: bool, prefix: &'static str },
    /// Marked for masquerading.
    Marked,
    /// From an endpoint to itself, as a set has it.
    Hairpin,
    /// From a client in an affinity set.
    Known(String),
    /// Of a protocol.
    Is(Proto),
}

#[derive(Clone, Debug)]
pub enum Action {
    Jump(String),
    Goto(String),
    Drop,
    Reject,
    Mark,
    /// From the node's address on; the mark is taken off.
    Masquerade,
    /// The same of a packet without a mark.
    MasqueradeUnmarked,
    /// The verdict that a map has for address, protocol and port.
    ByDest(&'static str),
    /// The verdict that a map has for protocol and port.
    ByPort(&'static str),
    /// Any of these, at random.
    Dnat(Vec<SocketAddr>),
    /// Any of these chains, at random.
    Any(Vec<String>),
    /// Remembers the client.
    Remember(String),
}

impl Ruleset {
    pub fn new(family: Family) -> Self {
        Self {
            family,
            bases: Vec::new(),
            chains: BTreeMap::new(),
            sets: BTreeMap::new(),
            hairpin: BTreeSet::new(),
            dests: BTreeMap::new(),
            ports: BTreeMap::new(),
            affinity: BTreeMap::new(),
        }
    }

    /// Appends a rule.
    pub fn rule(&mut self, chain: &str, when: Vec<Match>, then: Action) {
        self.chains.entry(chain.into()).or_default().push(Rule { when, then });
    }
}
