//! Bad input is named, isolated and mended; everything else goes on.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use serde_json::json;
use shunt_e2e::{eventually, eventually_answers, node_port, problems};
use shunt_lab::api::Kind;
use shunt_lab::cluster::{Lab, repeat};
use shunt_lab::demo::apply_examples;
use shunt_lab::topology::{Style, Topology};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

#[test]
fn one_bad_thing_is_named_and_everything_else_goes_on() {
    let lab = Lab::up(Topology { nodes: 2, ..Topology::new("bad", Style::Bridge) }).unwrap();
    apply_examples(&lab).unwrap();
    malformed_objects_are_named_and_mended(&lab);
    the_older_service_keeps_a_contested_frontend(&lab);
    endpoints_on_loopback_are_refused(&lab);
    a_malformed_endpoint_spoils_only_itself(&lab);
    eventually_answers(&lab.client, node_port(&lab, 0, 30081));
}

/// Waits until the first node's agent has a problem whose text has all of these words.
fn named(lab: &Lab, words: &[&str]) {
    eventually(&format!("a problem with {words:?}"), || {
        let text = problems(&lab.nodes[0].agent);
        let found = text.lines().any(|line| words.iter().all(|word| line.contains(word)));
        if found { Ok(()) } else { Err(text) }
    });
    eventually_answers(&lab.client, node_port(lab, 0, 30081));
}

fn gone(lab: &Lab, word: &str) {
    eventually(&format!("no problem with {word:?}"), || {
        let text = problems(&lab.nodes[0].agent);
        if text.contains(word) { Err(text) } else { Ok(()) }
    });
}

/// The pods that answer the client at an address, in enough tries that none is missed.
fn answering(lab: &Lab, addr: SocketAddr) -> BTreeSet<String> {
    let tries = repeat(&lab.client, addr, 60).unwrap();
    assert_eq!(tries.failures, Vec::<String>::new(), "{addr}");
    tries.bodies.keys().filter_map(|body| Some(body.split_once(' ')?.0.to_owned())).collect()
}

fn only(lab: &Lab, addr: SocketAddr, pods: &[&str]) -> Result<(), String> {
    let found = answering(lab, addr);
    if found.iter().eq(pods) { Ok(()) } else { Err(format!("{found:?}")) }
}

fn service(name: &str, spec: serde_json::Value) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

fn malformed_objects_are_named_and_mended(lab: &Lab) {
    let spec = json!({"clusterIP": "10.96.7.7", "clusterIPs": ["10.96.7.7"], "ports": [{"port": "eighty"}]});
    lab.api().force_put(service("text-port", spec)).unwrap();
    named(lab, &["text-port"]);
    let spec = json!({"clusterIP": "10.96.7.300", "clusterIPs": ["10.96.7.300"], "ports": [{"port": 80}]});
    lab.api().force_put(service("no-address", spec)).unwrap();
    named(lab, &["no-address", "10.96.7.300"]);
    for name in ["text-port", "no-address"] {
        lab.api().delete(Kind::Service, "default", name).unwrap();
        gone(lab, name);
    }
}

fn the_older_service_keeps_a_contested_frontend(lab: &Lab) {
    // Ages are in whole seconds (metadata.creationTimestamp).
    std::thread::sleep(Duration::from_millis(1100));
    let ports = json!([{"port": 80, "targetPort": 8080, "nodePort": 30081, "protocol": "TCP"}]);
    let spec = json!({"type": "NodePort", "clusterIP": "10.96.7.8", "clusterIPs": ["10.96.7.8"], "ipFamilies": ["IPv4"],
        "selector": {"pod": "pod2-1"}, "ports": ports, "externalIPs": ["198.51.100.10"]});
    lab.api().force_put(service("latecomer", spec)).unwrap();
    named(lab, &["latecomer", "30081"]);
    named(lab, &["latecomer", "198.51.100.10"]);
    assert!(eventually_answers(&lab.client, node_port(lab, 0, 30081)).starts_with("pod1-1 "));
    let external = SocketAddr::new("198.51.100.10".parse().unwrap(), 80);
    assert_eq!(answering(lab, external).len(), 4, "the older one's pods, not the latecomer's one");
    // The rest of the latecomer works.
    let own = SocketAddr::new("10.96.7.8".parse().unwrap(), 80);
    assert!(eventually_answers(&lab.nodes[0].pods[0].place, own).starts_with("pod2-1 "));
    // When the older one goes, the other takes over.
    lab.api().delete(Kind::Service, "default", "on-node1").unwrap();
    eventually("the NodePort changes hands", || {
        let answer = eventually_answers(&lab.client, node_port(lab, 0, 30081));
        if answer.starts_with("pod2-1 ") { Ok(()) } else { Err(answer) }
    });
    lab.api().delete(Kind::Service, "default", "external").unwrap();
    eventually("the ExternalIP changes hands", || only(lab, external, &["pod2-1"]));
    gone(lab, "latecomer");
    lab.api().delete(Kind::Service, "default", "latecomer").unwrap();
    apply_examples(lab).unwrap();
    eventually("the NodePort comes back", || {
        let answer = eventually_answers(&lab.client, node_port(lab, 0, 30081));
        if answer.starts_with("pod1-1 ") { Ok(()) } else { Err(answer) }
    });
    gone(lab, "latecomer");
}

fn endpoints_on_loopback_are_refused(lab: &Lab) {
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "sly", "namespace": "default", "labels": {"kubernetes.io/service-name": "on-node1"}},
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}}],
        "ports": [{"name": "http", "port": 10257, "protocol": "TCP"}],
    });
    lab.api().force_put(slice).unwrap();
    named(lab, &["sly", "127.0.0.1"]);
    for _ in 0..10 {
        assert!(eventually_answers(&lab.client, node_port(lab, 0, 30081)).starts_with("pod1-1 "));
    }
    lab.api().delete(Kind::EndpointSlice, "default", "sly").unwrap();
    gone(lab, "sly");
}

fn a_malformed_endpoint_spoils_only_itself(lab: &Lab) {
    let slice = |first: &str| {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "typo", "namespace": "default", "labels": {"kubernetes.io/service-name": "on-node1"}},
            "endpoints": [
                {"addresses": [first], "conditions": {"ready": true}},
                {"addresses": [lab.nodes[1].pods[0].addresses.v4.to_string()], "conditions": {"ready": true}},
            ],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        })
    };
    let at = node_port(lab, 0, 30081);
    for bad in ["10.244.1.300", "fd00::1"] {
        lab.api().force_put(slice(bad)).unwrap();
        named(lab, &["typo", bad, "is no IPv4 address", "the others are used"]);
        eventually("the other endpoints go on", || only(lab, at, &["pod1-1", "pod2-1"]));
    }
    let good = lab.nodes[0].pods[1].addresses.v4.to_string();
    lab.api().force_put(slice(&good)).unwrap();
    gone(lab, "typo");
    eventually("the mended endpoint serves", || only(lab, at, &["pod1-1", "pod1-2", "pod2-1"]));
    lab.api().delete(Kind::EndpointSlice, "default", "typo").unwrap();
    eventually("the service's own endpoint remains", || only(lab, at, &["pod1-1"]));
}
