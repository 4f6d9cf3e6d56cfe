//! The commands tell the truth, in the forms that scripts rely on.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use shunt_e2e::{eventually, eventually_answers, json, node_port};
use shunt_lab::cluster::{Lab, http};
use shunt_lab::demo::apply_examples;
use shunt_lab::topology::{Style, Topology};
use std::net::SocketAddr;

#[test]
fn listings_show_what_is_programmed_and_what_happened() {
    let mut lab = Lab::up(Topology { nodes: 2, ..Topology::new("cli", Style::Routed) }).unwrap();
    apply_examples(&lab).unwrap();
    eventually_answers(&lab.client, node_port(&lab, 0, 30082));
    status_and_configuration(&lab);
    services_and_rows(&lab);
    metrics(&lab);
    one_service_and_the_other_maps(&lab);
    without_an_agent(&mut lab);
}

fn status_and_configuration(lab: &Lab) {
    let agent = &lab.nodes[0].agent;
    let text = agent.ask(&["status", "--wait"]).unwrap();
    assert!(text.contains("KubeProxyReplacement:    True   [eth0   192.168.60.11 fd00:60::11]"), "{text}");
    assert_eq!(agent.ask(&["status", "--brief"]).unwrap(), "OK\n");
    assert!(agent.ask(&["status", "--verbose"]).unwrap().contains("KubeProxyReplacement Details:"));
    let config = json(agent, "config view");
    let name = config.as_array().unwrap().iter().find(|key| key["key"] == "nodeName").unwrap();
    assert_eq!((name["value"].as_str(), name["origin"].as_str()), (Some("node1"), Some("flag --node-name")));
}

fn services_and_rows(lab: &Lab) {
    let agent = &lab.nodes[0].agent;
    let services = json(agent, "service list");
    let web = services.as_array().unwrap().iter().find(|s| s["name"] == "web").unwrap();
    let done = web["frontends"].as_array().unwrap().iter().filter(|f| f["status"] == "done").count();
    // 3 ports, each with a ClusterIP, a NodePort and its mark on both families.
    assert!(done >= 12, "{web}");
    let rows = agent.ask(&["bpf", "lb", "list"]).unwrap();
    assert!(rows.starts_with("SERVICE ADDRESS"), "{rows}");
    assert!(rows.contains("192.168.60.11:30082/TCP (1)") && rows.contains("10.244.2.11:8080/TCP"), "{rows}");
    let bare = agent.ask(&["bpf", "lb", "list", "--no-headers"]).unwrap();
    assert!(!bare.contains("SERVICE ADDRESS"));
    let backends = agent.ask(&["bpf", "lb", "list", "--backends"]).unwrap();
    assert!(backends.contains("10.244.1.11:8080/TCP"), "{backends}");
}

fn one_service_and_the_other_maps(lab: &Lab) {
    let agent = &lab.nodes[0].agent;
    let services = json(agent, "service list");
    let web = services.as_array().unwrap().iter().find(|s| s["name"] == "web").unwrap();
    let id = web["frontends"][0]["id"].as_u64().unwrap();
    let found = json(agent, &format!("service get {id}"));
    assert_eq!(found["name"], "web");
    assert!(found["frontends"].as_array().unwrap().iter().all(|f| f["id"] == id), "{found}");
    assert_eq!(agent.cli(&["service", "get", "16000000"]).unwrap().status.code(), Some(1), "no such id");
    assert_eq!(agent.cli(&["service", "get", "web"]).unwrap().status.code(), Some(2), "usage");
    lab.kubectl(&[
        "patch",
        "service",
        "web",
        "-p",
        r#"{"spec":{"type":"LoadBalancer","sessionAffinity":"ClientIP","loadBalancerSourceRanges":["192.0.2.0/24"]}}"#,
    ])
    .unwrap();
    eventually("source ranges are listed", || {
        let text = agent.ask(&["bpf", "lb", "list", "--source-ranges"]).map_err(|e| e.to_string())?;
        let (head, rows) = text.split_once('\n').unwrap_or_default();
        let good = head == "SOURCE RANGE (REVNAT_ID)" && rows.contains("192.0.2.0/24 (");
        if good { Ok(()) } else { Err(text) }
    });
    assert_eq!(json(agent, "bpf lb list --source-ranges")[0]["range"], "192.0.2.0/24");
    eventually_answers(&lab.client, node_port(lab, 0, 30080));
    let clients = json(agent, "bpf lb list --affinity");
    let row = &clients[0];
    assert!(
        row["client"].is_string() && row["address"].is_string() && row["idleSeconds"].is_u64(),
        "{clients}"
    );
    let bare = agent.ask(&["bpf", "lb", "list", "--affinity", "--no-headers"]).unwrap();
    assert!(bare.contains(row["client"].as_str().unwrap()) && !bare.contains("CLIENT"), "{bare}");
    let both = agent.cli(&["bpf", "lb", "list", "--affinity", "--backends"]).unwrap();
    assert_eq!(both.status.code(), Some(2), "one list at a time");
}

fn metrics(lab: &Lab) {
    let at = |port| SocketAddr::new("127.0.0.1".parse().unwrap(), port);
    let page = http(&lab.nodes[0].host, at(9962), "/metrics").unwrap();
    let page = page.body().unwrap();
    assert!(page.contains("shunt_services 7\n"), "{page}");
    assert!(
        page.contains("shunt_forward_packets_total{reason=\"forwarded\",direction=\"ingress\"}"),
        "{page}"
    );
    let live = http(&lab.nodes[0].host, at(10256), "/livez").unwrap();
    assert!(live.body().is_some(), "{live:?}");
}

fn without_an_agent(lab: &mut Lab) {
    lab.nodes[0].agent.kill();
    let agent = &lab.nodes[0].agent;
    assert_eq!(agent.cli(&["status"]).unwrap().status.code(), Some(3), "agent unreachable");
    assert!(agent.ask(&["bpf", "lb", "list"]).unwrap().contains("30082"), "pins are read without it");
    assert_eq!(agent.cli(&["bpf", "lb", "lits"]).unwrap().status.code(), Some(2), "usage");
}
