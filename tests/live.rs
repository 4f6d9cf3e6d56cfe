//! Changes arrive: by kubectl, by devices and addresses that come, and after the API was away.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use serde_json::json;
use shunt_e2e::{eventually, eventually_answers, eventually_silent, json as ask, node_port};
use shunt_lab::cluster::Lab;
use shunt_lab::demo::apply_examples;
use shunt_lab::topology::{Style, Topology};
use std::net::SocketAddr;
use std::time::Duration;

#[test]
fn what_changes_is_served() {
    let mut lab = Lab::up(Topology { nodes: 2, ..Topology::new("live", Style::Routed) }).unwrap();
    apply_examples(&lab).unwrap();
    kubectl_drives_it(&lab);
    a_device_added_live_serves(&lab);
    the_api_may_go_away(&mut lab);
}

fn kubectl_drives_it(lab: &Lab) {
    let at = |port| node_port(lab, 0, port);
    assert!(lab.kubectl(&["get", "service", "web", "-o", "wide"]).unwrap().contains("30080"));
    let described = lab.kubectl(&["describe", "service", "web"]).unwrap();
    assert!(described.contains("30080/TCP") && described.contains(":8080,"), "{described}");
    eventually_answers(&lab.client, at(30082));
    let patch = r#"{"spec":{"ports":[{"name":"http","port":80,"protocol":"TCP","nodePort":31082}]}}"#;
    lab.kubectl(&["patch", "service", "on-node2", "-p", patch]).unwrap();
    eventually_answers(&lab.client, at(31082));
    eventually_silent(&lab.client, at(30082));
    lab.kubectl(&["annotate", "service", "on-node2", "example.com/note=kept"]).unwrap();
    assert!(
        lab.kubectl(&["get", "service", "on-node2", "-o", "yaml"])
            .unwrap()
            .contains("example.com/note: kept")
    );
    lab.kubectl(&["delete", "service", "on-node2"]).unwrap();
    eventually_silent(&lab.client, at(31082));
    let rows = ask(&lab.nodes[0].agent, "bpf lb list").to_string();
    assert!(!rows.contains(":31082/"), "{rows}");
    apply_examples(lab).unwrap();
    eventually_answers(&lab.client, at(30082));
}

/// A second uplink appears, with a client behind it.
fn a_device_added_live_serves(lab: &Lab) {
    let (node, client) = (&lab.nodes[0].host.netns, &lab.client.netns);
    let pair = format!("link add up2 type veth peer name eth1 netns {}", client.name());
    node.ip(&[pair, "link set up2 up".into(), "addr add 172.30.1.1/24 dev up2".into()]).unwrap();
    client.ip(&["link set eth1 up".into(), "addr add 172.30.1.2/24 dev eth1".into()]).unwrap();
    client.ip(&[format!("route add {}/32 via 172.30.1.1 dev eth1", lab.nodes[0].addresses.v4)]).unwrap();
    let status = || ask(&lab.nodes[0].agent, "status")["devices"].to_string();
    eventually(
        "the device is found",
        || if status().contains("172.30.1.1") { Ok(()) } else { Err(status()) },
    );
    // The local backend sees the client's address on the new link; the remote one is reached by the old uplink.
    assert_eq!(eventually_answers(&lab.client, node_port(lab, 0, 30081)), "pod1-1 172.30.1.2");
    let answer = eventually_answers(&lab.client, node_port(lab, 0, 30082));
    assert_eq!(answer, format!("pod2-1 {}", lab.nodes[0].addresses.v4));
    client.ip(&["link del eth1".into()]).unwrap();
    eventually("the device is forgotten", || {
        if status().contains("172.30.1.1") { Err(status()) } else { Ok(()) }
    });
    eventually_answers(&lab.client, node_port(lab, 0, 30081));
}

fn the_api_may_go_away(lab: &mut Lab) {
    let api = lab.api();
    let late = |name: &str, port: u16| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
            "spec": {"type": "NodePort", "selector": {"pod": "pod1-1"},
                "ports": [{"port": 80, "targetPort": 8080, "nodePort": port}]}})
    };
    api.stop();
    eventually("status tells that the source is away", || {
        let down = ask(&lab.nodes[0].agent, "status")["source"]["down"].to_string();
        if down == "{}" { Err(down) } else { Ok(()) }
    });
    eventually_answers(&lab.client, node_port(lab, 0, 30081));
    let health = SocketAddr::new("127.0.0.1".parse().unwrap(), 10256);
    let healthy = shunt_lab::cluster::http(&lab.nodes[0].host, health, "/healthz").unwrap();
    assert!(healthy.body().is_some_and(|body| body.contains("lastUpdated")), "{healthy:?}");
    // An agent that starts meanwhile serves what is pinned.
    lab.nodes[0].agent.kill();
    lab.nodes[0].agent.start().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    eventually_answers(&lab.client, node_port(lab, 0, 30081));
    api.put(late("while-away", 31001)).unwrap();
    api.resume();
    eventually_answers(&lab.client, node_port(lab, 0, 31001));

    // Watches that end, with and without 410 Gone, and slow answers.
    api.expire();
    api.put(late("after-410", 31002)).unwrap();
    eventually_answers(&lab.client, node_port(lab, 0, 31002));
    api.drop_watches();
    api.slow(Duration::from_millis(300));
    api.put(late("slowly", 31003)).unwrap();
    eventually_answers(&lab.client, node_port(lab, 0, 31003));
    api.slow(Duration::ZERO);
}
