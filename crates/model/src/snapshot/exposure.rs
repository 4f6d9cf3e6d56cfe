//! Where a service is served at all: annotations `type`, `node` and `node-selector`.

use super::selector::Selector;
use super::service::Reader;
use crate::objects;
use shunt_common::FrontendKind;
use std::collections::BTreeMap;

/// Kinds of frontends, as bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Types(u8);

impl Default for Types {
    /// All of them.
    fn default() -> Self {
        Self(u8::MAX)
    }
}

impl Types {
    /// The kinds that the annotation `type` lists; all of them without it, or when it has no word that is known.
    pub(super) fn new(service: &objects::Service, read: &mut Reader) -> Self {
        let Some((key, value)) = service.metadata.ours("type") else { return Self::default() };
        let mut bits = 0;
        for word in value.split(',').map(str::trim).filter(|w| !w.is_empty()) {
            match word {
                "ClusterIP" => bits |= bit(FrontendKind::ClusterIp),
                "NodePort" => bits |= bit(FrontendKind::NodePort),
                "LoadBalancer" => bits |= bit(FrontendKind::LoadBalancer),
                "ExternalIP" | "ExternalIPs" => bits |= bit(FrontendKind::ExternalIp),
                other => {
                    let what = format!("annotation {key}: {other:?} is unknown");
                    read.problem(
                        what,
                        "use ClusterIP, NodePort, LoadBalancer or ExternalIP; the others count",
                    );
                }
            }
        }
        if bits == 0 { Self::default() } else { Self(bits) }
    }

    /// Whether frontends of a kind are served.
    #[must_use]
    pub const fn has(self, kind: FrontendKind) -> bool {
        self.0 & bit(kind) != 0
    }
}

const fn bit(kind: FrontendKind) -> u8 {
    1 << kind as u8
}

/// The nodes that serve a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Nodes {
    /// A node's name, or the value of its label `service.cilium.io/node` (or `shunt.io/node`).
    name: Option<Box<str>>,
    selector: Option<Selector>,
}

impl Nodes {
    /// From the annotations `node` and `node-selector`; `None` without them. A selector that does not parse is a problem,
    /// and leaves the service on every node: better reachable in too many places than in none.
    pub(super) fn new(service: &objects::Service, read: &mut Reader) -> Option<Box<Self>> {
        let name = service.metadata.ours("node").filter(|(_, v)| !v.is_empty()).map(|(_, v)| v.into());
        let selector = service.metadata.ours("node-selector").and_then(|(key, text)| {
            let parsed = Selector::parse(text);
            if parsed.is_none() {
                let what = format!("annotation {key}: {text:?} is no label selector");
                read.problem(what, "write it as for `kubectl get -l`; until then every node serves it");
            }
            parsed
        });
        (name.is_some() || selector.is_some()).then(|| Box::new(Self { name, selector }))
    }

    /// Whether a node serves it.
    #[must_use]
    pub fn matches(&self, node: &str, labels: &BTreeMap<String, String>) -> bool {
        let label = |prefix: &str| labels.get(&format!("{prefix}/node")).map(String::as_str);
        let named =
            |name: &str| [Some(node), label("shunt.io"), label("service.cilium.io")].contains(&Some(name));
        self.name.as_deref().is_none_or(named) && self.selector.as_ref().is_none_or(|s| s.matches(labels))
    }
}
