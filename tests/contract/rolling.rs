//! Rolling updates: the pods of a service are replaced one by one while clients go on connecting, and none of them notices.

use crate::cluster::{Cluster, FAMILIES};
use crate::{cases, run};
use serde_json::{Value, json};
use shunt_lab::cluster::{background, finish};
use shunt_lab::place::{Place, Process};
use shunt_lab::probe::Tries;
use shunt_lab::topology::Style;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

#[test]
fn rolling() {
    run(
        "rolling",
        Style::Routed,
        cases![
            nobody_notices_a_rolling_update_under_the_cluster_policy,
            nobody_notices_a_rolling_update_under_the_local_policies,
            nobody_notices_when_only_terminating_endpoints_are_left_for_a_while,
        ],
    );
}

const ALL: [(usize, usize); 4] = [(1, 1), (1, 2), (2, 1), (2, 2)];

/// A client that goes on asking, and who may answer it.
struct Asking {
    who: String,
    process: Process,
    /// The nodes whose pods answer it.
    nodes: &'static [usize],
}

/// Everybody asks at every address, each time on a new connection or from a new socket, by both protocols.
fn everybody(c: &Cluster, local: bool) -> Vec<Asking> {
    let both = &[1, 2][..];
    let of = |node: usize| match (local, node) {
        (false, _) => both,
        (true, 1) => &[1],
        (true, _) => &[2],
    };
    let ports = |name: &str, node: usize| FAMILIES.map(|v6| c.node(node, v6, c.node_port("roll", name)));
    let mut all = Vec::new();
    for (udp, port) in [(false, "http"), (true, "udp")] {
        let (balanced, first, second) =
            (FAMILIES.map(|v6| c.load_balancer("roll", v6)), ports(port, 1), ports(port, 2));
        // From outside, a load balancer's address leads to node 1.
        all.push(asking(&c.client(), udp, &[balanced, first].concat(), of(1)));
        all.push(asking(&c.client(), udp, &second, of(2)));
        let ips = FAMILIES.map(|v6| c.cluster_ip("roll", v6));
        for node in [1, 2] {
            for from in [c.pod(node, 2), c.bypass(node, 2), c.host(node)] {
                all.push(asking(&from, udp, &ips, of(node)));
            }
        }
        // Of externalTrafficPolicy a pod sees nothing on its own node.
        all.push(asking(&c.pod(1, 1), udp, &[balanced, first].concat(), both));
    }
    all
}

fn asking(from: &Place, udp: bool, to: &[SocketAddr], nodes: &'static [usize]) -> Asking {
    for addr in to {
        shunt_e2e::eventually_answers_by(from, *addr, udp);
    }
    let mut args: Vec<String> = ["repeat", "--pause", "10"].map(Into::into).into();
    args.extend(udp.then(|| "--udp".into()));
    args.extend(to.iter().map(ToString::to_string));
    let protocol = if udp { "UDP" } else { "TCP" };
    Asking {
        who: format!("{} at {to:?} by {protocol}", from.name),
        process: background(from, &args).unwrap(),
        nodes,
    }
}

/// Not one try failed, everybody asked all the time, and the new pods serve all whom the old ones did.
fn nobody_noticed(clients: Vec<Asking>) {
    let mut wrong = Vec::new();
    for client in clients {
        let tries: Tries = finish(client.process).unwrap();
        let answered: BTreeSet<&str> =
            tries.bodies.keys().map(|body| body.split(' ').next().unwrap_or_default()).collect();
        let may = |name: &&str| client.nodes.iter().any(|node| name.starts_with(&format!("pod{node}-")));
        let next = answered.iter().filter(|name| name.ends_with("-next")).count();
        let good = tries.failures.is_empty()
            && tries.tries > 100
            && answered.iter().all(may)
            && next == 2 * client.nodes.len();
        if !good {
            let failures = &tries.failures[..tries.failures.len().min(5)];
            wrong.push(format!(
                "{}: {} tries, answered by {answered:?}, {} failed: {failures:?}",
                client.who,
                tries.tries,
                tries.failures.len()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn service(c: &Cluster, policies: Value) {
    let mut spec = json!({"type": "LoadBalancer", "selector": {"app": "web"}});
    spec.as_object_mut().unwrap().extend(policies.as_object().unwrap().clone());
    c.service("roll", spec);
    c.lab.settle().unwrap();
}

/// One by one: terminating (ready false, serving and terminating true) for a while, then gone, then another is ready.
fn replace_one_by_one(c: &Cluster) {
    for (node, pod) in ALL {
        c.set_pod(node, pod, true, true);
        c.lab.settle().unwrap();
        c.replace_pod(node, pod);
    }
    // The last of them has clients too.
    std::thread::sleep(Duration::from_millis(500));
}

fn nobody_notices_a_rolling_update_under_the_cluster_policy(c: &Cluster) {
    service(c, json!({}));
    let clients = everybody(c, false);
    replace_one_by_one(c);
    nobody_noticed(clients);
}

fn nobody_notices_a_rolling_update_under_the_local_policies(c: &Cluster) {
    service(c, json!({"externalTrafficPolicy": "Local", "internalTrafficPolicy": "Local"}));
    let clients = everybody(c, true);
    replace_one_by_one(c);
    nobody_noticed(clients);
}

/// Each node's pods turn terminating together: they serve until the first of the new ones does (KEP-1669).
fn nobody_notices_when_only_terminating_endpoints_are_left_for_a_while(c: &Cluster) {
    service(c, json!({"externalTrafficPolicy": "Local", "internalTrafficPolicy": "Local"}));
    let clients = everybody(c, true);
    for node in [1, 2] {
        for pod in [1, 2] {
            c.set_pod(node, pod, true, true);
        }
        c.lab.settle().unwrap();
        for pod in [1, 2] {
            // No longer serving: the other one, terminating or new, has all the clients.
            c.set_pod(node, pod, false, true);
            c.lab.settle().unwrap();
            c.replace_pod(node, pod);
        }
    }
    std::thread::sleep(Duration::from_millis(500));
    nobody_noticed(clients);
}
