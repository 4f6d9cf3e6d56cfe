//! An EndpointSlice in compact form: a hundred thousand of its endpoints are kept in a few megabytes.

use super::{Hints, Words, Zone, hints, parse_address, port_number, protocol, refused};
use crate::Problem;
use crate::objects::{self, Kind};
use crate::store::Family;
use shunt_common::{BackendState, Proto};
use std::net::IpAddr;
use std::sync::Arc;

/// The label that names the service of a slice.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The label of slices that no proxy needs.
const HEADLESS: &str = "service.kubernetes.io/headless";

/// Endpoints of one service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slice {
    /// The family of every endpoint.
    pub family: Family,
    /// Ports of every endpoint.
    pub ports: Box<[SlicePort]>,
    /// Endpoints with a usable address.
    pub endpoints: Box<[Endpoint]>,
    /// Their weight for Maglev; zero is the default of 100.
    pub weight: u16,
    /// Their topology hints; `None` when no endpoint has any.
    pub hints: Option<Box<Hints>>,
    /// What was wrong.
    pub problems: Vec<Problem>,
}

/// A port of every endpoint in a slice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlicePort {
    /// The name of the service's port.
    pub name: Arc<str>,
    /// The number, which may differ from slice to slice.
    pub port: u16,
    /// TCP, UDP or SCTP.
    pub proto: Proto,
}

/// One endpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// Its address.
    pub addr: IpAddr,
    /// Takes new flows.
    pub ready: bool,
    /// Would be ready were it not terminating.
    pub serving: bool,
    /// On its way out.
    pub terminating: bool,
    /// `nodeName` is this node's. Other nodes' names would be a word for each endpoint and tell nothing.
    pub local: bool,
    /// It has no `nodeName`, as in a slice that somebody wrote by hand.
    pub nodeless: bool,
    /// The zone that it is in.
    pub zone: Zone,
}

// A hundred thousand of these must stay small; names and hints belong elsewhere.
const _: () = assert!(size_of::<Endpoint>() <= 24);

impl Endpoint {
    /// The state of its backend (KEP-1669, KEP-1672): `None` for an endpoint that is neither ready nor on its way out,
    /// which has no row, since no flow may lead to it.
    #[must_use]
    pub const fn state(&self) -> Option<BackendState> {
        match (self.ready, self.terminating, self.serving) {
            (true, ..) => Some(BackendState::Active),
            (false, true, true) => Some(BackendState::Terminating),
            (false, true, false) => Some(BackendState::TerminatingNotServing),
            (false, false, _) => None,
        }
    }
}

/// The service that a slice belongs to; `None` when the slice is none of ours.
#[must_use]
pub fn service_name(slice: &objects::EndpointSlice) -> Option<String> {
    let meta = &slice.metadata;
    if slice.address_type == "FQDN" || meta.label(HEADLESS).is_some() {
        return None;
    }
    let name = meta.label(SERVICE_NAME).filter(|n| !n.is_empty())?;
    Some(format!("{}/{name}", meta.namespace()))
}

impl Slice {
    /// Of one endpoint on this node, that serves until it is gone.
    #[must_use]
    pub fn of_one(addr: IpAddr, ports: Box<[SlicePort]>, terminating: bool) -> Self {
        let ready = !terminating;
        let endpoint = Endpoint {
            addr,
            ready,
            serving: true,
            terminating,
            local: true,
            nodeless: false,
            zone: Zone::default(),
        };
        Self {
            family: Family::of(addr),
            ports,
            endpoints: [endpoint].into(),
            weight: 0,
            hints: None,
            problems: Vec::new(),
        }
    }

    /// From the API object, as the node `node_name` sees it.
    #[must_use]
    pub fn new(slice: &objects::EndpointSlice, node_name: &str, words: &mut Words) -> Self {
        let mut read = Reader { name: slice.metadata.key(), problems: Vec::new() };
        let family = match slice.address_type.as_str() {
            "IPv4" => Some(Family::V4),
            "IPv6" => Some(Family::V6),
            other => {
                read.problem(format!("addressType {other:?} is unknown"), "use IPv4 or IPv6");
                None
            }
        };
        let endpoints = slice.endpoints.as_deref().filter(|_| family.is_some()).unwrap_or_default();
        let family = family.unwrap_or(Family::V4);
        let (mut found, mut hints) = (Vec::with_capacity(endpoints.len()), hints::Reader::default());
        for field in endpoints {
            let Some(endpoint) = read.endpoint(field, family, node_name, words) else { continue };
            if let Some(said) = &field.hints {
                hints.add(found.len() as u32, said, node_name, words);
            }
            found.push(endpoint);
        }
        let ports = slice.ports.as_deref().unwrap_or_default();
        let ports = ports.iter().filter_map(|p| read.port(p, words)).collect();
        read.foreign(slice);
        let weight = read.weight(slice);
        Self {
            family,
            ports,
            endpoints: found.into(),
            weight,
            hints: hints.finish(),
            problems: read.problems,
        }
    }
}

struct Reader {
    name: String,
    problems: Vec<Problem>,
}

impl Reader {
    fn problem(&mut self, what: String, todo: &str) {
        self.problems.push(Problem::new(Kind::EndpointSlice, &self.name, what, todo));
    }

    fn endpoint(
        &mut self,
        field: &objects::Endpoint,
        family: Family,
        node_name: &str,
        words: &mut Words,
    ) -> Option<Endpoint> {
        let Some(text) = field.addresses.first() else {
            self.problem("an endpoint has no address".into(), "the others are used");
            return None;
        };
        let Some(addr) = parse_address(text).filter(|a| Family::of(*a) == family) else {
            let what = format!("endpoint address {text:?} is no {} address", family.name());
            self.problem(what, "correct it; the others are used");
            return None;
        };
        if let Some(why) = refused(addr) {
            self.problem(format!("endpoint address {addr} {why}"), "remove it; the others are used");
            return None;
        }
        let conditions = field.conditions.unwrap_or_default();
        let zone = field.zone.as_deref().filter(|name| !name.is_empty());
        Some(Endpoint {
            addr,
            ready: conditions.ready.unwrap_or(true),
            serving: conditions.serving.unwrap_or(true),
            terminating: conditions.terminating.unwrap_or(false),
            local: field.node_name.as_deref() == Some(node_name),
            nodeless: field.node_name.as_deref().is_none_or(str::is_empty),
            zone: zone.map_or_else(Zone::default, |name| words.zone(name)),
        })
    }

    /// Whoever may write EndpointSlices can point a service at another namespace's pods, past its network policies
    /// (CVE-2021-25740, which Kubernetes cannot mend): they are served, and counted aloud.
    fn foreign(&mut self, slice: &objects::EndpointSlice) {
        let here = slice.metadata.namespace();
        let endpoints = slice.endpoints.iter().flatten();
        let targets = endpoints.filter_map(|e| e.target_ref.as_ref()).map(|t| t.namespace.as_str());
        let mut foreign = targets.filter(|namespace| !namespace.is_empty() && *namespace != here);
        if let Some(first) = foreign.next() {
            let count = 1 + foreign.count();
            let what = format!("{count} of its endpoints are in another namespace, the first in {first:?}");
            self.problem(what, "make sure that this is meant (CVE-2021-25740); they are served");
        }
    }

    fn weight(&mut self, slice: &objects::EndpointSlice) -> u16 {
        const DEFAULT: u16 = 100;
        let Some((key, text)) = slice.metadata.ours("weight") else { return 0 };
        match text.parse() {
            Ok(DEFAULT) => 0,
            Ok(weight) if weight > 0 => weight,
            _ => {
                let what = format!("annotation {key}: {text:?} is not in 1-65535");
                self.problem(what, "correct it; the default of 100 is taken");
                0
            }
        }
    }

    fn port(&mut self, field: &objects::EndpointPort, words: &mut Words) -> Option<SlicePort> {
        let name = field.name.as_deref().unwrap_or_default();
        let number = field.port?;
        let proto = match protocol(field.protocol.as_deref()) {
            Ok(proto) => proto,
            Err(what) => {
                self.problem(format!("port {name:?}: {what} is unknown"), "use TCP, UDP or SCTP");
                return None;
            }
        };
        let Some(port) = port_number(number) else {
            self.problem(format!("port {name:?}: {number} is not in 1-65535"), "correct it");
            return None;
        };
        Some(SlicePort { name: words.get(name), port, proto })
    }
}
