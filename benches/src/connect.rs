//! How long a TCP connect takes through a service: through Shunt, through the rules of kube-proxy's nftables and iptables
//! modes for the same services, and to the pod's address itself, in alternating rounds of one run.
//!
//! One lab, four nodes: one with Shunt, one with each peer, and one with nothing, whose pods are everybody's remote
//! backends. The client outside is as far from each.

use crate::peers::{self, Measured};
use crate::probe;
use crate::report::Report;
use crate::rules;
use crate::services::Service;
use crate::stats::Sample;
use anyhow::{Context, Result};
use shunt_lab::cluster::{Lab, Node};
use shunt_lab::net::{netns, plan};
use shunt_lab::place::Place;
use shunt_lab::topology::{Style, Topology};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Numbers of services. A larger nftables transaction keeps a core in the kernel for a minute.
const CLUSTERS: [usize; 3] = [10, 1_000, 3_000];
/// Rounds; in each, every case has its turn.
const ROUNDS: usize = 30;
/// Connects of a case in one round.
const CONNECTS: usize = 100;
/// The port of the lab's pods that services lead to; it takes connections and keeps still.
const POD_PORT: u16 = 8082;
/// Another port of theirs, for clients that connect to pods themselves: a reply to these must not look like a reply to
/// a connection through a service, which a source port that is used for both would make it.
const OTHER_PORT: u16 = 8080;

/// The nodes, counted from 0.
const SHUNT: usize = 0;
const NFTABLES: usize = 1;
const IPTABLES: usize = 2;
const BARE: usize = 3;

/// A way to a pod.
struct Case {
    name: String,
    from: Place,
    to: SocketAddrV4,
}

/// Measures every size.
pub fn run() -> Result<Report> {
    let mut report =
        Report::new("connect", &["services", "way", "p50 us", "p99 us", "min us", "p50 - pod's"]);
    for count in CLUSTERS {
        cluster(count, &mut report).with_context(|| format!("{count} services"))?;
    }
    Ok(report)
}

fn cluster(count: usize, report: &mut Report) -> Result<()> {
    let topology = Topology { nodes: 4, ..Topology::new("bench", Style::Routed) };
    let mut lab = Lab::without_agents(topology)?;
    route_pods(&lab)?;
    peers::put(&lab, services_of(&lab, SHUNT, count), SHUNT, BARE)?;
    peers::start_shunt(&mut lab, SHUNT, &[])?;
    let (all, _) = services_of(&lab, NFTABLES, count);
    rules::load_nftables(&lab.nodes[NFTABLES].host, lab.nodes[NFTABLES].addresses.v4, &all)?;
    let (all, _) = services_of(&lab, IPTABLES, count);
    let iptables = rules::load_iptables(&lab.nodes[IPTABLES].host, &all)?;

    let cases = cases(&lab, count, iptables);
    eprintln!("connect: {count} services are in place");
    let mut samples: Vec<Vec<f64>> = vec![Vec::new(); cases.len()];
    for _ in 0..ROUNDS {
        for (case, sample) in cases.iter().zip(&mut samples) {
            let times = probe::connects(&case.from, case.to, CONNECTS).with_context(|| case.name.clone())?;
            sample.extend(times);
        }
    }
    // What the same place needs to a pod without any service.
    let mut base = 0.0;
    for (case, sample) in cases.iter().zip(samples) {
        let sorted = Sample::new(sample.clone());
        if case.name.contains("nothing") {
            base = sorted.median();
        }
        report.rows.push(vec![
            count.to_string(),
            case.name.clone(),
            format!("{:.1}", sorted.median()),
            format!("{:.1}", sorted.quantile(0.99)),
            format!("{:.1}", sorted.quantile(0.0)),
            format!("{:+.1}", sorted.median() - base),
        ]);
        report.count(format!("{count}: {}", case.name), &sample);
    }
    Ok(())
}

/// The client outside may reach pods too: the router learns where they are.
fn route_pods(lab: &Lab) -> Result<()> {
    let wanted = lab.topology.netns("router");
    let router = netns::with_prefix(&wanted).into_iter().find(|n| n.name() == wanted).context("no router")?;
    let route = |n: usize| format!("route add {} via {}", plan::pod_cidrs(n)[0], plan::node(n).v4);
    router.ip(&(1..=lab.nodes.len()).map(route).collect::<Vec<_>>())
}

/// A node's services, with the pods of the bare one as remote backends.
fn services_of(lab: &Lab, node: usize, count: usize) -> (Vec<Service>, Measured) {
    peers::services_of(lab, node, BARE, POD_PORT, count)
}

/// All ways; those to a pod with nothing in between come before what is compared with them.
fn cases(lab: &Lab, count: usize, iptables: &str) -> Vec<Case> {
    let mut all = Vec::new();
    let mut add = |name: String, from: &Place, to| all.push(Case { name, from: from.clone(), to });
    let measured = |node| services_of(lab, node, count).1;
    let pod = |node: &Node| SocketAddrV4::new(node.pods[0].addresses.v4, OTHER_PORT);
    let at = |node: usize, s: &Service| SocketAddrV4::new(node_address(lab, node), s.node_port());
    let by_map = [("Shunt", SHUNT), ("nftables", NFTABLES)];

    let client = &lab.client;
    add("client to a pod, nothing on its node".into(), client, pod(&lab.nodes[BARE]));
    add("client to a pod, Shunt on its node".into(), client, pod(&lab.nodes[SHUNT]));
    for (name, node) in by_map {
        add(format!("NodePort, local backend: {name}"), client, at(node, &measured(node).last_local));
    }
    let m = measured(IPTABLES);
    add(format!("NodePort, local backend: {iptables}, first"), client, at(IPTABLES, &m.first_local));
    add(format!("NodePort, local backend: {iptables}, last"), client, at(IPTABLES, &m.last_local));
    for (name, node) in by_map {
        add(format!("NodePort, remote backend: {name}"), client, at(node, &measured(node).last_remote));
    }
    add(format!("NodePort, remote backend: {iptables}, first"), client, at(IPTABLES, &m.first_remote));
    add(format!("NodePort, remote backend: {iptables}, last"), client, at(IPTABLES, &m.last_remote));

    let host = |node: usize| &lab.nodes[node].host;
    add("node to its pod, nothing on it".into(), host(BARE), pod(&lab.nodes[BARE]));
    add("node to its pod, Shunt on it".into(), host(SHUNT), pod(&lab.nodes[SHUNT]));
    for (name, node) in by_map {
        add(format!("node to ClusterIP: {name}"), host(node), measured(node).last_local.cluster_ip());
    }
    add(format!("node to ClusterIP: {iptables}, first"), host(IPTABLES), m.first_local.cluster_ip());
    add(format!("node to ClusterIP: {iptables}, last"), host(IPTABLES), m.last_local.cluster_ip());
    all
}

fn node_address(lab: &Lab, node: usize) -> Ipv4Addr {
    lab.nodes[node].addresses.v4
}
