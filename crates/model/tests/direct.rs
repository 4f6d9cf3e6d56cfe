//! Which frontends have their remote backends answer directly (DSR), and what is said where they cannot.

// A test that cannot go on should say where.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Cluster, NODE, Object};
use shunt_common::{FrontendKind, frontend_flag};
use shunt_model::{MapStore, Mode, Options};

/// The frontends with the DSR flag, `kind address:port/proto`, and all problems, of a service with these annotations;
/// its one endpoint on another node has this more.
fn direct(options: Options, annotations: &str, endpoint: &str) -> (Vec<String>, Vec<String>) {
    let text = format!(
        "kind: Node
metadata: {{name: {NODE}}}
status: {{addresses: [{{type: InternalIP, address: 192.168.0.1}}]}}
---
kind: Service
metadata: {{name: web, annotations: {{{annotations}}}}}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.10
  externalIPs: [203.0.113.2]
  ports:
  - {{name: t, port: 80, nodePort: 30080}}
  - {{name: u, port: 80, nodePort: 30080, protocol: UDP}}
status: {{loadBalancer: {{ingress: [{{ip: 203.0.113.1}}]}}}}
---
kind: EndpointSlice
metadata: {{name: web-1, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
endpoints: [{{addresses: [10.244.2.5], nodeName: node-2{endpoint}}}]
ports: [{{name: t, port: 8080}}, {{name: u, port: 8080, protocol: UDP}}]"
    );
    let mut cluster = Cluster::new(options);
    Object::read(&text).into_iter().for_each(|o| cluster.apply(o));
    cluster.settle();
    let actual = cluster.store.dump().unwrap();
    let mut found = Vec::new();
    for (key, row) in &actual.frontends {
        let dsr = row.flags & frontend_flag::DSR != 0;
        assert_eq!(dsr, row.mode == Mode::Dsr as u8, "{key:?}: listings read the mode, programs the flag");
        if dsr {
            assert_eq!(row.pools[0].len, 1, "{key:?}: a backend's node looks for the backend in the pool");
            let kind = FrontendKind::from_number(row.kind).unwrap().name();
            found.push(format!("{kind} {}:{}/{}", key.addr(), key.port(), key.proto()));
        }
    }
    found.sort();
    (found, cluster.model.problems().iter().map(ToString::to_string).collect())
}

fn mode(mode: Mode) -> Options {
    Options { mode, ..Options::new(NODE) }
}

const TCP: [&str; 4] = [
    "ExternalIPs 203.0.113.2:80/6",
    "LoadBalancer 203.0.113.1:80/6",
    "NodePort 0.0.0.0:30080/6",
    "NodePort 192.168.0.1:30080/6",
];
const UDP: [&str; 4] = [
    "ExternalIPs 203.0.113.2:80/17",
    "LoadBalancer 203.0.113.1:80/17",
    "NodePort 0.0.0.0:30080/17",
    "NodePort 192.168.0.1:30080/17",
];

fn both() -> Vec<&'static str> {
    let mut all = [TCP, UDP].concat();
    all.sort_unstable();
    all
}

#[test]
fn the_cluster_s_mode_holds_for_what_the_outside_reaches_hybrid_for_tcp_alone() {
    assert_eq!(direct(mode(Mode::Snat), "", ""), (vec![], vec![]));
    assert_eq!(direct(mode(Mode::Dsr), "", "").0, both());
    assert_eq!(direct(mode(Mode::Hybrid), "", "").0, TCP);
}

#[test]
fn a_service_s_own_mode_comes_before_the_cluster_s() {
    assert_eq!(direct(mode(Mode::Snat), "shunt.io/forwarding-mode: dsr", "").0, both());
    assert_eq!(direct(mode(Mode::Snat), "service.cilium.io/forwarding-mode: hybrid", "").0, TCP);
    assert!(direct(mode(Mode::Dsr), "service.cilium.io/forwarding-mode: snat", "").0.is_empty());
    let (rows, problems) = direct(mode(Mode::Hybrid), "shunt.io/forwarding-mode: pigeon", "");
    assert_eq!(rows, TCP);
    assert!(problems[0].contains("\"pigeon\" is unknown; use snat, dsr or hybrid"), "{problems:?}");
}

#[test]
fn a_cluster_ip_answers_directly_only_when_the_outside_may_use_it() {
    let options = Options { external_cluster_ip: true, ..mode(Mode::Dsr) };
    let (rows, _) = direct(options, "", "");
    assert!(rows.contains(&"ClusterIP 10.96.0.10:80/6".into()), "{rows:?}");
    assert_eq!(rows.len(), both().len() + 2);
}

#[test]
fn where_nodes_may_differ_in_their_backends_snat_holds_and_a_problem_says_so() {
    for (annotations, endpoint, why) in [
        ("", ", hints: {forZones: [{name: a}]}", "topology hints"),
        ("shunt.io/node: node-1", "", "only some nodes serve it"),
    ] {
        let (rows, problems) = direct(mode(Mode::Dsr), annotations, endpoint);
        assert!(rows.is_empty(), "{rows:?}");
        let told = |p: &String| p.contains("Service default/web: forwarding mode dsr") && p.contains(why);
        assert!(problems.iter().any(told), "{problems:?}");
        assert!(direct(mode(Mode::Snat), annotations, endpoint).1.is_empty(), "nobody asked for DSR");
    }
    let options = Options { service_topology: false, ..mode(Mode::Dsr) };
    assert_eq!(direct(options, "", ", hints: {forZones: [{name: a}]}").0, both(), "hints that do not count");
}

#[test]
fn a_pool_that_only_the_row_of_a_node_port_named_goes_with_its_dsr() {
    // The node has no address, so the NodePort has no frontend beside the row that marks it.
    let text = "kind: Service
metadata: {name: web}
spec: {type: NodePort, clusterIP: 10.96.0.10, internalTrafficPolicy: Local, ports: [{port: 80, nodePort: 30080}]}
---
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [10.244.2.5], nodeName: node-2, hints: {forZones: [{name: zone-a}]}}]
ports: [{port: 8080}]";
    let mut cluster = Cluster::new(mode(Mode::Dsr));
    Object::read(text).into_iter().for_each(|o| cluster.apply(o));
    cluster.settle();
    assert!(cluster.store.inner.applied > 0);
    let written = cluster.store.inner.applied;
    cluster.restart();
    cluster.relist();
    cluster.settle();
    assert_eq!(cluster.store.inner.applied, written, "each time it was looked at");
}
