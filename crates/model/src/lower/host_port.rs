//! Where a pod's host ports answer.

use super::collector::Collector;
use crate::snapshot::{Hosts, PortSpec};
use crate::store::Family;
use shunt_common::{FrontendKind, frontend_flag};

/// A pod's port on the node: on the addresses where NodePorts answer, or on its hostIP alone.
pub(super) fn host_port(out: &mut Collector<'_>, hosts: &Hosts, port: &PortSpec, index: u16) {
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
