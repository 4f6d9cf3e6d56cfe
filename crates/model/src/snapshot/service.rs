//! A Service in compact form.

use super::{Hosts, Policy, Words, health_port, parse_address, port_number, protocol, refused};
use crate::Problem;
use crate::objects::{self, Kind};
use crate::store::Family;
use shunt_common::Proto;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

/// The label by which a service asks for another proxy than the cluster's default.
const OTHER_PROXY: &str = "service.kubernetes.io/service-proxy-name";

/// What a Service asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spec {
    /// `metadata.creationTimestamp`; `None` counts as newest.
    pub created: Option<Arc<str>>,
    /// `spec.clusterIPs`, at least one.
    pub cluster_ips: Box<[IpAddr]>,
    /// External IPs and load balancer IPs, without duplicates; load balancer first.
    pub vips: Box<[Vip]>,
    /// Ports, each name once; the health check's is the last.
    pub ports: Box<[PortSpec]>,
    /// Of a pod with host ports, where they answer; `None` for a Service.
    pub hosts: Option<Box<Hosts>>,
    /// How its traffic is treated.
    pub policy: Policy,
    /// Where load balancers ask about local endpoints; zero for none.
    pub health_port: u16,
    /// What was wrong.
    pub problems: Vec<Problem>,
}

/// An address from outside the cluster that a service answers on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vip {
    /// The address.
    pub addr: IpAddr,
    /// From `status.loadBalancer` rather than `spec.externalIPs`.
    pub load_balancer: bool,
}

/// A port of a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortSpec {
    /// Its name, empty for the only port of a service.
    pub name: Arc<str>,
    /// Port on the service's addresses.
    pub port: u16,
    /// Port on node addresses; zero for none.
    pub node_port: u16,
    /// TCP, UDP or SCTP.
    pub proto: Proto,
    /// Not one of `spec.ports`: where the service's health check answers at its load balancer's addresses.
    pub health_check: bool,
}

impl Spec {
    /// From the API object; `None` when it is not ours to serve (headless, ExternalName, another proxy's than the one
    /// named, which is empty for the cluster's default).
    #[must_use]
    pub fn new(service: &objects::Service, proxy_name: &str, words: &mut Words) -> Option<Self> {
        let spec = &service.spec;
        let kind = spec.type_.as_deref().unwrap_or("ClusterIP");
        // The label is there with an empty value too when another proxy is meant.
        let ours = Some(proxy_name).filter(|name| !name.is_empty());
        if kind == "ExternalName" || service.metadata.label(OTHER_PROXY) != ours || headless(spec) {
            return None;
        }
        let mut read = Reader::new(Kind::Service, service.metadata.key());
        let cluster_ips = read.cluster_ips(spec);
        let mut vips = read.vips(service, kind);
        // A family without a ClusterIP is none of the service's, and has no endpoints: kube-proxy skips such addresses too.
        let serves = |addr| cluster_ips.iter().any(|ip| Family::of(*ip) == Family::of(addr));
        if !cluster_ips.is_empty() {
            vips.retain(|vip| serves(vip.addr));
        }
        let policy = Policy::new(service, &mut read);
        let health_port = read.health_port(spec, kind);
        let mut ports = read.ports(spec, matches!(kind, "NodePort" | "LoadBalancer"), words);
        health_port::add(&mut ports, health_port, words);
        Some(Self {
            created: service.metadata.creation_timestamp.as_deref().map(Into::into),
            cluster_ips,
            vips: vips.into(),
            ports: ports.into(),
            hosts: None,
            policy,
            health_port,
            problems: read.problems,
        })
    }

    /// Whether the service has addresses of a family.
    #[must_use]
    pub fn serves(&self, family: Family) -> bool {
        self.cluster_ips.iter().any(|a| Family::of(*a) == family)
    }
}

fn headless(spec: &objects::ServiceSpec) -> bool {
    let first = spec.cluster_ips.as_ref().and_then(|ips| ips.first());
    [first, spec.cluster_ip.as_ref()].into_iter().flatten().any(|ip| ip == "None")
}

/// Notes what is wrong on the way.
pub(super) struct Reader {
    kind: Kind,
    name: String,
    pub(super) problems: Vec<Problem>,
}

impl Reader {
    pub(super) fn new(kind: Kind, name: String) -> Self {
        Self { kind, name, problems: Vec::new() }
    }

    pub(super) fn problem(&mut self, what: String, todo: &str) {
        self.problems.push(Problem::new(self.kind, &self.name, what, todo));
    }

    fn address(&mut self, field: &str, text: &str) -> Option<IpAddr> {
        let Some(addr) = parse_address(text) else {
            self.problem(format!("{field}: {text:?} is no IP address"), "correct it; the others are served");
            return None;
        };
        if let Some(why) = refused(addr) {
            self.problem(format!("{field}: {addr} {why}"), "use another address; the others are served");
            return None;
        }
        Some(addr)
    }

    fn cluster_ips(&mut self, spec: &objects::ServiceSpec) -> Box<[IpAddr]> {
        let field = spec.cluster_ips.as_deref().filter(|ips| !ips.is_empty());
        let texts = field.unwrap_or(spec.cluster_ip.as_slice());
        let mut found: Vec<IpAddr> = Vec::with_capacity(texts.len());
        for text in texts.iter().filter(|t| !t.is_empty()) {
            found.extend(self.address("spec.clusterIPs", text).filter(|a| !found.contains(a)));
        }
        if found.is_empty() && texts.iter().all(|t| t.is_empty()) {
            self.problem(
                "spec.clusterIP is missing".into(),
                "set one (the API server does, a manifest must)",
            );
        }
        found.into()
    }

    fn vips(&mut self, service: &objects::Service, kind: &str) -> Vec<Vip> {
        let mut vips: Vec<Vip> = Vec::new();
        let mut add = |addr: Option<IpAddr>, load_balancer| {
            if let Some(addr) = addr.filter(|a| vips.iter().all(|v| v.addr != *a)) {
                vips.push(Vip { addr, load_balancer });
            }
        };
        let status = service.status.load_balancer.as_ref().filter(|_| kind == "LoadBalancer");
        for ingress in status.and_then(|s| s.ingress.as_deref()).unwrap_or_default() {
            let ours = matches!(ingress.ip_mode.as_deref(), None | Some("VIP"));
            if let Some(ip) = ingress.ip.as_deref().filter(|ip| ours && !ip.is_empty()) {
                add(self.address("status.loadBalancer.ingress", ip), true);
            }
        }
        for ip in service.spec.external_ips.as_deref().unwrap_or_default() {
            add(self.address("spec.externalIPs", ip), false);
        }
        vips
    }

    fn ports(&mut self, spec: &objects::ServiceSpec, node_ports: bool, words: &mut Words) -> Vec<PortSpec> {
        let fields = spec.ports.as_deref().unwrap_or_default();
        let mut ports = Vec::with_capacity(fields.len());
        let (mut names, mut numbers) = (HashSet::new(), HashSet::new());
        for field in fields {
            let name = field.name.as_deref().unwrap_or_default();
            match self.port(name, field, node_ports, words) {
                Some(p) if !names.insert(name) => self.duplicate(format!("the name {name:?}"), &p),
                Some(p) if !numbers.insert((p.port, p.proto)) => {
                    self.duplicate(format!("{}/{}", p.port, p.proto.name()), &p);
                }
                found => ports.extend(found),
            }
        }
        ports
    }

    fn port(
        &mut self,
        name: &str,
        field: &objects::ServicePort,
        node_ports: bool,
        words: &mut Words,
    ) -> Option<PortSpec> {
        let at = format!("spec.ports[{name:?}]");
        let proto = match protocol(field.protocol.as_deref()) {
            Ok(proto) => proto,
            Err(what) => {
                self.problem(
                    format!("{at}: {what} is unknown"),
                    "use TCP, UDP or SCTP; its other ports are served",
                );
                return None;
            }
        };
        let Some(port) = port_number(field.port) else {
            self.problem(format!("{at}: port {} is not in 1-65535", field.port), "correct it");
            return None;
        };
        let mut node_port = 0;
        if let Some(n) = field.node_port.filter(|n| node_ports && *n != 0) {
            match port_number(n) {
                Some(n) => node_port = n,
                None => self.problem(format!("{at}: nodePort {n} is not in 1-65535"), "correct it"),
            }
        }
        Some(PortSpec { name: words.get(name), port, node_port, proto, health_check: false })
    }

    fn duplicate(&mut self, what: String, port: &PortSpec) {
        let at = format!("spec.ports: {what} stands twice; port {} is not served", port.port);
        self.problem(at, "give each port its own name and number");
    }
}
