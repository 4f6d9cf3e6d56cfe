//! This node, as far as services care.

use super::{parse_address, parse_net};
use crate::objects::{Kind, Node};
use crate::store::Family;
use crate::{Problem, objects};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;

const ZONE: &str = "topology.kubernetes.io/zone";

/// This node's addresses and its pods' ranges.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct NodeState {
    /// All IP addresses in `status.addresses`, in order.
    pub addresses: Vec<IpAddr>,
    /// The first `InternalIP` of each family (else the first `ExternalIP`): where NodePorts answer by default.
    pub primary: Vec<IpAddr>,
    /// `spec.podCIDRs`.
    pub pod_cidrs: Vec<IpNet>,
    /// The node's labels.
    pub labels: BTreeMap<String, String>,
    /// The zone that the node is in, by its label `topology.kubernetes.io/zone`.
    pub zone: Option<Box<str>>,
    /// What could not be read.
    pub problems: Vec<Problem>,
}

impl NodeState {
    /// From the API object.
    #[must_use]
    pub fn new(node: &Node) -> Self {
        let zone = node.metadata.label(ZONE).filter(|z| !z.is_empty()).map(Into::into);
        let mut state =
            Self { zone, labels: node.metadata.labels.clone().unwrap_or_default(), ..Self::default() };
        let fields = node.status.addresses.as_deref().unwrap_or_default();
        for field in fields.iter().filter(|f| is_ip(f)) {
            match parse_address(&field.address) {
                Some(addr) => state.addresses.push(addr),
                None => {
                    state.problem(node, format!("status.addresses: {:?} is no IP address", field.address))
                }
            }
        }
        state.primary = Family::ALL.iter().filter_map(|f| primary(fields, *f)).collect();
        let cidr = node.spec.pod_cidr.as_slice();
        for text in node.spec.pod_cidrs.as_deref().unwrap_or(cidr) {
            match parse_net(text) {
                Some(net) => state.pod_cidrs.push(net),
                None => state.problem(node, format!("spec.podCIDRs: {text:?} is no address range")),
            }
        }
        state
    }

    /// Whether an address is one of the node's own.
    #[must_use]
    pub fn owns(&self, addr: IpAddr) -> bool {
        self.addresses.contains(&addr)
    }

    fn problem(&mut self, node: &Node, what: String) {
        let todo = "correct the Node object; the value is ignored";
        self.problems.push(Problem::new(Kind::Node, &node.metadata.name, what, todo));
    }
}

fn is_ip(field: &objects::NodeAddress) -> bool {
    matches!(field.type_.as_str(), "InternalIP" | "ExternalIP")
}

fn primary(fields: &[objects::NodeAddress], family: Family) -> Option<IpAddr> {
    let first = |type_: &str| {
        fields
            .iter()
            .filter(|f| f.type_ == type_)
            .filter_map(|f| parse_address(&f.address))
            .find(|a| Family::of(*a) == family)
    };
    first("InternalIP").or_else(|| first("ExternalIP"))
}
