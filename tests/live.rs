//! Changes arrive: by kubectl, after the API was away, and while it forgets.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use serde_json::{Value, json};
use shunt_e2e::{eventually, eventually_answers, eventually_refused, json as ask, node_port};
use shunt_lab::agent::Agent;
use shunt_lab::api::Kind;
use shunt_lab::cluster::{Lab, http};
use shunt_lab::demo::apply_examples;
use shunt_lab::place::Process;
use shunt_lab::topology::{Style, Topology};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

fn lab(name: &str) -> Lab {
    let lab = Lab::up(Topology { nodes: 2, ..Topology::new(name, Style::Routed) }).unwrap();
    apply_examples(&lab).unwrap();
    lab
}

fn service(name: &str, port: u16) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
        "spec": {"type": "NodePort", "selector": {"pod": "pod1-1"},
            "ports": [{"port": 80, "targetPort": 8080, "nodePort": port}]}})
}

#[test]
fn kubectl_drives_it() {
    let lab = lab("live-kubectl");
    let at = |port| node_port(&lab, 0, port);
    assert!(lab.kubectl(&["get", "service", "web", "-o", "wide"]).unwrap().contains("30080"));
    let described = lab.kubectl(&["describe", "service", "web"]).unwrap();
    assert!(described.contains("30080/TCP") && described.contains(":8080,"), "{described}");
    eventually_answers(&lab.client, at(30082));
    let (_kubectl, changes) = watch(&lab);
    next(&changes, &["ADDED", "on-node2", "30082"]);
    let patch = r#"{"spec":{"ports":[{"name":"http","port":80,"protocol":"TCP","nodePort":31082}]}}"#;
    lab.kubectl(&["patch", "service", "on-node2", "-p", patch]).unwrap();
    next(&changes, &["MODIFIED", "on-node2", "31082"]);
    eventually_answers(&lab.client, at(31082));
    eventually_refused(&lab.client, at(30082));
    lab.kubectl(&["annotate", "service", "on-node2", "example.com/note=kept"]).unwrap();
    let yaml = lab.kubectl(&["get", "service", "on-node2", "-o", "yaml"]).unwrap();
    assert!(yaml.contains("example.com/note: kept"), "{yaml}");
    lab.kubectl(&["delete", "service", "on-node2"]).unwrap();
    next(&changes, &["DELETED", "on-node2", "31082"]);
    for node in 0..2 {
        eventually_refused(&lab.client, node_port(&lab, node, 31082));
    }
    let rows = ask(&lab.nodes[0].agent, "bpf lb list").to_string();
    assert!(!rows.contains(":31082/"), "{rows}");
    apply_examples(&lab).unwrap();
    eventually_answers(&lab.client, at(30082));
}

/// `kubectl get --watch`, and the lines that it prints.
fn watch(lab: &Lab) -> (Process, mpsc::Receiver<String>) {
    let mut command = lab.kubectl_command(&["get", "services", "-w", "--output-watch-events"]);
    let mut kubectl = Process::new(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
    let lines = BufReader::new(kubectl.child().stdout.take().unwrap()).lines();
    let (sender, changes) = mpsc::channel();
    // Ends with kubectl, which ends with the test.
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
    (kubectl, changes)
}

/// Waits until kubectl prints a line with all of these words.
fn next(changes: &mpsc::Receiver<String>, words: &[&str]) {
    loop {
        let line = changes.recv_timeout(Duration::from_secs(10));
        let line = line.unwrap_or_else(|e| panic!("kubectl prints no line with {words:?}: {e}"));
        if words.iter().all(|word| line.contains(word)) {
            return;
        }
    }
}

#[test]
fn the_api_may_go_away() {
    let mut lab = lab("live-away");
    let api = lab.api();
    api.stop();
    source_is_down(&lab.nodes[0].agent);
    served_without_the_api(&lab);
    // An agent that starts meanwhile is up, says so, and serves what is pinned.
    lab.nodes[0].agent.kill();
    lab.nodes[0].agent.start().unwrap();
    source_is_down(&lab.nodes[0].agent);
    served_without_the_api(&lab);
    let done = lab.nodes[0].agent.cli(&["status", "--brief"]).unwrap();
    assert!(String::from_utf8_lossy(&done.stdout).starts_with("error in source: "), "{done:?}");
    assert_eq!(done.status.code(), Some(1));
    api.put(service("while-away", 31001)).unwrap();
    api.delete(Kind::Service, "default", "on-node2").unwrap();
    api.resume();
    eventually_answers(&lab.client, node_port(&lab, 0, 31001));
    eventually_refused(&lab.client, node_port(&lab, 0, 30082));
    for node in &lab.nodes {
        node.agent.wait_ready(Duration::from_secs(20)).unwrap();
    }
    // Watches that end without an error, and slow answers.
    api.drop_watches();
    api.slow(Duration::from_millis(300));
    api.put(service("slowly", 31003)).unwrap();
    eventually_answers(&lab.client, node_port(&lab, 0, 31003));
    api.slow(Duration::ZERO);
}

/// Waits until the very process that runs now says that its source is away.
fn source_is_down(agent: &Agent) {
    eventually("status tells that the source is away", || {
        let done = agent.cli(&["status", "-o", "json"]).unwrap();
        let status: Value = serde_json::from_slice(&done.stdout)
            .map_err(|_| String::from_utf8_lossy(&done.stderr).into_owned())?;
        let down = status["source"]["down"].as_object().is_some_and(|kinds| kinds.len() == 4);
        let ours = status["pid"].as_u64() == agent.id().map(u64::from);
        if down && ours { Ok(()) } else { Err(status.to_string()) }
    });
}

/// What was there before goes on, and the node is fit for traffic.
fn served_without_the_api(lab: &Lab) {
    eventually_answers(&lab.client, node_port(lab, 0, 30081));
    eventually_answers(&lab.client, node_port(lab, 0, 30082));
    let at = |port| SocketAddr::new("127.0.0.1".parse().unwrap(), port);
    for (port, path, word) in
        [(10256, "/healthz", "lastUpdated"), (9962, "/metrics", "shunt_watches_down 4\n")]
    {
        let answer = http(&lab.nodes[0].host, at(port), path).unwrap();
        assert!(answer.body().is_some_and(|body| body.contains(word)), "{path}: {answer:?}");
    }
}

#[test]
fn an_api_that_forgets_again_and_again_loses_no_change() {
    const STORM: u16 = 20;
    let lab = lab("live-gone");
    let api = lab.api();
    let before = api.lists();
    for i in 0..STORM {
        // Every watch ends with 410 Gone, and whoever lists may be told so before it watches.
        api.expire();
        api.put(service(&format!("storm{i}"), 31100 + i)).unwrap();
        if i % 2 == 1 {
            api.delete(Kind::Service, "default", &format!("storm{}", i - 1)).unwrap();
        }
    }
    for node in [0, 1] {
        for i in 0..STORM {
            let addr = node_port(&lab, node, 31100 + i);
            if i % 2 == 1 {
                drop(eventually_answers(&lab.client, addr))
            } else {
                eventually_refused(&lab.client, addr)
            }
        }
    }
    lab.settle().unwrap();
    // Once for each 410 and each of three kinds of two agents; and then there is peace.
    let lists = api.lists() - before;
    assert!((6..=u64::from(STORM) * 6).contains(&lists), "{lists} lists");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(api.lists() - before, lists, "lists without a reason");
    for node in &lab.nodes {
        let log = std::fs::read_to_string(node.agent.log()).unwrap();
        assert!(!log.contains("the API is away"), "it was there all the time:\n{log}");
    }
    eventually_answers(&lab.client, node_port(&lab, 0, 30081));
}
