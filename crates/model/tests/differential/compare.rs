//! Shunt's rows against kube-proxy's rules, packet by packet.

use crate::cluster::{Cluster, node_name};
use crate::known;
use crate::probe::{Probe, probes};
use crate::rules::{self, Ruleset, Source};
use crate::seen::Seen;
use crate::{common, kube};
use shunt_model::fate::{self, Client};
use shunt_model::store::{Actual, Capacity, Family};
use shunt_model::{MapStore, Options};
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;

const CAPACITY: Capacity =
    Capacity { backends: 512, slots: 4096, frontends: 1024, ranges: 256, table_units: 1 << 20 };

/// A packet whose two fates differ.
#[derive(Clone, Debug)]
pub struct Case {
    /// The node that it comes to.
    pub node: usize,
    pub probe: Probe,
    pub kube: rules::Fate,
    pub shunt: fate::Fate,
    pub how: How,
}

/// What differs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// Backends, refusal or silence.
    Fate,
    /// Whose address the backend sees, and whether the backend is on this node.
    Masquerade { kube: bool, local: bool },
    /// The seconds of session affinity.
    Affinity,
}

/// What a comparison has seen.
#[derive(Default)]
pub struct Tally {
    pub packets: usize,
    /// Fates that were the same, by name.
    pub fates: BTreeMap<&'static str, usize>,
    /// Differences that are meant, by their index in the table.
    pub known: BTreeMap<usize, usize>,
    /// All others.
    pub differences: Vec<Case>,
}

/// One node's rules, of both families.
pub fn rulesets(cluster: &Cluster, n: usize) -> [Ruleset; 2] {
    let (settings, services, slices) = (cluster.settings(n), cluster.services(), cluster.slices());
    Family::ALL.map(|family| kube::rules(&settings, family, &services, &slices))
}

/// One node's rows.
pub fn actual(cluster: &Cluster, n: usize) -> Actual {
    let options = Options { external_cluster_ip: cluster.external_cluster_ip, ..Options::new(node_name(n)) };
    let mut shunt = common::Cluster::with_capacity(options, CAPACITY);
    if cluster.all_addresses {
        shunt.model.set_node_port_addresses(Some(cluster.node_ports(n)));
    }
    // Half of them have been another cluster before: whatever can change, has changed.
    let before = cluster.seed.is_multiple_of(2).then(|| Cluster::new(cluster.seed + 1_000_000));
    for cluster in before.as_ref().into_iter().chain([cluster]) {
        shunt.objects.clear();
        // The agent watches its own Node alone.
        let others = cluster.objects.iter().filter(|o| !matches!(o, common::Object::Node(_)));
        let node = cluster.node(n).cloned().map(common::Object::Node);
        shunt.objects.extend(others.cloned().chain(node).map(|o| (o.key(), o)));
        shunt.relist();
        shunt.settle();
    }
    shunt.store.dump().unwrap()
}

/// Asks both about every packet that comes to a node.
pub fn compare(cluster: &Cluster, node: usize, tally: &mut Tally) {
    let (rulesets, actual, host) = (rulesets(cluster, node), actual(cluster, node), cluster.host(node));
    for probe in probes(cluster, node) {
        let (from, to, proto) = probe;
        let rules = &rulesets[usize::from(to.is_ipv6())];
        let kube = rules.fate(&host, from, to, proto);
        let client = match from {
            Source::Device(addr) => Client::Outside(addr),
            Source::Pod(addr) => Client::Pod(addr),
            Source::Node(_) => Client::Node,
        };
        let shunt = fate::fate(&actual, client, to, proto);
        tally.packets += 1;
        let affinity = fate::affinity(&actual, to, proto);
        let hows = differences(&kube, &shunt, client, affinity);
        if hows.is_empty() {
            *tally.fates.entry(name(&shunt)).or_default() += 1;
        }
        for how in hows {
            let case = Case { node, probe, kube: kube.clone(), shunt: shunt.clone(), how };
            match known::find(&Seen { cluster, case: &case }) {
                Some(index) => *tally.known.entry(index).or_default() += 1,
                None => tally.differences.push(case),
            }
        }
    }
}

fn differences(kube: &rules::Fate, shunt: &fate::Fate, client: Client, affinity: Option<u32>) -> Vec<How> {
    let (ways, backends) = match (kube, shunt) {
        (rules::Fate::Backends(ways), fate::Fate::Backends(backends)) => (ways, backends),
        (rules::Fate::Reject, fate::Fate::Reject(_))
        | (rules::Fate::Drop, fate::Fate::Drop(_))
        | (rules::Fate::Untouched, fate::Fate::Pass) => return Vec::new(),
        _ => return vec![How::Fate],
    };
    let addrs: Vec<&SocketAddr> = backends.iter().map(|b| &b.addr).collect();
    if addrs != ways.keys().collect::<Vec<_>>() {
        return vec![How::Fate];
    }
    let mut hows = Vec::new();
    for (backend, way) in backends.iter().zip(ways.values()) {
        // Only who comes from outside and goes on to another node gets the node's address.
        let snat = matches!(client, Client::Outside(_)) && !backend.local;
        let how = How::Masquerade { kube: way.masqueraded, local: backend.local };
        if snat != way.masqueraded && !hows.contains(&how) {
            hows.push(how);
        }
        if affinity != way.affinity && !hows.contains(&How::Affinity) {
            hows.push(How::Affinity);
        }
    }
    hows
}

fn name(fate: &fate::Fate) -> &'static str {
    match fate {
        fate::Fate::Backends(_) => "backends",
        fate::Fate::Reject(_) => "reject",
        fate::Fate::Drop(_) => "drop",
        fate::Fate::Pass => "untouched",
    }
}

impl Display for Case {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (from, to, proto) = self.probe;
        write!(
            f,
            "node-{}: {from:?} to {to}/{}: {:?}\n  kube-proxy: {:?}\n  shunt: {}",
            self.node,
            proto.name(),
            self.how,
            self.kube,
            self.shunt
        )
    }
}
