//! A lab as a value.

use std::fmt;
use std::str::FromStr;

/// How pods of different nodes reach each other: what the CNI beside Shunt does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// A veth and a host route for each pod; the underlay routes pod networks.
    Routed,
    /// A bridge on each node; the underlay routes pod networks.
    Bridge,
    /// A bridge on each node and a VXLAN overlay between them; the underlay knows no pods.
    Vxlan,
}

impl Style {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Routed, Self::Bridge, Self::Vxlan];
}

impl fmt::Display for Style {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Routed => "routed",
            Self::Bridge => "bridge",
            Self::Vxlan => "vxlan",
        })
    }
}

impl FromStr for Style {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|style| style.to_string() == text)
            .ok_or_else(|| format!("{text:?} is no style; allowed: routed, bridge, vxlan"))
    }
}

/// The shape of a lab.
#[derive(Clone, Debug)]
pub struct Topology {
    /// Name; two labs on one machine need two.
    pub name: String,
    /// Number of nodes.
    pub nodes: usize,
    /// Pods on each node.
    pub pods: usize,
    /// What the CNI does.
    pub style: Style,
    /// MTU of the underlay.
    pub mtu: u32,
}

impl Topology {
    /// Three nodes of two pods.
    pub fn new(name: impl Into<String>, style: Style) -> Self {
        Self { name: name.into(), nodes: 3, pods: 2, style, mtu: 1500 }
    }

    /// The name of one of its network namespaces.
    pub fn netns(&self, what: &str) -> String {
        format!("{}{what}", netns_prefix(&self.name))
    }
}

/// What the names of a lab's network namespaces begin with.
pub fn netns_prefix(lab: &str) -> String {
    format!("shunt-{lab}-")
}
