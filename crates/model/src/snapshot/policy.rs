//! How a service wants its traffic to be treated.

use super::service::Reader;
use super::{Nodes, Sources, Types};
use crate::objects;
use shunt_common::Proto;

/// Which endpoints a traffic policy reaches (KEP-2086).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub enum Reach {
    /// Those of the whole cluster, as far as topology hints allow.
    #[default]
    Cluster = 0,
    /// Those on this node.
    Local = 1,
}

/// How backends on other nodes are reached for clients outside, `loadBalancer.mode` and the annotation `forwarding-mode`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub enum Mode {
    /// From this node's address; replies come back here.
    #[default]
    Snat = 0,
    /// With the client's address; the backend's node answers the client itself (direct server return).
    Dsr = 1,
    /// DSR for TCP, SNAT for the others.
    Hybrid = 2,
}

impl Mode {
    /// All of them and their words, in order of their numbers.
    pub const WORDS: [(Self, &'static str); 3] =
        [(Self::Snat, "snat"), (Self::Dsr, "dsr"), (Self::Hybrid, "hybrid")];

    /// From the word in a configuration or an annotation.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::WORDS.into_iter().find(|(_, w)| *w == word).map(|(mode, _)| mode)
    }

    /// Whether backends answer directly in a protocol.
    #[must_use]
    pub fn is_direct(self, proto: Proto) -> bool {
        match self {
            Self::Snat => false,
            Self::Dsr => true,
            Self::Hybrid => proto == Proto::Tcp,
        }
    }
}

/// What a Service says beside where it answers.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Policy {
    /// Which endpoints serve traffic from outside, `spec.externalTrafficPolicy`.
    pub external: Reach,
    /// Which endpoints serve the ClusterIPs, `spec.internalTrafficPolicy`.
    pub internal: Reach,
    /// Session affinity by client address: seconds since a client's last connection; zero for none.
    pub affinity: u32,
    /// Forwarding mode; `None` for the cluster's own.
    pub mode: Option<Mode>,
    /// How a backend is picked, as in [`shunt_common::Frontend::algorithm`]; `None` for the cluster's own.
    pub algorithm: Option<u8>,
    /// Which kinds of frontends are served.
    pub types: Types,
    /// Which nodes serve it; `None` for all.
    pub nodes: Option<Box<Nodes>>,
    /// Who may use the load balancer's addresses; `None` for everybody.
    pub sources: Option<Box<Sources>>,
}

/// What the API server fills in for `timeoutSeconds`.
const AFFINITY_DEFAULT: u32 = 10_800;
/// The most that it allows.
const AFFINITY_MAX: u32 = 86_400;

impl Policy {
    /// From the API object; what makes no sense is a problem and its default holds.
    pub(super) fn new(service: &objects::Service, read: &mut Reader) -> Self {
        let spec = &service.spec;
        Self {
            external: reach(read, "externalTrafficPolicy", spec.external_traffic_policy.as_deref()),
            internal: reach(read, "internalTrafficPolicy", spec.internal_traffic_policy.as_deref()),
            affinity: affinity(read, service),
            mode: mode(read, service),
            algorithm: algorithm(read, service),
            types: Types::new(service, read),
            nodes: Nodes::new(service, read),
            sources: Sources::new(service, read),
        }
    }
}

fn mode(read: &mut Reader, service: &objects::Service) -> Option<Mode> {
    let (key, value) = service.metadata.ours("forwarding-mode")?;
    let mode = Mode::from_word(value);
    if mode.is_none() {
        let what = format!("annotation {key}: {value:?} is unknown");
        read.problem(what, "use snat, dsr or hybrid; the cluster's own is taken");
    }
    mode
}

fn algorithm(read: &mut Reader, service: &objects::Service) -> Option<u8> {
    const WORDS: [&str; 2] = ["random", "maglev"];
    let (key, value) = service.metadata.ours("lb-algorithm")?;
    let index = WORDS.iter().position(|w| *w == value);
    if index.is_none() {
        let what = format!("annotation {key}: {value:?} is unknown");
        read.problem(what, &format!("use {}; the cluster's own is taken", WORDS.join(" or ")));
    }
    index.map(|index| index as u8)
}

fn reach(read: &mut Reader, field: &str, policy: Option<&str>) -> Reach {
    match policy {
        None | Some("" | "Cluster") => Reach::Cluster,
        Some("Local") => Reach::Local,
        Some(other) => {
            let what = format!("spec.{field}: {other:?} is unknown");
            read.problem(what, "use Cluster or Local; Cluster is taken");
            Reach::Cluster
        }
    }
}

fn affinity(read: &mut Reader, service: &objects::Service) -> u32 {
    let spec = &service.spec;
    let mut on = match spec.session_affinity.as_deref() {
        None | Some("" | "None") => false,
        Some("ClientIP") => true,
        Some(other) => {
            let what = format!("spec.sessionAffinity: {other:?} is unknown");
            read.problem(what, "use ClientIP or None; None is taken");
            false
        }
    };
    if let Some((key, value)) = service.metadata.ours("affinity") {
        let ours = key.starts_with("shunt.io/");
        match value {
            "client-ip" => on = true,
            "none" if ours => on = false,
            "" => {}
            // Cilium's words for affinity to a cluster of a mesh, of which there is only this one.
            "none" | "local" | "remote" if !ours => {}
            other => {
                let how = if on { "ClientIP" } else { "None" };
                let todo = format!("use client-ip or none; {how} of spec.sessionAffinity is taken");
                read.problem(format!("annotation {key}: {other:?} is unknown"), &todo);
            }
        }
    }
    let timeout = affinity_timeout(read, service);
    if on { timeout } else { 0 }
}

/// The seconds, also of a service without affinity: what makes no sense shall be told before somebody needs it.
fn affinity_timeout(read: &mut Reader, service: &objects::Service) -> u32 {
    let config = service.spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref());
    let mut timeout = AFFINITY_DEFAULT;
    if let Some(seconds) = config.and_then(|c| c.timeout_seconds) {
        let field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
        timeout = seconds_of(read, field, &seconds.to_string(), timeout);
    }
    if let Some((key, text)) = service.metadata.ours("affinity-timeout") {
        timeout = seconds_of(read, &format!("annotation {key}"), text, timeout);
    }
    timeout
}

fn seconds_of(read: &mut Reader, at: &str, text: &str, otherwise: u32) -> u32 {
    let seconds = text.parse().ok().filter(|s| (1..=AFFINITY_MAX).contains(s));
    seconds.unwrap_or_else(|| {
        let todo = format!("correct it; {otherwise} seconds are taken");
        read.problem(format!("{at}: {text:?} is not in 1-{AFFINITY_MAX}"), &todo);
        otherwise
    })
}
