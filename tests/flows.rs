//! What the commands list of a connection is what was done to it, and the numbers in one listing are those of the others.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use serde_json::Value;
use shunt_e2e::{eventually_answers, json};
use shunt_lab::agent::Agent;
use shunt_lab::cluster::Lab;
use shunt_lab::demo::apply_examples;
use shunt_lab::net::plan;
use shunt_lab::topology::{Style, Topology};
use std::net::SocketAddr;

#[test]
fn flows_translations_and_rows_name_each_other() {
    let lab = Lab::up(Topology { nodes: 2, ..Topology::new("flows", Style::Routed) }).unwrap();
    apply_examples(&lab).unwrap();
    let agent = &lab.nodes[0].agent;
    for v6 in [false, true] {
        let node = lab.nodes[0].addresses.of(v6);
        let client = plan::client().of(v6);
        let remote = SocketAddr::new(lab.nodes[1].pods[0].addresses.of(v6), 8080);
        let local = SocketAddr::new(lab.nodes[0].pods[0].addresses.of(v6), 8080);
        let (to_remote, to_local) = (SocketAddr::new(node, 30082), SocketAddr::new(node, 30081));
        assert_eq!(eventually_answers(&lab.client, to_remote), format!("pod2-1 {node}"));
        assert_eq!(eventually_answers(&lab.client, to_local), format!("pod1-1 {client}"));
        let (flows, nat) = (rows(agent, "bpf ct list global"), rows(agent, "bpf nat list"));

        let (out, back) = both_ways(&flows, to_remote);
        assert_eq!((address(out, "source").ip(), address(out, "newSource").ip()), (client, node), "{out}");
        assert_eq!(address(out, "newDestination"), remote, "{out}");
        assert_eq!(names(out), ["Confirmed", "SNAT", "FIB"], "{out}");
        assert_eq!(names(back), ["Reply", "Confirmed", "SNAT", "FIB"], "{back}");
        let (service, backend) = lb(agent, to_remote, remote, false);
        assert_eq!((&out["service"], &out["backend"]), (&service, &backend), "{out}");
        assert_eq!((&back["service"], &back["backend"]), (&service, &backend), "{back}");
        let translated = both_ways(&nat, to_remote);
        for key in ["source", "destination", "newSource", "newDestination", "flagNames", "service", "backend"]
        {
            assert_eq!((&translated.0[key], &translated.1[key]), (&out[key], &back[key]), "{key}");
        }

        // The client's address is kept on the way to a local backend, so there is no translation of it to list.
        let (out, _) = both_ways(&flows, to_local);
        assert_eq!((&out["newSource"], address(out, "newDestination")), (&out["source"], local), "{out}");
        let (service, backend) = lb(agent, to_local, local, true);
        assert_eq!((&out["service"], &out["backend"]), (&service, &backend), "{out}");
        assert!(nat.iter().all(|row| address(row, "destination") != to_local), "{nat:?}");
    }
    let nat = agent.ask(&["bpf", "nat", "list"]).unwrap();
    assert!(nat.contains("XLATE_SRC 192.168.60.11:") && nat.contains("XLATE_DST 192.168.50.2:"), "{nat}");
    assert!(agent.ask(&["bpf", "metrics", "list"]).unwrap().contains("Forwarded"));
}

fn rows(agent: &Agent, command: &str) -> Vec<Value> {
    json(agent, command).as_array().unwrap().clone()
}

fn address(row: &Value, key: &str) -> SocketAddr {
    row[key]
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("no address in {key} of {row}"))
}

fn names(row: &Value) -> Vec<&str> {
    row["flagNames"].as_array().unwrap().iter().filter_map(Value::as_str).collect()
}

/// The rows of a connection to a frontend: as the client sends, and as the backend answers, which is the same reversed.
fn both_ways(rows: &[Value], frontend: SocketAddr) -> (&Value, &Value) {
    let out = rows.iter().find(|row| row["direction"] == "OUT" && address(row, "destination") == frontend);
    let out = out.unwrap_or_else(|| panic!("nothing to {frontend} in {rows:#?}"));
    let reversed = |back: &&Value| {
        let pairs = [
            ("source", "newDestination"),
            ("destination", "newSource"),
            ("newSource", "destination"),
            ("newDestination", "source"),
        ];
        back["direction"] == "IN" && pairs.iter().all(|(there, here)| back[there] == out[here])
    };
    let back: Vec<&Value> = rows.iter().filter(reversed).collect();
    assert_eq!(back.len(), 1, "the answers to {out} in {rows:#?}");
    for row in [out, back[0]] {
        assert_eq!(row["protocol"], "TCP", "{row}");
        assert!(row["idleSeconds"].is_u64() && row["flags"].is_u64(), "{row}");
        // SYN, ACK and FIN were seen both ways.
        assert!(row["seen"].as_u64() > Some(0) && row["peerSeen"].as_u64() > Some(0), "{row}");
    }
    (out, back[0])
}

/// Holds the listing of frontends and backends against a frontend with one backend; the numbers of service and backend.
fn lb(agent: &Agent, frontend: SocketAddr, backend: SocketAddr, local: bool) -> (Value, Value) {
    let all = json(agent, "bpf lb list");
    assert_eq!(json(agent, "bpf lb list --frontends"), all["frontends"]);
    assert_eq!(json(agent, "bpf lb list --backends"), all["backends"]);
    let find = |list: &str, addr: SocketAddr| {
        let found = all[list].as_array().unwrap().iter().find(|row| row["address"] == format!("{addr}/TCP"));
        found.unwrap_or_else(|| panic!("no {addr} in {all:#}")).clone()
    };
    let (frontend, backend) = (find("frontends", frontend), find("backends", backend));
    assert_eq!((&backend["state"], &backend["local"]), (&"active".into(), &local.into()), "{backend}");
    for pool in ["external", "internal"] {
        assert_eq!(frontend[pool], serde_json::json!([backend["id"]]), "{frontend}");
    }
    assert_eq!(frontend["flags"], serde_json::json!(["NodePort"]), "{frontend}");
    (frontend["service"].clone(), backend["id"].clone())
}
