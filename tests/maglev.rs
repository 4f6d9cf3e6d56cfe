//! Maglev: every node picks the same backend for a flow, so a client whose packets come to another node goes on.
//!
//! What can go on depends on the forwarding mode. By SNAT the backend knows the node and a port of the node's, which is
//! another one then: datagrams reach the same backend, a TCP connection to a remote backend cannot go on, with any balancer.
//! By DSR the backend knows the client itself, so a TCP connection does go on, wherever its backend is: on a third node, on the
//! one that its packets came to before, or on the one that they come to now.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use serde_json::{Value, json};
use shunt_e2e::{ask_on, eventually_answers, hold, json as ask, restart_with};
use shunt_lab::cluster::{Lab, finish, http};
use shunt_lab::net::plan;
use shunt_lab::place::Process;
use shunt_lab::probe::{Held, Queries};
use shunt_lab::sh;
use shunt_lab::topology::{Style, Topology};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

const TCP: u16 = 80;
const UDP: u16 = 81;
const ECHO: u16 = 82;
/// `maglev.tableSize`; the default would print as megabytes.
const SIZE: usize = 1021;

#[test]
fn connections_go_on_with_their_backends_when_their_packets_come_to_another_node() {
    let topology = Topology { nodes: 3, ..Topology::new("maglev", Style::Routed) };
    let mut lab = Lab::without_agents(topology).unwrap();
    start(&mut lab, "opt");
    let all = json!({"app": "web"});
    for (name, selector, mode, algorithm) in [
        // One for each dispatch, so that the flows of one are not counted with those of another.
        ("by-opt", &all, "dsr", "maglev"),
        ("by-ipip", &all, "dsr", "maglev"),
        ("by-geneve", &all, "dsr", "maglev"),
        ("by-snat", &all, "snat", "maglev"),
        ("random", &all, "snat", "random"),
    ] {
        lab.api().put(service(name, selector, mode, algorithm)).unwrap();
    }
    lab.settle().unwrap();
    for v6 in [false, true] {
        for name in ["by-opt", "by-snat"] {
            eventually_answers(&lab.client, address(&lab, name, v6, TCP));
        }
        every_node_has_the_same_table(&lab, v6);
    }
    listings(&lab);
    for dispatch in ["opt", "ipip", "geneve"] {
        start(&mut lab, dispatch);
        lab.settle().unwrap();
        for v6 in [false, true] {
            fail_over(&lab, &format!("by-{dispatch}"), v6);
        }
    }
}

fn start(lab: &mut Lab, dispatch: &str) {
    let (size, dispatch) =
        (format!("maglev.tableSize={SIZE}"), format!("loadBalancer.dsrDispatch={dispatch}"));
    restart_with(lab, &[&size, &dispatch]);
}

fn service(name: &str, selector: &Value, mode: &str, algorithm: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "default", "annotations":
            {"shunt.io/forwarding-mode": mode, "shunt.io/lb-algorithm": algorithm}},
        "spec": {"type": "LoadBalancer", "ipFamilyPolicy": "PreferDualStack", "selector": selector, "ports": [
            {"name": "tcp", "port": TCP, "targetPort": 8080},
            {"name": "udp", "port": UDP, "targetPort": 8081, "protocol": "UDP"},
            {"name": "echo", "port": ECHO, "targetPort": 8082}]},
    })
}

/// The address that its load balancer gave it.
fn address(lab: &Lab, name: &str, v6: bool, port: u16) -> SocketAddr {
    let object = lab.api().get(shunt_lab::api::Kind::Service, "default", name).unwrap();
    let ingress = object.pointer("/status/loadBalancer/ingress").unwrap().as_array().unwrap().clone();
    let mut ips = ingress.iter().map(|i| i["ip"].as_str().unwrap().parse::<std::net::IpAddr>().unwrap());
    SocketAddr::new(ips.find(|ip| ip.is_ipv6() == v6).unwrap(), port)
}

/// The router sends the load balancer's addresses to a node, counted from 1.
fn lead_to(lab: &Lab, node: usize, v6: bool) {
    let (router, via) = (lab.topology.netns("router"), plan::node(node).of(v6).to_string());
    let net = plan::BALANCER[usize::from(v6)];
    sh::output("ip", &["-n", &router, "route", "replace", net, "via", &via]).unwrap();
}

/// The backends' addresses by id, which count separately in each family.
fn backends(lab: &Lab, node: usize, v6: bool) -> BTreeMap<u64, String> {
    let all = ask(&lab.nodes[node].agent, "bpf lb list --backends");
    let named = |row: &Value| (row["id"].as_u64().unwrap(), row["address"].as_str().unwrap().to_owned());
    all.as_array().unwrap().iter().map(named).filter(|(_, address)| address.starts_with('[') == v6).collect()
}

/// The tables of the load balancer's frontend of a service on a node, each value a backend's address.
fn table(lab: &Lab, node: usize, name: &str, v6: bool) -> Vec<String> {
    let agent = &lab.nodes[node].agent;
    let vip = address(lab, name, v6, TCP).to_string();
    let frontends = ask(agent, "bpf lb list --frontends");
    let of = |row: &&Value| row["address"] == format!("{vip}/TCP");
    let row = frontends.as_array().unwrap().iter().find(of).unwrap_or_else(|| panic!("{vip}: {frontends}"));
    let found = ask(agent, &format!("bpf lb maglev get {}", row["service"]));
    let of_family = &found[0][if v6 { "ipv6" } else { "ipv4" }];
    let backends = backends(lab, node, v6);
    let values = of_family[0].as_array().unwrap();
    values.iter().map(|id| backends[&id.as_u64().unwrap()].clone()).collect()
}

/// Their ids may differ; what they stand for does not.
fn every_node_has_the_same_table(lab: &Lab, v6: bool) {
    let first = table(lab, 0, "by-opt", v6);
    assert_eq!(first.len(), SIZE);
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 6, "all pods of all nodes");
    for node in [1, 2] {
        assert_eq!(first, table(lab, node, "by-opt", v6), "node {}", node + 1);
    }
}

/// The columns and words of Cilium's command; names that scripts can rely on.
fn listings(lab: &Lab) {
    let agent = &lab.nodes[0].agent;
    let text = agent.ask(&["bpf", "lb", "maglev", "list"]).unwrap();
    let (head, rows) = text.split_once('\n').unwrap();
    assert_eq!(head.split_whitespace().collect::<Vec<_>>(), ["SVC", "ID", "LOOKUP", "TABLE"]);
    let rows: Vec<&str> = rows.lines().collect();
    assert_eq!(rows.len(), 12, "three ports of four services: {text:.200}");
    let found = ask(agent, "bpf lb maglev list");
    for (row, object) in rows.iter().zip(found.as_array().unwrap()) {
        let (id, tables) = row.split_once(' ').unwrap();
        assert_eq!(id, object["service"].to_string());
        let (v4, v6) = tables.trim().split_once("]:[").unwrap();
        for (text, key) in [(v4.trim_start_matches('['), "ipv4"), (v6.trim_end_matches(']'), "ipv6")] {
            let ids: Vec<String> = object[key][0].as_array().unwrap().iter().map(Value::to_string).collect();
            assert_eq!((text, ids.len()), (&*ids.join(", "), SIZE));
            assert_eq!(object[key].as_array().unwrap().len(), 1, "both scopes have the same pool");
        }
    }
    let id = found[0]["service"].to_string();
    assert_eq!(agent.ask(&["bpf", "lb", "maglev", "get", &id, "--no-headers"]).unwrap().lines().count(), 1);
    assert_eq!(ask(agent, &format!("bpf lb maglev get {id}")), json!([found[0]]));
    let none = agent.cli(&["bpf", "lb", "maglev", "get", "16000000"]).unwrap();
    assert_eq!(none.status.code(), Some(1));
    let said = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(said.contains("service 16000000 has no Maglev table"), "{said}");
    assert_eq!(agent.cli(&["bpf", "lb", "maglev", "get", "web"]).unwrap().status.code(), Some(2));
    let status = ask(agent, "status").to_string();
    assert!(!status.contains("at random"), "{status}");
}

/// Connections by DSR and queries by both are open; then the router sends their packets to the second node.
fn fail_over(lab: &Lab, direct: &str, v6: bool) {
    lead_to(lab, 1, v6);
    let to = |name, port| address(lab, name, v6, port);
    let connections = hold(&lab.client, 60, &[to(direct, ECHO)], &[to("by-snat", UDP), to(direct, UDP)]);
    let services = ["by-snat", direct].into_iter().cycle().take(12);
    let queries: Vec<Process> = services.map(|name| ask_on(&lab.client, to(name, UDP))).collect();
    std::thread::sleep(Duration::from_millis(500));
    let before = flows(lab, 1, to(direct, ECHO));

    lead_to(lab, 2, v6);
    std::thread::sleep(Duration::from_millis(1500));
    let after = flows(lab, 1, to(direct, ECHO));
    println!("{direct}, v6 {v6}: {before} of 60 flows at the second node, then {after}");
    assert!(before < 50 && after >= 60, "all go by the second node now");
    let held: Held = finish(connections).unwrap();
    assert_eq!((held.opened, &held.broken[..], held.lost), (60, &[][..], 0), "{direct}, v6 {v6}: {held:?}");
    let mut pods = BTreeSet::new();
    for process in queries {
        let queries: Queries = finish(process).unwrap();
        assert_eq!((queries.errors.len(), queries.silent), (0, 0), "{queries:?}");
        let names: BTreeSet<&str> =
            queries.bodies.keys().map(|body| body.split(' ').next().unwrap()).collect();
        assert_eq!(names.len(), 1, "one backend for the whole exchange: {queries:?}");
        pods.extend(names.into_iter().map(String::from));
    }
    assert!(pods.len() > 1, "and not one for all: {pods:?}");
    assert!(http(&lab.client, to("by-snat", TCP), "/").unwrap().body().is_some(), "new connections");
}

/// Flows of clients to an address that a node knows.
fn flows(lab: &Lab, node: usize, to: SocketAddr) -> usize {
    let rows = ask(&lab.nodes[node].agent, "bpf ct list global");
    let to = to.to_string();
    rows.as_array().unwrap().iter().filter(|row| row["destination"] == to).count()
}
