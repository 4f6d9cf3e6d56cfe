//! Where a service wants to answer, and where it may not.

use super::collector::Collector;
use super::host_port::host_port;
use crate::Problem;
use crate::model::{AddressIndex, Options};
use crate::snapshot::{NodeState, Nodes, PortSpec, Reach, Spec, Vip};
use crate::store::{Family, FrontendRef};
use shunt_common::{FRONTEND_SCOPES, Frontend, FrontendKind, frontend_flag};
use std::net::IpAddr;

/// A frontend that a service asks for, before conflicts with other services are decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Where it answers.
    pub key: FrontendRef,
    /// What kind it is.
    pub kind: FrontendKind,
    /// Index in [`Spec::ports`].
    pub port: u16,
    /// Bits of [`frontend_flag`].
    pub flags: u16,
}

impl Wanted {
    /// Whether packets are balanced by the row: not by one that marks a NodePort's port, nor by one that stands for all
    /// the ports of an address that nobody serves.
    #[must_use]
    pub const fn balances(&self) -> bool {
        self.flags as u32 & (frontend_flag::MARKER | frontend_flag::WILDCARD) == 0
    }

    /// Whether the row stands for all the ports of an address that nobody serves. Services that share the address share
    /// the row, so it is no conflict when another has it.
    #[must_use]
    pub const fn is_wildcard(&self) -> bool {
        self.flags as u32 & frontend_flag::WILDCARD != 0
    }

    /// Whether backends may answer clients of the row directly: those come from outside, and to other nodes' backends too.
    #[must_use]
    pub fn can_be_direct(&self) -> bool {
        let outside = frontend_flag::EXTERNAL | frontend_flag::MARKER;
        u32::from(self.flags) & outside != 0 && !self.is_wildcard() && self.kind != FrontendKind::HostPort
    }

    /// Which endpoints each scope reaches, by [`shunt_common::Scope`].
    ///
    /// A ClusterIP follows `internalTrafficPolicy` in both scopes, as it does in kube-proxy. Any other address follows
    /// `externalTrafficPolicy` for traffic from outside; pods and the node itself, which could as well have used the
    /// ClusterIP, are short-circuited to the endpoints of the whole cluster (KEP-2086, kube-proxy's "short circuit").
    #[must_use]
    pub const fn reach(&self, spec: &Spec) -> [Reach; FRONTEND_SCOPES] {
        match self.kind {
            FrontendKind::ClusterIp => [spec.policy.internal; FRONTEND_SCOPES],
            _ => [spec.policy.external, Reach::Cluster],
        }
    }

    /// The row, without service id and pools.
    #[must_use]
    pub fn row(&self) -> Frontend {
        Frontend { kind: self.kind as u8, flags: self.flags.into(), ..Frontend::default() }
    }
}

/// What decides where services answer, beside the service itself.
pub struct Env<'a> {
    /// Settings.
    pub options: &'a Options,
    /// This node.
    pub node: &'a NodeState,
    /// Where NodePorts answer.
    pub node_ports: &'a [IpAddr],
    /// NodePorts answer to the node's own sockets on its loopback addresses too.
    pub node_port_loopback: bool,
    /// Which service has an address as its ClusterIP.
    pub addresses: &'a AddressIndex,
}

/// Every frontend that a service may ask for, each key once, and what was refused.
#[must_use]
pub fn wanted<'a>(name: &'a str, spec: &Spec, env: &'a Env<'a>) -> (Vec<Wanted>, Vec<Problem>) {
    let here = |nodes: &Nodes| nodes.matches(&env.options.node_name, &env.node.labels);
    if !spec.policy.nodes.as_deref().is_none_or(here) {
        return Default::default();
    }
    let mut out = Collector::new(name, spec, env);
    cluster_ips(&mut out, spec);
    for (port, index) in numbered(spec) {
        node_ports(&mut out, spec, port, index);
        if let Some(hosts) = &spec.hosts {
            host_port(&mut out, hosts, port, index);
        }
    }
    vips(&mut out, spec);
    out.wildcards();
    (out.found, out.problems)
}

fn numbered(spec: &Spec) -> impl Iterator<Item = (&PortSpec, u16)> {
    spec.ports.iter().zip(0u16..)
}

/// Where this node's own server answers the health checks that come to a load balancer's address: at the node's primary
/// address if NodePorts answer there, since the server listens where they do.
#[must_use]
pub fn health_check_address(env: &Env<'_>, family: Family) -> Option<IpAddr> {
    let listens = || env.node_ports.iter().filter(|a| Family::of(**a) == family).copied();
    let primary = listens().find(|a| env.node.primary.contains(a));
    primary.or_else(|| listens().next()).filter(|_| env.options.health_check_vips)
}

fn cluster_ips(out: &mut Collector<'_>, spec: &Spec) {
    if !spec.policy.types.has(FrontendKind::ClusterIp) {
        return;
    }
    let env = out.env;
    let flags = if env.options.external_cluster_ip { frontend_flag::EXTERNAL } else { 0 };
    for addr in &spec.cluster_ips {
        if env.node.owns(*addr) {
            // Its ports would hide the node's own ssh, kubelet or API server.
            let what = format!("spec.clusterIPs: {addr} is an address of this node");
            out.problem(what, "give the service an address of its own");
            continue;
        }
        for (port, index) in numbered(spec).filter(|(port, _)| !port.health_check) {
            out.add(*addr, port, index, FrontendKind::ClusterIp, flags);
        }
    }
}

fn node_ports(out: &mut Collector<'_>, spec: &Spec, port: &PortSpec, index: u16) {
    let (env, number) = (out.env, port.node_port);
    if number == 0 || !env.options.node_port.enabled || !spec.policy.types.has(FrontendKind::NodePort) {
        return;
    }
    let (min, max) = env.options.node_port.range;
    if number < min || number > max {
        // Whoever writes a manifest could otherwise take the node's own ssh or kubelet port.
        let what = format!("nodePort {number} is outside nodePort.range {min}-{max}");
        out.problem(what, "choose one inside, or widen nodePort.range to what the API server allows");
        return;
    }
    let node_port = PortSpec { port: number, ..port.clone() };
    for family in Family::ALL.into_iter().filter(|f| spec.serves(*f)) {
        for addr in env.node_ports.iter().filter(|a| Family::of(**a) == family) {
            out.add(*addr, &node_port, index, FrontendKind::NodePort, frontend_flag::EXTERNAL);
        }
        if env.node_port_loopback {
            out.add(family.loopback(), &node_port, index, FrontendKind::NodePort, frontend_flag::HOST_ONLY);
        }
        out.add(family.unspecified(), &node_port, index, FrontendKind::NodePort, frontend_flag::MARKER);
    }
}

fn vips(out: &mut Collector<'_>, spec: &Spec) {
    let env = out.env;
    for vip in &spec.vips {
        let kind = if vip.load_balancer { FrontendKind::LoadBalancer } else { FrontendKind::ExternalIp };
        if !spec.policy.types.has(kind) || (!vip.load_balancer && !env.options.external_ips) {
            continue;
        }
        if let Some((what, todo)) = refused(*vip, env) {
            let field = if vip.load_balancer { "status.loadBalancer.ingress" } else { "spec.externalIPs" };
            out.problem(format!("{field}: {} {what}", vip.addr), todo);
            continue;
        }
        let checks = vip.load_balancer && health_check_address(env, Family::of(vip.addr)).is_some();
        for (port, index) in numbered(spec).filter(|(port, _)| !port.health_check || checks) {
            out.add(vip.addr, port, index, kind, frontend_flag::EXTERNAL);
        }
    }
}

/// Why an address from outside would take traffic away from the cluster itself (CVE-2020-8554 is one way).
fn refused(vip: Vip, env: &Env<'_>) -> Option<(String, &'static str)> {
    const TODO: &str = "use an address that nothing else in the cluster has";
    if env.node.owns(vip.addr) {
        return Some(("is an address of this node".into(), TODO));
    }
    if !vip.load_balancer && !env.options.external_ip_mitigation {
        return None;
    }
    if let Some(owner) = env.addresses.cluster_ip(vip.addr) {
        return Some((format!("is the ClusterIP of {owner}"), TODO));
    }
    let mut cidrs = env.node.pod_cidrs.iter().chain(&env.options.cluster_cidrs);
    let cidr = cidrs.find(|net| net.contains(&vip.addr))?;
    Some((format!("lies in the pod CIDR {cidr}"), TODO))
}
