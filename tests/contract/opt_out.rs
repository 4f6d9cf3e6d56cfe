//! Pods that leave the socket path by a label on them or on their namespace: their sockets keep the service's address, their
//! packets are translated, and nothing else is different.

use crate::cluster::{Cluster, FAMILIES};
use crate::{cases, run_with};
use serde_json::{Value, json};
use shunt_e2e::{eventually, json as ask, problems};
use shunt_lab::api::{Kind, PatchType};
use shunt_lab::cluster::{background, finish, http, udp};
use shunt_lab::kubelet;
use shunt_lab::place::Place;
use shunt_lab::probe::Held;
use shunt_lab::topology::Style;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

const LABEL: &str = "shunt.io/socket-lb";
const ARGUMENTS: [&str; 2] = ["--set", "socketLB.optOutLabel=shunt.io/socket-lb"];
const ALL: [&str; 4] = ["pod1-1", "pod1-2", "pod2-1", "pod2-2"];

#[test]
fn opt_out() {
    run_with(
        "opt-out",
        Style::Routed,
        &ARGUMENTS,
        cases![
            a_label_on_a_pod_or_its_namespace_leaves_its_sockets_to_packets,
            connections_outlive_both_changes,
            who_has_opted_out_is_served_by_the_same_rules,
            a_pod_is_left_alone_before_its_containers_start,
        ],
    );
}

#[test]
fn an_agent_that_starts_again_or_may_not_read_pods_keeps_who_has_opted_out() {
    let mut c = Cluster::up("opt-out-again", Style::Bridge, &ARGUMENTS);
    c.service("seen", json!({"type": "NodePort", "selector": {"app": "web"}}));
    label(&c, (1, 1), json!("disabled"));
    // One node's kubelet is of the other driver.
    label(&c, (2, 2), json!("disabled"));
    opted_out(&c, 1, &["default/pod1-1"]);
    opted_out(&c, 2, &["default/pod2-2"]);
    served(&c, (2, 2), true);
    c.lab.nodes[0].agent.kill();
    served(&c, (1, 1), true);
    c.lab.nodes[0].agent.start().unwrap();
    c.lab.nodes[0].agent.wait_ready(Duration::from_secs(30)).unwrap();
    served(&c, (1, 1), true);
    served(&c, (1, 2), false);

    c.lab.nodes[0].agent.kill();
    c.lab.api().forbid(&[Kind::Pod, Kind::Namespace]);
    c.lab.nodes[0].agent.start().unwrap();
    c.lab.nodes[0].agent.wait_ready(Duration::from_secs(30)).unwrap();
    let degraded = || ask(&c.lab.nodes[0].agent, "status")["degraded"].to_string();
    eventually("the refusal is told", || {
        let told = degraded();
        let both = ["pods is forbidden", "namespaces is forbidden"].iter().all(|text| told.contains(text));
        if both && told.contains("socketLB.optOutLabel") { Ok(()) } else { Err(told) }
    });
    served(&c, (1, 1), true);
    served(&c, (1, 2), false);
    let log = std::fs::read_to_string(c.lab.nodes[0].agent.log()).unwrap();
    assert_eq!(log.matches("pods is forbidden").count(), 1, "once: {log}");
    c.lab.api().forbid(&[]);
    eventually("the API lets us read pods again", || match degraded() {
        told if told.contains("forbidden") => Err(told),
        _ => Ok(()),
    });

    c.lab.nodes[0].agent.kill();
    label(&c, (1, 1), Value::Null);
    c.lab.nodes[0].agent.start().unwrap();
    c.lab.nodes[0].agent.wait_ready(Duration::from_secs(30)).unwrap();
    opted_out(&c, 1, &[]);
    served(&c, (1, 1), false);
}

fn a_label_on_a_pod_or_its_namespace_leaves_its_sockets_to_packets(c: &Cluster) {
    c.service("seen", json!({"type": "NodePort", "selector": {"app": "web"}}));
    served(c, (1, 1), false);
    label(c, (1, 1), json!("disabled"));
    opted_out(c, 1, &["default/pod1-1"]);
    served(c, (1, 1), true);
    served(c, (1, 2), false);
    label(c, (1, 2), json!("enabled"));
    label(c, (1, 1), Value::Null);
    opted_out(c, 1, &[]);
    served(c, (1, 1), false);

    c.lab.kubectl(&["label", "namespace", "default", "shunt.io/socket-lb=disabled"]).unwrap();
    opted_out(c, 1, &["default/pod1-1"]);
    served(c, (1, 1), true);
    served(c, (1, 2), false);
    opted_out(c, 2, &["default/pod2-1", "default/pod2-2"]);
    c.lab.kubectl(&["label", "namespace", "default", "shunt.io/socket-lb-"]).unwrap();
    opted_out(c, 1, &[]);
    served(c, (1, 1), false);

    label(c, (1, 1), json!("off"));
    eventually("a word that is none is told", || {
        let told = problems(&c.lab.nodes[0].agent);
        let named = told.contains("Pod default/pod1-1") && told.contains("disabled or enabled");
        if named { Ok(()) } else { Err(told) }
    });
    let details = c.lab.nodes[0].agent.ask(&["status", "--verbose"]).unwrap();
    assert!(details.contains("Socket LB Opt-Out:      0 pods   (label shunt.io/socket-lb)"), "{details}");
}

fn connections_outlive_both_changes(c: &Cluster) {
    c.service("echo", echo());
    let to = |v6| c.cluster_ip("echo", v6);
    let (v4, v6) = (to(false), to(true));
    c.reaches(&c.pod(1, 1), SocketAddr::new(v4.ip(), 81), &ALL);
    let hold = |at: &[SocketAddr]| {
        let tcp = at.iter().flat_map(|addr| ["--tcp".into(), addr.to_string()]);
        let args: Vec<String> = ["hold".to_owned()].into_iter().chain(tcp).collect();
        background(&c.pod(1, 1), &[args, vec!["--connections".into(), "4".into()]].concat()).unwrap()
    };
    let translated = hold(&[v4, v6]);
    peers(c, |peer| peer.port() == 8082);
    label(c, (1, 1), json!("disabled"));
    opted_out(c, 1, &["default/pod1-1"]);
    let untouched = hold(&[v4, v6]);
    // The wire has what the kernel's socket has: the service's address, and the first ones still the server's.
    peers(c, |peer| peer == v4);
    peers(c, |peer| peer == v6);
    peers(c, |peer| peer.port() == 8082);
    label(c, (1, 1), Value::Null);
    opted_out(c, 1, &[]);
    std::thread::sleep(Duration::from_millis(500));
    for process in [translated, untouched] {
        let held: Held = finish(process).unwrap();
        assert_eq!((held.opened, held.broken.as_slice()), (4, &[][..]), "{held:?}");
        assert!(held.exchanges > 40, "{held:?}");
    }
}

fn who_has_opted_out_is_served_by_the_same_rules(c: &Cluster) {
    c.service("none", json!({"type": "NodePort", "selector": {"app": "nobody"}}));
    c.service("local", json!({"internalTrafficPolicy": "Local", "selector": {"pod": "pod2-1"}}));
    c.service("near", json!({"internalTrafficPolicy": "Local", "selector": {"app": "web"}}));
    c.service("self", json!({"selector": {"pod": "pod1-1"}}));
    c.service("sticky", json!({"sessionAffinity": "ClientIP", "selector": {"app": "web"}}));
    label(c, (1, 1), json!("disabled"));
    opted_out(c, 1, &["default/pod1-1"]);
    let pod = c.pod(1, 1);
    for v6 in FAMILIES {
        c.refused(&pod, c.cluster_ip("none", v6));
        c.refused(&pod, c.node(1, v6, c.node_port("none", "http")));
        // A service has no such port.
        c.refused(&pod, SocketAddr::new(c.cluster_ip("self", v6).ip(), 4444));
        c.silent(&pod, c.cluster_ip("local", v6));
        c.reaches(&pod, c.cluster_ip("near", v6), &["pod1-1", "pod1-2"]);
        c.reaches(&pod, c.cluster_ip("self", v6), &["pod1-1"]);
        c.reaches_by_udp(&pod, c.cluster_ip("self", v6), &["pod1-1"]);
        let first = answer(&pod, c.cluster_ip("sticky", v6));
        (0..12).for_each(|_| assert_eq!(answer(&pod, c.cluster_ip("sticky", v6)), first));
    }
}

/// What the first node's metrics say of pods that have opted out, and of those that could not.
fn counted(c: &Cluster, pods: u32, missing: u32) {
    let page = http(&c.host(1), c.node(1, false, 9962), "/metrics").unwrap();
    let page = page.body().unwrap();
    for line in [format!("shunt_opt_out_pods {pods}"), format!("shunt_opt_out_missing_pods {missing}")] {
        assert!(page.lines().any(|found| found == line), "no {line:?} in {page}");
    }
}

fn a_pod_is_left_alone_before_its_containers_start(c: &Cluster) {
    c.service("seen", json!({"type": "NodePort", "selector": {"app": "web"}}));
    let object = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "late", "namespace": "default", "labels": {LABEL: "disabled"}},
        "spec": {"nodeName": "node1", "terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "c"}]},
    });
    c.lab.api().put(object).unwrap();
    eventually("a pod without a cgroup is named", || {
        let status = ask(&c.lab.nodes[0].agent, "status");
        let named = status["optOut"]["missing"] == json!(["default/late"]);
        if named { Ok(()) } else { Err(status["optOut"].to_string()) }
    });
    let details = c.lab.nodes[0].agent.ask(&["status", "--verbose"]).unwrap();
    assert!(details.contains("no cgroup found of default/late"), "{details}");
    counted(c, 0, 1);
    let uid = c.lab.api().get(Kind::Pod, "default", "late").unwrap()["metadata"]["uid"].clone();
    let cgroup = kubelet::make(&c.lab.nodes[0].agent.cgroup_root, (1, 9), uid.as_str().unwrap()).unwrap();
    // So long a runtime needs for its first container at the very least.
    std::thread::sleep(Duration::from_millis(100));
    let late = Place { name: "late".into(), cgroup: Some(cgroup.clone()), ..c.pod(1, 1) };
    let to = c.cluster_ip("seen", false);
    let before = flows(c, (1, 1), to);
    assert!(http(&late, to, "/").unwrap().body().is_some());
    assert_ne!(flows(c, (1, 1), to).difference(&before).count(), 0, "its first connection is one of packets");
    opted_out(c, 1, &["default/late"]);
    counted(c, 1, 0);
    let details = c.lab.nodes[0].agent.ask(&["status", "--verbose"]).unwrap();
    assert!(details.contains("Opted-Out Pods:\n  default/late\n"), "{details}");
    c.lab.api().delete(Kind::Pod, "default", "late").unwrap();
    opted_out(c, 1, &[]);
    let before = flows(c, (1, 1), to);
    assert!(http(&late, to, "/").unwrap().body().is_some());
    assert_eq!(flows(c, (1, 1), to).difference(&before).count(), 0);
    std::fs::remove_dir(&cgroup).unwrap();
    std::fs::remove_dir(cgroup.parent().unwrap()).unwrap();
}

/// Sets a pod's label, or takes it off.
fn label(c: &Cluster, (node, i): (usize, usize), value: Value) {
    let patch = json!({"metadata": {"labels": {LABEL: value}}});
    c.lab.api().patch(Kind::Pod, "default", &format!("pod{node}-{i}"), PatchType::Merge, &patch).unwrap();
}

/// Waits until an agent says that just these pods have opted out and no cgroup is missing.
fn opted_out(c: &Cluster, node: usize, pods: &[&str]) {
    eventually(&format!("{pods:?} have opted out"), || {
        let said = ask(&c.lab.nodes[node - 1].agent, "status")["optOut"].clone();
        let good = said == json!({"label": LABEL, "pods": pods, "missing": []});
        if good { Ok(()) } else { Err(said.to_string()) }
    });
}

/// A pod reaches the service `seen` at all its addresses by TCP and UDP, by its packets or by its sockets.
fn served(c: &Cluster, pod: (usize, usize), by_packets: bool) {
    let from = c.pod(pod.0, pod.1);
    for v6 in FAMILIES {
        let (tcp, datagrams) = (c.node_port("seen", "http"), c.node_port("seen", "udp"));
        let (vip, other) = (c.cluster_ip("seen", v6), 3 - pod.0);
        // The other node does what is to be done for its addresses, whatever the pod's sockets are.
        c.reaches(&from, c.node(other, v6, tcp), &ALL);
        c.reaches_by_udp(&from, c.node(other, v6, datagrams), &ALL);
        for to in [vip, c.node(pod.0, v6, tcp)] {
            let before = flows(c, pod, to);
            c.reaches(&from, to, &ALL);
            let new = flows(c, pod, to).difference(&before).count();
            assert_eq!(new > 0, by_packets, "{} to {to} by TCP: {new} new flows", from.name);
        }
        for (to, connected) in
            [vip, c.node(pod.0, v6, datagrams)].into_iter().flat_map(|to| [(to, false), (to, true)])
        {
            let before = flows(c, pod, to);
            let got = udp(&from, to, connected).unwrap();
            assert!(got.answer.body().is_some() && got.from == Some(to), "{} to {to}: {got:?}", from.name);
            let new = flows(c, pod, to).difference(&before).count();
            assert_eq!(new > 0, by_packets, "{} to {to} by UDP: {new} new flows", from.name);
        }
    }
}

/// The flows from a pod to a frontend that its node knows, by protocol and source.
fn flows(c: &Cluster, (node, i): (usize, usize), to: SocketAddr) -> BTreeSet<String> {
    let pod = c.pod_ip(node, i, to.is_ipv6());
    let rows = ask(&c.lab.nodes[node - 1].agent, "bpf ct list global");
    let rows = rows.as_array().unwrap().iter();
    let address = |row: &Value, key: &str| row[key].as_str().unwrap().parse::<SocketAddr>().unwrap();
    let ours = rows.filter(|row| {
        row["direction"] == "OUT" && address(row, "source").ip() == pod && address(row, "destination") == to
    });
    ours.map(|row| format!("{} {}", row["protocol"], row["source"])).collect()
}

fn echo() -> Value {
    json!({"selector": {"app": "web"}, "ports": [
        {"name": "echo", "port": 80, "targetPort": 8082, "protocol": "TCP"},
        {"name": "http", "port": 81, "targetPort": 8080, "protocol": "TCP"},
    ]})
}

/// Waits until a TCP socket of pod1-1 has such a peer, as the kernel knows it.
fn peers(c: &Cluster, fits: impl Fn(SocketAddr) -> bool) {
    eventually("a socket of pod1-1 has that peer", || {
        let done = c.pod(1, 1).command("ss").unwrap().args(["-Htn"]).output().unwrap();
        let text = String::from_utf8(done.stdout).unwrap();
        let peers: Vec<SocketAddr> = text
            .lines()
            .filter(|line| line.starts_with("ESTAB"))
            .filter_map(|line| line.split_whitespace().nth(4)?.parse().ok())
            .collect();
        if peers.iter().copied().any(&fits) { Ok(()) } else { Err(text) }
    });
}

fn answer(from: &Place, to: SocketAddr) -> String {
    shunt_e2e::eventually_answers(from, to)
}
