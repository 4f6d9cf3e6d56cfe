//! Bad input is named, isolated and mended; everything else goes on.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use serde_json::json;
use shunt_e2e::{eventually, eventually_answers, json as ask, node_port, problems};
use shunt_lab::api::Kind;
use shunt_lab::cluster::Lab;
use shunt_lab::demo::apply_examples;
use shunt_lab::place::Place;
use shunt_lab::topology::{Style, Topology};
use std::net::SocketAddr;

#[test]
fn one_bad_thing_is_named_and_everything_else_goes_on() {
    let lab = Lab::up(Topology { nodes: 2, ..Topology::new("bad", Style::Bridge) }).unwrap();
    apply_examples(&lab).unwrap();
    malformed_objects_are_named_and_mended(&lab);
    the_older_service_keeps_a_contested_frontend(&lab);
    endpoints_on_loopback_are_refused(&lab);
    a_device_that_vanishes_costs_nothing(&lab);
    wrong_settings_end_in_one_clear_message(&lab);
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
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let ports = json!([{"port": 80, "targetPort": 8080, "nodePort": 30081, "protocol": "TCP"}]);
    let spec = json!({"type": "NodePort", "clusterIP": "10.96.7.8", "clusterIPs": ["10.96.7.8"], "ipFamilies": ["IPv4"],
        "selector": {"pod": "pod2-1"}, "ports": ports, "externalIPs": ["198.51.100.10"]});
    lab.api().force_put(service("latecomer", spec)).unwrap();
    named(lab, &["latecomer", "30081"]);
    named(lab, &["latecomer", "198.51.100.10"]);
    assert!(eventually_answers(&lab.client, node_port(lab, 0, 30081)).starts_with("pod1-1 "));
    // The rest of the latecomer works.
    let own = SocketAddr::new("10.96.7.8".parse().unwrap(), 80);
    assert!(eventually_answers(&lab.nodes[0].pods[0].place, own).starts_with("pod2-1 "));
    // When the older one goes, the other takes over.
    lab.api().delete(Kind::Service, "default", "on-node1").unwrap();
    eventually("the NodePort changes hands", || {
        let answer = eventually_answers(&lab.client, node_port(lab, 0, 30081));
        if answer.starts_with("pod2-1 ") { Ok(()) } else { Err(answer) }
    });
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

fn a_device_that_vanishes_costs_nothing(lab: &Lab) {
    let node = &lab.nodes[0].host.netns;
    let devices = || ask(&lab.nodes[0].agent, "status")["devices"].to_string();
    let up = [
        "link add up9 type veth peer name up9peer",
        "addr add 172.30.9.1/24 dev up9",
        "link set up9 up",
        "link set up9peer up",
    ];
    node.ip(&up.map(String::from)).unwrap();
    eventually(
        "the new device is served",
        || if devices().contains("up9") { Ok(()) } else { Err(devices()) },
    );
    node.ip(&["link del up9".into()]).unwrap();
    eventually("the device is forgotten", || if devices().contains("up9") { Err(devices()) } else { Ok(()) });
    assert!(lab.nodes[0].agent.cli(&["status", "--brief"]).unwrap().status.success());
}

/// Runs an agent that must refuse to start; its exit code and what it says.
fn refused(place: &Place, args: &[&str]) -> (i32, String) {
    let done =
        place.command(shunt_lab::agent::binary().unwrap()).unwrap().arg("agent").args(args).output().unwrap();
    (done.status.code().unwrap_or(-1), String::from_utf8_lossy(&done.stderr).into_owned())
}

fn wrong_settings_end_in_one_clear_message(lab: &Lab) {
    let host = &lab.nodes[1].host;
    let dir = lab.dir().join("nothing");
    std::fs::create_dir_all(&dir).unwrap();
    let dir = dir.display().to_string();
    let bpf = lab.dir().join("bpf/other").display().to_string();
    let cgroup = lab.nodes[1].agent.cgroup_root.display().to_string();
    let base = ["--node-name", "x", "--manifests", &dir, "--run-dir", &dir];
    let with = |more: &[&str]| refused(host, &[&base[..], more].concat());

    let (code, said) = with(&["--set", "nodePort.rnage=1-2"]);
    assert!(
        code == 2 && said.contains("nodePort.rnage") && said.contains("nodePort.range"),
        "{code}: {said}"
    );
    let (code, said) = with(&["--set", "loadBalancer.mode=fast"]);
    assert!(code == 2 && said.contains("loadBalancer.mode") && said.contains("snat"), "{code}: {said}");
    let (code, said) = with(&["--bpf-root", &dir, "--cgroup-root", &cgroup]);
    assert!(code == 1 && said.contains("mount -t bpf") && said.contains("--bpf-root"), "{code}: {said}");
    let (code, said) = with(&["--bpf-root", &bpf, "--cgroup-root", &dir]);
    assert!(code == 1 && said.contains("cgroup"), "{code}: {said}");
}
