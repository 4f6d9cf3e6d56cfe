//! Clusters made from a seed.

mod pods;
mod service;
mod slices;

use crate::common::Object;
use crate::kube::{Detect, Settings};
use crate::random::Random;
use crate::rules::Host;
use ipnet::IpNet;
use shunt_model::objects::{
    EndpointSlice, Kind, Meta, Node, NodeAddress, NodeSpec, NodeStatus, Service, ServiceCidr, ServiceCidrSpec,
};
use shunt_model::store::Family;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Nodes of every cluster; each sees it from another position.
pub const NODES: usize = 3;
pub const ZONES: [&str; 3] = ["zone-a", "zone-b", "zone-c"];
pub const SERVICE_CIDRS: [&str; 2] = ["10.96.0.0/16", "fd00:96::/112"];
const POD_CIDRS: [&str; 2] = ["10.244.0.0/16", "fd00:244::/32"];

/// A cluster, and how its proxies are set up.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub seed: u64,
    /// Nodes, Services, EndpointSlices and the ServiceCIDR.
    pub objects: Vec<Object>,
    pub detect: Mode,
    /// NodePorts answer on all addresses of a node rather than its primary ones.
    pub all_addresses: bool,
    pub masquerade_all: bool,
    /// `bpf.lbExternalClusterIP`, which is Shunt's alone.
    pub external_cluster_ip: bool,
}

/// `detectLocalMode`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    ClusterCidr,
    NodeCidr,
    InterfaceNamePrefix,
}

impl Cluster {
    pub fn new(seed: u64) -> Self {
        let random = &mut Random::new(seed);
        let mut objects: Vec<Object> = (1..=NODES).map(|n| Object::Node(node(random, n))).collect();
        objects.push(Object::ServiceCidr(service_cidr()));
        let pods = pods::pods(random);
        let mut taken = BTreeSet::new();
        for n in 0..1 + random.below(5) {
            let service = service::service(random, n, &mut taken);
            objects.extend(slices::slices(random, &service, &pods).into_iter().map(Object::Slice));
            objects.push(Object::Service(service));
        }
        Self {
            seed,
            objects,
            detect: random.pick(&[Mode::ClusterCidr, Mode::NodeCidr, Mode::InterfaceNamePrefix]),
            all_addresses: random.percent(20),
            masquerade_all: random.percent(10),
            external_cluster_ip: random.percent(90),
        }
    }

    /// What [`Self::yaml`] has written: the seed's cluster with other objects.
    pub fn read(text: &str) -> Self {
        let head = text.strip_prefix("# seed ").and_then(|t| t.split(',').next()?.parse().ok());
        Self { objects: Object::read(text), ..Self::new(head.expect("the first line names the seed")) }
    }

    pub fn services(&self) -> Vec<&Service> {
        self.objects.iter().filter_map(|o| if let Object::Service(s) = o { Some(s) } else { None }).collect()
    }

    pub fn slices(&self) -> Vec<&EndpointSlice> {
        self.objects.iter().filter_map(|o| if let Object::Slice(s) = o { Some(s) } else { None }).collect()
    }

    pub fn node(&self, n: usize) -> Option<&Node> {
        let name = node_name(n);
        let nodes = self.objects.iter().filter_map(|o| if let Object::Node(n) = o { Some(n) } else { None });
        nodes.into_iter().find(|n| n.metadata.name == name)
    }

    /// The addresses of a node, those that are primary first.
    pub fn addresses(&self, n: usize) -> Vec<IpAddr> {
        let fields = self.node(n).and_then(|n| n.status.addresses.as_deref()).unwrap_or_default();
        let mut all: Vec<_> = fields.iter().filter(|a| a.type_.ends_with("IP")).collect();
        all.sort_by_key(|a| a.type_ != "InternalIP");
        all.iter().filter_map(|a| a.address.parse().ok()).collect()
    }

    pub fn primary(&self, n: usize) -> Vec<IpAddr> {
        let all = self.addresses(n);
        let first = |family| all.iter().copied().find(|a| Family::of(*a) == family);
        Family::ALL.into_iter().filter_map(first).collect()
    }

    /// Where a node's NodePorts answer.
    pub fn node_ports(&self, n: usize) -> Vec<IpAddr> {
        if self.all_addresses { self.addresses(n) } else { self.primary(n) }
    }

    /// What the kube-proxy of a node knows beside Services and EndpointSlices.
    pub fn settings(&self, n: usize) -> Settings {
        let label = |node: &Node| node.metadata.label("topology.kubernetes.io/zone").map(Into::into);
        Settings {
            node: node_name(n),
            zone: self.node(n).and_then(label),
            node_ips: self.primary(n),
            node_ports: self.node_ports(n).into_iter().collect(),
            detect: match self.detect {
                Mode::ClusterCidr => Detect::Nets(POD_CIDRS.iter().map(|net| net.parse().unwrap()).collect()),
                Mode::NodeCidr => Detect::Nets(pod_cidrs(n)),
                Mode::InterfaceNamePrefix => Detect::Prefix("veth"),
            },
            service_cidrs: SERVICE_CIDRS.iter().map(|net| net.parse().unwrap()).collect(),
            masquerade_all: self.masquerade_all,
        }
    }

    pub fn host(&self, n: usize) -> Host {
        Host { addresses: self.addresses(n).into_iter().collect() }
    }

    /// The objects as documents that a test can read back.
    pub fn yaml(&self) -> String {
        let one = |object: &Object| {
            let (kind, text) = match object {
                Object::Service(s) => (Kind::Service, serde_saphyr::to_string(s)),
                Object::Slice(s) => (Kind::EndpointSlice, serde_saphyr::to_string(s)),
                Object::Node(n) => (Kind::Node, serde_saphyr::to_string(n)),
                Object::Pod(p) => (Kind::Pod, serde_saphyr::to_string(p)),
                Object::ServiceCidr(c) => (Kind::ServiceCidr, serde_saphyr::to_string(c)),
            };
            format!("kind: {}\n{}", kind.name(), text.unwrap())
        };
        let head = format!(
            "# seed {}, {:?}, NodePorts on all addresses: {}, masquerade all: {}, external ClusterIP: {}\n",
            self.seed, self.detect, self.all_addresses, self.masquerade_all, self.external_cluster_ip
        );
        head + &self.objects.iter().map(one).collect::<Vec<_>>().join("---\n")
    }
}

pub fn node_name(n: usize) -> String {
    format!("node-{n}")
}

pub fn pod_cidrs(n: usize) -> Vec<IpNet> {
    [format!("10.244.{n}.0/24"), format!("fd00:244:{n}::/64")].iter().map(|c| c.parse().unwrap()).collect()
}

pub fn meta(name: String) -> Meta {
    Meta { name, namespace: "default".into(), ..Meta::default() }
}

fn service_cidr() -> ServiceCidr {
    let cidrs = Some(SERVICE_CIDRS.map(String::from).to_vec());
    let metadata = Meta { name: "kubernetes".into(), ..Meta::default() };
    ServiceCidr { metadata, spec: ServiceCidrSpec { cidrs } }
}

fn node(random: &mut Random, n: usize) -> Node {
    let zone = random.percent(90).then(|| if n == 3 { random.pick(&ZONES) } else { ZONES[n - 1] });
    let labels = zone.map(|z| BTreeMap::from([("topology.kubernetes.io/zone".to_string(), z.to_string())]));
    let mut addresses =
        vec![("InternalIP", format!("192.168.0.{n}")), ("InternalIP", format!("fd00:168::{n}"))];
    if random.percent(40) {
        // Neither order nor type may matter to what is primary.
        addresses.insert(random.below(3), ("ExternalIP", format!("172.16.0.{n}")));
    }
    addresses.push(("Hostname", node_name(n)));
    let address = |(type_, address): (&str, String)| NodeAddress { type_: type_.into(), address };
    Node {
        metadata: Meta { name: node_name(n), labels, ..Meta::default() },
        spec: NodeSpec {
            pod_cidrs: Some(pod_cidrs(n).iter().map(ToString::to_string).collect()),
            ..NodeSpec::default()
        },
        status: NodeStatus { addresses: Some(addresses.into_iter().map(address).collect()) },
    }
}
