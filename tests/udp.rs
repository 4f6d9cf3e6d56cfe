//! UDP when endpoints change: whoever follows a server that went sees an error or another server, never silence.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use serde_json::json;
use shunt_e2e::{ask_on, eventually, json as ask, node_port};
use shunt_lab::api::{Handle, Kind, PatchType};
use shunt_lab::cluster::{Lab, finish};
use shunt_lab::demo::cluster_ip;
use shunt_lab::place::Process;
use shunt_lab::probe::Queries;
use shunt_lab::topology::{Style, Topology};
use std::net::SocketAddr;
use std::time::Duration;

const DNS: u16 = 31053;
const MIRROR: u16 = 31054;

#[test]
fn resolvers_follow_their_servers() {
    let mut lab = Lab::up(Topology { nodes: 2, ..Topology::new("udp", Style::Routed) }).unwrap();
    let api = lab.api();
    api.put(service("dns", "dns", DNS)).unwrap();
    api.put(service("mirror", "mirror", MIRROR)).unwrap();
    a_service_loses_a_server_that_another_keeps(&lab, &api);
    what_changes_while_no_agent_runs_is_made_up_for(&mut lab, &api);
    a_server_dies_and_another_takes_its_place(&lab, &api);
    nothing_is_wrong(&lab);
}

fn service(name: &str, label: &str, port: u16) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
        "spec": {"type": "NodePort", "selector": {(label): "yes"},
            "ports": [{"port": 53, "targetPort": 8081, "protocol": "UDP", "nodePort": port}]}})
}

/// Makes a pod an endpoint of the service that selects `label`, or no longer one.
fn select(api: &Handle, pod: &str, label: &str, on: bool) {
    let value = if on { json!("yes") } else { json!(null) };
    let patch = json!({"metadata": {"labels": {(label): value}}});
    api.patch(Kind::Pod, "default", pod, PatchType::Merge, &patch).unwrap();
}

fn cluster_addr(lab: &Lab, name: &str) -> SocketAddr {
    SocketAddr::new(cluster_ip(lab, name, false).unwrap(), 53)
}

fn asked(process: Process) -> Queries {
    let queries: Queries = finish(process).unwrap();
    println!("{queries:?}");
    queries
}

/// The endpoint lives, and serves another service and who asks it directly: theirs go on, undisturbed.
fn a_service_loses_a_server_that_another_keeps(lab: &Lab, api: &Handle) {
    select(api, "pod2-1", "dns", true);
    select(api, "pod2-1", "mirror", true);
    lab.settle().unwrap();
    let pod = &lab.nodes[0].pods[0].place;
    let direct = SocketAddr::new(lab.nodes[1].pods[0].addresses.v4.into(), 8081);
    let moved = [
        ask_on(pod, cluster_addr(lab, "dns")),
        ask_on(&lab.nodes[0].host, cluster_addr(lab, "dns")),
        // The packet path: from outside, to a node that has the server and to one that has not.
        ask_on(&lab.client, node_port(lab, 0, DNS)),
        ask_on(&lab.client, node_port(lab, 1, DNS)),
        ask_on(&pod.outside_cgroup(), cluster_addr(lab, "dns")),
    ];
    let kept = [
        ask_on(pod, cluster_addr(lab, "mirror")),
        ask_on(&lab.client, node_port(lab, 0, MIRROR)),
        ask_on(pod, direct),
    ];
    select(api, "pod1-2", "dns", true);
    select(api, "pod2-1", "dns", false);
    lab.settle().unwrap();
    std::thread::sleep(Duration::from_millis(800));
    for queries in moved.map(asked) {
        assert_eq!((queries.silent, queries.last.as_deref()), (0, Some("pod1-2")), "{queries:?}");
        assert!(queries.errors.len() <= 1, "{queries:?}");
    }
    for queries in kept.map(asked) {
        assert_eq!((queries.silent, queries.last.as_deref()), (0, Some("pod2-1")), "{queries:?}");
        assert!(queries.errors.is_empty() && queries.bodies.len() == 1, "{queries:?}");
    }
    select(api, "pod2-1", "mirror", false);
    lab.settle().unwrap();
}

fn what_changes_while_no_agent_runs_is_made_up_for(lab: &mut Lab, api: &Handle) {
    select(api, "pod2-1", "dns", true);
    select(api, "pod1-2", "dns", false);
    lab.settle().unwrap();
    let moved = [
        ask_on(&lab.nodes[0].pods[0].place, cluster_addr(lab, "dns")),
        ask_on(&lab.client, node_port(lab, 0, DNS)),
    ];
    lab.nodes[0].agent.kill();
    select(api, "pod1-2", "dns", true);
    select(api, "pod2-1", "dns", false);
    lab.settle().unwrap();
    lab.nodes[0].agent.start().unwrap();
    lab.nodes[0].agent.wait_ready(Duration::from_secs(10)).unwrap();
    std::thread::sleep(Duration::from_millis(800));
    for queries in moved.map(asked) {
        assert_eq!((queries.silent, queries.last.as_deref()), (0, Some("pod1-2")), "{queries:?}");
        assert!(queries.bodies.contains_key("pod2-1"), "{queries:?}");
    }
}

/// The server's pod goes, with its network, and a while later another serves.
fn a_server_dies_and_another_takes_its_place(lab: &Lab, api: &Handle) {
    select(api, "pod2-1", "dns", true);
    select(api, "pod1-2", "dns", false);
    lab.settle().unwrap();
    let pods = [&lab.nodes[0].pods[0].place, &lab.nodes[1].pods[1].place];
    let inside = pods.map(|pod| ask_on(pod, cluster_addr(lab, "dns")));
    let outside = [0, 1].map(|node| ask_on(&lab.client, node_port(lab, node, DNS)));

    api.delete(Kind::Pod, "default", "pod2-1").unwrap();
    lab.nodes[1].pods[0].place.netns.ip(&["link set eth0 down".into()]).unwrap();
    // Nobody serves: each is told so at once.
    std::thread::sleep(Duration::from_millis(1500));
    select(api, "pod1-2", "dns", true);
    lab.settle().unwrap();
    std::thread::sleep(Duration::from_millis(1500));

    for queries in inside.map(asked) {
        assert_eq!((queries.silent, queries.last.as_deref()), (0, Some("pod1-2")), "{queries:?}");
        assert!(!queries.errors.is_empty(), "{queries:?}");
    }
    for queries in outside.map(asked) {
        // A query that is on its way when the server dies is lost: nobody can know whose it was.
        assert!(queries.silent <= 1, "{queries:?}");
        assert_eq!(queries.last.as_deref(), Some("pod1-2"), "{queries:?}");
        assert!(queries.errors.iter().any(|e| e.contains("refused")), "told that nobody serves: {queries:?}");
    }
}

fn nothing_is_wrong(lab: &Lab) {
    for node in &lab.nodes {
        let status = ask(&node.agent, "status");
        assert_eq!((&status["errors"], &status["degraded"]), (&json!([]), &json!([])), "{}", node.name);
    }
    let metrics = || {
        let at = SocketAddr::new("127.0.0.1".parse().unwrap(), 9962);
        let answer = shunt_lab::cluster::http(&lab.nodes[0].host, at, "/metrics").unwrap();
        answer.body().unwrap_or_default().to_owned()
    };
    eventually("ended sockets are counted", || {
        let text = metrics();
        let line = text.lines().find(|line| line.starts_with("shunt_sockets_ended_total "));
        line.filter(|line| !line.ends_with(" 0")).map(|line| println!("{line}")).ok_or(text)
    });
}
