//! A port of a Service in one family: the unit of kube-proxy's rules.

use ipnet::IpNet;
use shunt_common::Proto;
use shunt_model::objects::{self, Service};
use shunt_model::store::Family;
use std::net::IpAddr;

/// What one port of a service asks for in one family.
#[derive(Clone, Debug)]
pub struct Port {
    pub namespace: String,
    pub service: String,
    pub name: String,
    pub proto: Proto,
    pub port: u16,
    /// Zero for none.
    pub node_port: u16,
    pub cluster_ip: IpAddr,
    pub external_ips: Vec<IpAddr>,
    /// Of the load balancer, those whose packets arrive unchanged.
    pub vips: Vec<IpAddr>,
    /// Who may use the load balancer's addresses; empty for everybody.
    pub sources: Vec<IpNet>,
    pub affinity: Option<u32>,
    pub external_local: bool,
    pub internal_local: bool,
}

impl Port {
    /// Whether it answers on anything but a ClusterIP.
    pub fn is_external(&self) -> bool {
        self.node_port != 0 || !self.vips.is_empty() || !self.external_ips.is_empty()
    }

    /// The pool of all nodes is needed by external addresses always: for traffic that is short-circuited.
    pub fn uses_cluster(&self) -> bool {
        !self.internal_local || self.is_external()
    }

    pub fn uses_local(&self) -> bool {
        self.internal_local || (self.external_local && self.is_external())
    }
}

/// A Service's ports in a family; none when kube-proxy does not look at it there.
pub fn of(service: &Service, family: Family) -> Vec<Port> {
    let spec = &service.spec;
    // The watch itself leaves out who has another proxy.
    let other = service.metadata.label("service.kubernetes.io/service-proxy-name").is_some();
    let unset = matches!(spec.cluster_ip.as_deref(), None | Some("" | "None"));
    if other || unset || spec.type_.as_deref() == Some("ExternalName") {
        return Vec::new();
    }
    let Some(cluster_ip) = cluster_ip(spec, family) else { return Vec::new() };
    let one = |port: &objects::ServicePort| {
        let config = spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref());
        let seconds = config.and_then(|c| c.timeout_seconds).unwrap_or(10800);
        Port {
            namespace: service.metadata.namespace().into(),
            service: service.metadata.name.clone(),
            name: port.name.clone().unwrap_or_default(),
            proto: proto(port.protocol.as_deref()),
            port: port.port as u16,
            node_port: port.node_port.unwrap_or_default() as u16,
            cluster_ip,
            external_ips: addresses(spec.external_ips.iter().flatten(), family),
            vips: vips(service, family),
            sources: sources(spec, family),
            affinity: (spec.session_affinity.as_deref() == Some("ClientIP")).then_some(seconds as u32),
            external_local: spec.external_traffic_policy.as_deref() == Some("Local"),
            internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
        }
    };
    spec.ports.iter().flatten().map(one).collect()
}

/// In the order of the families; from before there were two, the one there is.
fn cluster_ip(spec: &objects::ServiceSpec, family: Family) -> Option<IpAddr> {
    let word = if family == Family::V4 { "IPv4" } else { "IPv6" };
    let families = spec.ip_families.as_deref().unwrap_or_default();
    let ip: IpAddr = match families.iter().position(|f| f == word) {
        Some(index) => sloppy(spec.cluster_ips.as_ref()?.get(index)?)?,
        None if families.is_empty() => sloppy(spec.cluster_ip.as_ref()?)?,
        None => return None,
    };
    Some(ip).filter(|ip| Family::of(*ip) == family)
}

/// As the API names it; TCP where it does not.
pub fn proto(name: Option<&str>) -> Proto {
    match name {
        Some("UDP") => Proto::Udp,
        Some("SCTP") => Proto::Sctp,
        _ => Proto::Tcp,
    }
}

fn addresses<'a>(texts: impl Iterator<Item = &'a String>, family: Family) -> Vec<IpAddr> {
    texts.filter_map(|t| sloppy(t)).filter(|a| Family::of(*a) == family).collect()
}

/// Leading zeros mean nothing, as in objects from before validation minded them.
pub fn sloppy(text: &str) -> Option<IpAddr> {
    let plain = |part: &str| part.parse::<u8>().map(|n| n.to_string()).ok();
    let parts: Option<Vec<String>> = text.split('.').map(plain).collect();
    parts.map_or_else(|| text.to_string(), |parts| parts.join(".")).parse().ok()
}

fn vips(service: &Service, family: Family) -> Vec<IpAddr> {
    let ingress = service.status.load_balancer.iter().flat_map(|l| l.ingress.iter().flatten());
    let vip = ingress.filter(|i| matches!(i.ip_mode.as_deref(), None | Some("VIP")));
    addresses(vip.filter_map(|i| i.ip.as_ref()), family)
}

/// Ranges of the family alone count; one of all its addresses, or none, is no limit.
fn sources(spec: &objects::ServiceSpec, family: Family) -> Vec<IpNet> {
    let texts = spec.load_balancer_source_ranges.iter().flatten();
    let nets = texts.filter_map(|t| t.trim().parse::<IpNet>().ok());
    let nets: Vec<_> = nets.filter(|n| Family::of(n.addr()) == family).map(|n| n.trunc()).collect();
    if nets.iter().any(|n| n.prefix_len() == 0) { Vec::new() } else { nets }
}
