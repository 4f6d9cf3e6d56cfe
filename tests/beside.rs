//! A client that speaks to a backend directly reaches a service of that backend from the same port, and the other way round.
//! To the backend that would be one connection; kube-proxy's conntrack keeps the two apart.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use serde_json::json;
use shunt_e2e::{eventually_answers, json as ask};
use shunt_lab::cluster::{Lab, probe};
use shunt_lab::demo::cluster_ip;
use shunt_lab::net::plan;
use shunt_lab::place::Place;
use shunt_lab::probe::Answer;
use shunt_lab::topology::{Style, Topology};
use std::net::SocketAddr;

/// The port of the pods that echoes.
const ECHO: u16 = 8082;

#[test]
fn beside_a_cni_that_routes_to_each_pod() {
    let lab = lab(Style::Routed);
    for v6 in [false, true] {
        from_outside(&lab, v6);
        for backend in [1, 2] {
            from_a_pod(&lab, backend, v6);
        }
    }
}

#[test]
fn beside_a_cni_with_a_bridge_on_each_node() {
    let lab = lab(Style::Bridge);
    for v6 in [false, true] {
        from_outside(&lab, v6);
        // On its own bridge a pod's words to a neighbour do not meet us.
        from_a_pod(&lab, 2, v6);
    }
}

fn lab(style: Style) -> Lab {
    let lab = Lab::up(Topology { nodes: 2, ..Topology::new(format!("beside-{style}"), style) }).unwrap();
    for node in [1, 2] {
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": format!("on-node{node}"), "namespace": "default"},
            "spec": {"type": "NodePort", "ipFamilyPolicy": "PreferDualStack", "selector": {"pod": format!("pod{node}-1")},
                "ports": [
                    {"name": "echo", "port": 7, "targetPort": ECHO, "nodePort": 30100 + node},
                    {"name": "http", "port": 80, "targetPort": 8080, "nodePort": 30110 + node}]},
        });
        lab.api().put(service).unwrap();
    }
    lab.settle().unwrap();
    lab
}

/// The NodePort of the backend's own node, which leaves the client's address and port as they are.
fn from_outside(lab: &Lab, v6: bool) {
    let node = lab.nodes[0].addresses.of(v6);
    eventually_answers(&lab.client, SocketAddr::new(node, 30111));
    in_both_orders(
        lab,
        &lab.client,
        SocketAddr::new(plan::pod(1, 1).of(v6), ECHO),
        SocketAddr::new(node, 30101),
    );
}

/// A pod whose sockets bypass the socket path, and the ClusterIP of one backend.
fn from_a_pod(lab: &Lab, backend: usize, v6: bool) {
    let pod = lab.nodes[0].pods[1].place.outside_cgroup();
    let service = cluster_ip(lab, &format!("on-node{backend}"), v6).unwrap();
    eventually_answers(&pod, SocketAddr::new(service, 80));
    in_both_orders(
        lab,
        &pod,
        SocketAddr::new(plan::pod(backend, 1).of(v6), ECHO),
        SocketAddr::new(service, 7),
    );
}

fn in_both_orders(lab: &Lab, client: &Place, direct: SocketAddr, service: SocketAddr) {
    // A word to begin with, and three after both have connected.
    let fine = Answer::Ok("4 lines".into());
    for (first, second) in [(direct, service), (service, direct)] {
        let before = crossed(lab);
        let got: [Answer; 2] = probe(client, &["beside", &first.to_string(), &second.to_string()]).unwrap();
        assert_eq!(got, [fine.clone(), fine.clone()], "{}: {first}, then {second}", client.name);
        // Only the backend tells of what was there before; what was moved aside was known here.
        let told = crossed(lab) - before;
        assert_eq!(told, u64::from(first == direct), "{}: {first}, then {second}", client.name);
    }
}

/// Resets of such connections that ended on the first node.
fn crossed(lab: &Lab) -> u64 {
    let list = ask(&lab.nodes[0].agent, "bpf metrics list");
    let rows = list.as_array().unwrap().iter().filter(|row| row["reason"] == "crossed");
    rows.map(|row| row["packets"].as_u64().unwrap()).sum()
}
