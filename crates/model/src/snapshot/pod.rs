//! A Pod with host ports, as a service of its own: its host ports are the frontends, and itself is the one endpoint.

use super::service::Reader;
use super::{Policy, PortSpec, Slice, SlicePort, Spec, Words, parse_address, port_number, protocol, refused};
use crate::objects::{self, Kind};
use crate::store::Family;
use shunt_common::Proto;
use std::net::IpAddr;
use std::sync::Arc;

/// Where the ports of a pod answer on the node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hosts {
    /// `hostIP` of each of [`Spec::ports`]; `None` for all of the node's addresses, an unspecified one for all of its
    /// family.
    pub ips: Box<[Option<IpAddr>]>,
    /// Whether the pod has an address of IPv4, of IPv6.
    pub families: [bool; 2],
}

/// Begins the name under which the model keeps a pod. A blank, so that no service can have it.
const PREFIX: &str = "Pod ";

/// The name under which the model keeps a pod.
#[must_use]
pub fn pod_name(namespace: &str, name: &str) -> String {
    format!("{PREFIX}{namespace}/{name}")
}

/// What a name that the model keeps stands for: a Service or a Pod, and its `namespace/name`.
#[must_use]
pub fn whose(name: &str) -> (Kind, &str) {
    name.strip_prefix(PREFIX).map_or((Kind::Service, name), |pod| (Kind::Pod, pod))
}

/// The pod as a service and its slices; `None` when it has no host ports here, or has ended.
///
/// A pod of the node's own network has its ports there already.
#[must_use]
pub fn host_ports(pod: &objects::Pod, node: &str, words: &mut Words) -> Option<(Spec, Vec<Slice>)> {
    let over = matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed"));
    if over || pod.spec.node_name.as_deref() != Some(node) || pod.spec.host_network == Some(true) {
        return None;
    }
    let mut read = Reader::new(Kind::Pod, pod.metadata.key());
    let containers = pod.spec.containers.iter().chain(&pod.spec.init_containers).flatten();
    let fields = containers.flat_map(|c| c.ports.iter().flatten());
    let ports: Vec<Port> = fields.filter_map(|field| Port::new(field, &mut read, words)).collect();
    if ports.is_empty() && read.problems.is_empty() {
        return None;
    }
    let addresses = addresses(pod, &mut read);
    let has = |family| addresses.iter().any(|a| Family::of(*a) == family);
    let hosts = Hosts { ips: ports.iter().map(|p| p.host).collect(), families: Family::ALL.map(has) };
    let slices = addresses.iter().map(|addr| slice(*addr, &ports, pod)).collect();
    let spec = Spec {
        created: pod.metadata.creation_timestamp.as_deref().map(Into::into),
        cluster_ips: Box::default(),
        vips: Box::default(),
        ports: ports.into_iter().map(|p| p.spec).collect(),
        hosts: Some(Box::new(hosts)),
        policy: Policy::default(),
        health_port: 0,
        problems: read.problems,
    };
    Some((spec, slices))
}

struct Port {
    spec: PortSpec,
    host: Option<IpAddr>,
    inside: u16,
}

impl Port {
    fn new(field: &objects::ContainerPort, read: &mut Reader, words: &mut Words) -> Option<Self> {
        let number = field.host_port.filter(|n| *n != 0)?;
        let proto = match protocol(field.protocol.as_deref()) {
            Ok(proto) => proto,
            Err(what) => {
                read.problem(format!("hostPort {number}: {what} is unknown"), "use TCP, UDP or SCTP");
                return None;
            }
        };
        let (Some(port), Some(inside)) = (port_number(number), port_number(field.container_port)) else {
            let what = format!("hostPort {number}, containerPort {}: not in 1-65535", field.container_port);
            read.problem(what, "correct it; its other ports are served");
            return None;
        };
        let host = match field.host_ip.as_deref().filter(|ip| !ip.is_empty()).map(parse_address) {
            None => None,
            Some(Some(ip)) => Some(ip),
            Some(None) => {
                let text = field.host_ip.as_deref().unwrap_or_default();
                read.problem(
                    format!("hostIP {text:?} is no IP address"),
                    "correct it; its other ports are served",
                );
                return None;
            }
        };
        let name = words.get(&name(host, port, proto));
        Some(Self { spec: PortSpec { name, port, node_port: 0, proto, health_check: false }, host, inside })
    }
}

/// A name for a port that has none: the same again after a change of the others.
fn name(host: Option<IpAddr>, port: u16, proto: Proto) -> String {
    let host = host.map(|h| h.to_string()).unwrap_or_default();
    format!("{host}:{port}/{}", proto.name())
}

fn addresses(pod: &objects::Pod, read: &mut Reader) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for field in pod.status.pod_ips.iter().flatten() {
        match parse_address(&field.ip).filter(|addr| refused(*addr).is_none()) {
            Some(addr) => found.push(addr),
            None => {
                let what = format!("status.podIPs: {:?} is no address that a pod can have", field.ip);
                read.problem(what, "look why; its host ports are not served there");
            }
        }
    }
    found
}

/// The pod as the one endpoint. While it terminates it serves on: nobody else has its ports.
fn slice(addr: IpAddr, ports: &[Port], pod: &objects::Pod) -> Slice {
    let port = |p: &Port| SlicePort { name: Arc::clone(&p.spec.name), port: p.inside, proto: p.spec.proto };
    Slice::of_one(addr, ports.iter().map(port).collect(), pod.metadata.deletion_timestamp.is_some())
}
