//! Where a service wants to answer, and where it may not.

use crate::Problem;
use crate::model::{AddressIndex, Options};
use crate::snapshot::{Hosts, NodeState, PortSpec, Reach, Spec, Vip, whose};
use crate::store::{Family, FrontendRef};
use shunt_common::{FRONTEND_SCOPES, Frontend, FrontendKind, frontend_flag};
use std::collections::HashMap;
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
    if spec
        .policy
        .nodes
        .as_ref()
        .is_some_and(|nodes| !nodes.matches(&env.options.node_name, &env.node.labels))
    {
        return Default::default();
    }
    let mut out = Collector::new(name, spec, env);
    cluster_ips(&mut out, spec);
    for (port, index) in spec.ports.iter().zip(0u16..) {
        node_ports(&mut out, spec, port, index);
        if let Some(hosts) = &spec.hosts {
            host_port(&mut out, hosts, port, index);
        }
    }
    vips(&mut out, spec);
    out.wildcards();
    (out.found, out.problems)
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
        for (port, index) in spec.ports.iter().zip(0u16..) {
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

/// A pod's port on the node: on the addresses where NodePorts answer, or on its hostIP alone.
fn host_port(out: &mut Collector<'_>, hosts: &Hosts, port: &PortSpec, index: u16) {
    let (env, kind) = (out.env, FrontendKind::HostPort);
    let (min, max) = env.options.node_port.range;
    if env.options.node_port.enabled && (min..=max).contains(&port.port) {
        let what = format!("hostPort {} is inside nodePort.range {min}-{max}", port.port);
        return out.problem(what, "choose one outside");
    }
    let host = hosts.ips[usize::from(index)];
    let any = host.is_none_or(|ip| ip.is_unspecified());
    let wants =
        |family: &Family| hosts.families[*family as usize] && host.is_none_or(|ip| Family::of(ip) == *family);
    for family in Family::ALL.into_iter().filter(wants) {
        for addr in env.node_ports.iter().filter(|a| any && Family::of(**a) == family) {
            out.add(*addr, port, index, kind, frontend_flag::EXTERNAL);
        }
        if any && env.node_port_loopback {
            out.add(family.loopback(), port, index, kind, frontend_flag::HOST_ONLY);
        }
        let Some(host) = host.filter(|_| !any) else { continue };
        if host.is_loopback() {
            out.add(host, port, index, kind, frontend_flag::HOST_ONLY);
        } else if env.node.owns(host) || env.node_ports.contains(&host) {
            out.add(host, port, index, kind, frontend_flag::EXTERNAL);
        } else {
            // Any address would do otherwise to take other people's traffic (CVE-2020-8554 by another door).
            let what = format!("hostIP {host} is no address of this node");
            out.problem(what, "use one that the Node object or nodePort.addresses has");
        }
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
        for (port, index) in spec.ports.iter().zip(0u16..) {
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
    let cidr = env.node.pod_cidrs.iter().find(|net| net.contains(&vip.addr))?;
    Some((format!("lies in the pod CIDR {cidr}"), TODO))
}

/// What a family's frontends say of source ranges.
fn source_flags(spec: &Spec, env: &Env<'_>, family: Family) -> u32 {
    let Some(sources) = spec.policy.sources.as_ref().filter(|s| s.of(family).is_some()) else { return 0 };
    let primary = env.node.primary.iter().find(|a| Family::of(**a) == family);
    let mut flags = frontend_flag::SOURCE_RANGES;
    if sources.deny {
        flags |= frontend_flag::SOURCE_DENY;
    }
    // The address that the node's sockets have unless they ask for another, as kube-proxy takes it.
    if primary.is_some_and(|addr| sources.admit(*addr)) {
        flags |= frontend_flag::NODE_ALLOWED;
    }
    flags
}

struct Collector<'a> {
    name: &'a str,
    env: &'a Env<'a>,
    /// Flags of limited frontends by family.
    limited: [u32; 2],
    found: Vec<Wanted>,
    /// The port of each key found.
    ports: HashMap<FrontendRef, u16>,
    problems: Vec<Problem>,
}

impl<'a> Collector<'a> {
    fn new(name: &'a str, spec: &Spec, env: &'a Env<'a>) -> Self {
        let limited = Family::ALL.map(|family| source_flags(spec, env, family));
        Self { name, env, limited, found: Vec::new(), ports: HashMap::new(), problems: Vec::new() }
    }

    fn problem(&mut self, what: String, todo: &str) {
        let (kind, name) = whose(self.name);
        self.problems.push(Problem::new(kind, name, what, todo));
    }

    /// The row of each virtual address that stands for the ports that nobody serves there. A node's address has ports
    /// that are not ours, so it has none.
    fn wildcards(&mut self) {
        // With the last of a service's ports: on a new address the others are served before they could be refused.
        let virtual_ones = self
            .found
            .iter()
            .rev()
            .filter(|w| matches!(w.kind, FrontendKind::ClusterIp | FrontendKind::LoadBalancer));
        let mut rows: Vec<Wanted> = Vec::new();
        for want in virtual_ones {
            let key = FrontendRef::wildcard(want.key.addr());
            if rows.iter().all(|row| row.key != key) {
                let flags = want.flags & frontend_flag::EXTERNAL as u16 | frontend_flag::WILDCARD as u16;
                rows.push(Wanted { key, flags, ..*want });
            }
        }
        self.found.extend(rows);
    }

    /// Source ranges are the load balancer's; whoever reaches the other addresses is limited only when asked for.
    fn source_flags(&self, kind: FrontendKind, family: Family) -> u32 {
        let limited = match kind {
            FrontendKind::LoadBalancer => true,
            FrontendKind::NodePort | FrontendKind::ExternalIp => self.env.options.source_ranges_for_all,
            FrontendKind::ClusterIp | FrontendKind::HostPort => false,
        };
        if limited { self.limited[family as usize] } else { 0 }
    }
    fn add(&mut self, addr: IpAddr, port: &PortSpec, index: u16, kind: FrontendKind, flags: u32) {
        let key = FrontendRef::new(addr, port.port, port.proto);
        match self.ports.get(&key) {
            Some(have) if *have != index => {
                self.claimed_twice(addr, port, kind);
            }
            Some(_) => {}
            None => {
                let flags = match flags & frontend_flag::MARKER {
                    0 => flags | self.source_flags(kind, key.family()),
                    _ => flags,
                };
                self.ports.insert(key, index);
                self.found.push(Wanted { key, kind, port: index, flags: flags as u16 });
            }
        }
    }
    fn claimed_twice(&mut self, addr: IpAddr, port: &PortSpec, kind: FrontendKind) {
        let at = match kind {
            FrontendKind::NodePort => "nodePort ".into(),
            _ => format!("{addr}:"),
        };
        let what = format!("{at}{}/{} is claimed by two of its ports", port.port, port.proto.name());
        let todo = "give each port its own number; the first keeps it";
        let (object, name) = whose(self.name);
        let problem = Problem::new(object, name, what, todo);
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}
