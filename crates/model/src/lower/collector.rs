//! Gathers what a service asks for: each key once, with the flags that hold for all of its kind.

use super::{Env, Wanted};
use crate::Problem;
use crate::snapshot::{PortSpec, Spec, whose};
use crate::store::{Family, FrontendRef};
use shunt_common::{FrontendKind, frontend_flag};
use std::collections::HashMap;
use std::net::IpAddr;

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

/// The frontends that a service asks for, as they are found.
pub(super) struct Collector<'a> {
    name: &'a str,
    pub(super) env: &'a Env<'a>,
    /// Flags of limited frontends by family.
    limited: [u32; 2],
    pub(super) found: Vec<Wanted>,
    /// The port of each key found.
    ports: HashMap<FrontendRef, u16>,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Collector<'a> {
    pub(super) fn new(name: &'a str, spec: &Spec, env: &'a Env<'a>) -> Self {
        let limited = Family::ALL.map(|family| source_flags(spec, env, family));
        Self { name, env, limited, found: Vec::new(), ports: HashMap::new(), problems: Vec::new() }
    }

    pub(super) fn problem(&mut self, what: String, todo: &str) {
        let (kind, name) = whose(self.name);
        self.problems.push(Problem::new(kind, name, what, todo));
    }

    /// The row of each virtual address that stands for the ports that nobody serves there. A node's address has ports
    /// that are not ours, so it has none.
    pub(super) fn wildcards(&mut self) {
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

    /// Adds a frontend unless the service has it already.
    pub(super) fn add(&mut self, addr: IpAddr, port: &PortSpec, index: u16, kind: FrontendKind, flags: u32) {
        let key = FrontendRef::new(addr, port.port, port.proto);
        match self.ports.get(&key) {
            Some(have) if *have != index => {
                self.claimed_twice(addr, port, kind);
            }
            Some(_) => {}
            None => {
                // A load balancer probes from addresses of its own, which nobody lists among the clients'.
                let open = flags & frontend_flag::MARKER != 0 || port.health_check;
                let flags = if open { flags } else { flags | self.source_flags(kind, key.family()) };
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
