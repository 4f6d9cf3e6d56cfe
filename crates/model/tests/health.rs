//! What load balancers are told: local endpoints of a service, and whether the node is fit for traffic.

// A test that cannot go on should say where.
#![allow(clippy::unwrap_used)]

mod common;

use common::{CAPACITY, Cluster, NODE, Object};
use shunt_common::Proto;
use shunt_model::fate::{Client, affinity, fate};
use shunt_model::objects::Kind;
use shunt_model::{HealthCheck, MapStore, Model, NodeCondition, Options};
use std::net::SocketAddr;

const SERVICE: &str = r"
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.10
  externalTrafficPolicy: Local
  healthCheckNodePort: 31000
  ports: [{port: 80}]
";
const SLICE: &str = r"
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080}]
endpoints:
- {addresses: [10.244.1.1], nodeName: node-1}
- {addresses: [10.244.1.2], nodeName: node-1, conditions: {ready: false, serving: true, terminating: true}}
- {addresses: [10.244.2.1], nodeName: node-2}
";

fn cluster(yaml: &[&str]) -> Cluster {
    let mut cluster = Cluster::new(Options::new(NODE));
    for text in yaml {
        Object::read(text).into_iter().for_each(|o| cluster.apply(o));
    }
    cluster.relist();
    cluster.settle();
    cluster
}

fn apply(cluster: &mut Cluster, yaml: &str) {
    Object::read(yaml).into_iter().for_each(|o| cluster.apply(o));
    cluster.settle();
}

/// Port and endpoints, of all families that the service has.
fn taken(cluster: &mut Cluster) -> Vec<(String, Option<(u16, usize)>)> {
    let pair = |c: HealthCheck| (c.port, c.local_endpoints.iter().flatten().sum());
    cluster.model.take_health_checks().into_iter().map(|(n, c)| (n.to_string(), c.map(pair))).collect()
}

fn web(check: Option<(u16, usize)>) -> Vec<(String, Option<(u16, usize)>)> {
    vec![("shop/web".into(), check)]
}

#[test]
fn only_ready_endpoints_of_this_node_count() {
    assert_eq!(taken(&mut cluster(&[SERVICE, SLICE])), web(Some((31000, 1))));
}

#[test]
fn an_endpoint_in_two_slices_counts_once_and_one_of_each_family_for_its_own() {
    let again = SLICE.replace("web-1", "web-2");
    let v6 = SLICE.replace("web-1", "web-6").replace("IPv4", "IPv6").replace("10.244.1.1", "fd00::1");
    assert_eq!(taken(&mut cluster(&[SERVICE, SLICE, &again, &v6])), web(Some((31000, 1))));
    let dual = SERVICE
        .replace("clusterIP: 10.96.0.10", "clusterIP: 10.96.0.10\n  clusterIPs: [10.96.0.10, 'fd00:96::10']");
    let mut cluster = cluster(&[&dual, SLICE, &again, &v6]);
    let checks = cluster.model.take_health_checks();
    assert_eq!(checks[0].1.map(|check| check.local_endpoints), Some([Some(1), Some(1)]));
}

#[test]
fn a_service_without_slices_has_a_check_with_none() {
    assert_eq!(taken(&mut cluster(&[SERVICE])), web(Some((31000, 0))));
}

#[test]
fn other_services_have_no_check() {
    for (from, to) in
        [("type: LoadBalancer", "type: NodePort"), ("Policy: Local", "Policy: Cluster"), ("31000", "0")]
    {
        assert_eq!(taken(&mut cluster(&[&SERVICE.replace(from, to), SLICE])), [], "{to}");
    }
}

#[test]
fn a_port_that_is_none_is_a_problem_that_names_the_service_and_the_field() {
    let mut cluster = cluster(&[&SERVICE.replace("31000", "70000")]);
    assert_eq!(taken(&mut cluster), []);
    let problems: Vec<String> = cluster.model.problems().iter().map(ToString::to_string).collect();
    assert!(problems[0].starts_with("Service shop/web: spec.healthCheckNodePort 70000"), "{problems:?}");
}

#[test]
fn changes_of_port_policy_and_endpoints_are_told_once_and_nothing_else_is() {
    let other = SERVICE.replace("web", "other").replace("0.10", "0.11").replace("31000", "31001");
    let mut cluster = cluster(&[SERVICE, &other, SLICE]);
    assert_eq!(taken(&mut cluster).len(), 2);
    assert_eq!(taken(&mut cluster), []);
    apply(&mut cluster, &SERVICE.replace("port: 80", "port: 81"));
    assert_eq!(taken(&mut cluster), [], "no change of the check");
    apply(&mut cluster, &SERVICE.replace("31000", "31002"));
    assert_eq!(taken(&mut cluster), web(Some((31002, 1))));
    apply(&mut cluster, &SLICE.replace("10.244.1.1], nodeName: node-1", "10.244.1.1], nodeName: node-3"));
    assert_eq!(taken(&mut cluster), web(Some((31002, 0))));
    apply(&mut cluster, &SERVICE.replace("Policy: Local", "Policy: Cluster"));
    assert_eq!(taken(&mut cluster), web(None));
    apply(&mut cluster, SERVICE);
    assert_eq!(taken(&mut cluster), web(Some((31000, 0))));
    cluster.delete(Kind::Service, "shop/web");
    cluster.settle();
    assert_eq!(taken(&mut cluster), web(None));
}

fn node(more: &str) -> String {
    format!("kind: Node\nmetadata: {{name: node-1{more}")
}

#[test]
fn a_node_is_eligible_until_its_object_says_otherwise() {
    let mut model = Cluster::new(Options::new(NODE));
    for (yaml, condition) in [
        (node("}"), NodeCondition::Eligible),
        (node(", deletionTimestamp: '2026-01-01T00:00:00Z'}"), NodeCondition::Deleting),
        (node("}\nspec: {taints: [{key: other}]}"), NodeCondition::Eligible),
        (
            node(
                "}\nspec: {taints: [{key: other}, {key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule}]}",
            ),
            NodeCondition::ToBeDeleted,
        ),
        (node("}"), NodeCondition::Eligible),
        (node("}").replace("node-1", "node-2"), NodeCondition::Eligible),
    ] {
        Object::read(&yaml).into_iter().for_each(|o| model.apply(o));
        assert_eq!(model.model.node_condition(), condition, "{yaml}");
    }
    model.delete(Kind::Node, NODE);
    assert_eq!(model.model.node_condition(), NodeCondition::Unknown);
    let eligible = [NodeCondition::Starting, NodeCondition::Eligible].map(NodeCondition::eligible);
    let others = [NodeCondition::Unknown, NodeCondition::Deleting, NodeCondition::ToBeDeleted];
    assert_eq!((eligible, others.map(NodeCondition::eligible)), ([true; 2], [false; 3]));
}

#[test]
fn a_list_of_nodes_without_this_one_makes_it_unknown() {
    let mut model = Model::new(Options::new(NODE), CAPACITY);
    assert_eq!(model.node_condition(), NodeCondition::Starting);
    model.begin_replace(Kind::Node);
    assert_eq!(model.node_condition(), NodeCondition::Starting, "not before the list is complete");
    model.end_replace(Kind::Node);
    assert_eq!(model.node_condition(), NodeCondition::Unknown);
}

#[test]
fn a_taint_makes_no_service_dirty() {
    let mut cluster = cluster(&[SERVICE, SLICE, &node("}")]);
    Object::read(&node("}\nspec: {taints: [{key: ToBeDeletedByClusterAutoscaler}]}"))
        .into_iter()
        .for_each(|o| cluster.apply(o));
    assert!(!cluster.model.has_work());
}

#[test]
fn only_events_that_change_something_are_counted() {
    let mut cluster = cluster(&[SERVICE, SLICE]);
    let before = cluster.model.changes();
    apply(&mut cluster, SERVICE);
    apply(&mut cluster, SLICE);
    assert_eq!(cluster.model.changes(), before);
    apply(&mut cluster, &SLICE.replace("8080", "8081"));
    let after = cluster.model.changes();
    assert_eq!((after.services, after.endpoints), (before.services, before.endpoints + 1));
}

const NODE_OBJECT: &str = "kind: Node\nmetadata: {name: node-1}\nstatus: {addresses: \
    [{type: InternalIP, address: 192.168.0.1}, {type: InternalIP, address: \"fd00:168::1\"}]}\n";

/// `SERVICE` with load balancer's addresses, which only some clients may use, and affinity.
fn balanced() -> String {
    format!(
        "{}  clusterIPs: [10.96.0.10, \"fd00:96::10\"]\n  externalIPs: [203.0.113.7]\n  sessionAffinity: ClientIP\n  \
         loadBalancerSourceRanges: [198.51.100.0/24]\n\
         status: {{loadBalancer: {{ingress: [{{ip: 203.0.113.1}}, {{ip: \"2001:db8::1\"}}, {{ip: 203.0.113.2, ipMode: Proxy}}]}}}}\n",
        SERVICE.replace("port: 80", "port: 80, nodePort: 30080")
    )
}

fn told(cluster: &mut Cluster, from: Client, to: &str) -> String {
    let actual = cluster.store.dump().unwrap();
    fate(&actual, from, to.parse().unwrap(), Proto::Tcp).to_string()
}

/// A client that the source ranges keep out, as a load balancer's probes are.
const PROBE: &str = "35.191.0.7";

#[test]
fn a_load_balancers_address_answers_the_health_check_from_the_nodes_own_server_for_everybody() {
    let mut cluster = cluster(&[&balanced(), SLICE, NODE_OBJECT]);
    let probe = Client::Outside(PROBE.parse().unwrap());
    for from in [probe, Client::Pod("10.244.1.50".parse().unwrap()), Client::Node] {
        assert_eq!(told(&mut cluster, from, "203.0.113.1:31000"), "192.168.0.1:31000(local)", "{from:?}");
        assert_eq!(told(&mut cluster, from, "[2001:db8::1]:31000"), "[fd00:168::1]:31000(local)", "{from:?}");
    }
    assert_eq!(told(&mut cluster, probe, "203.0.113.1:80"), "drop source_range", "the service's own port");
    for other in ["203.0.113.7:31000", "203.0.113.2:31000", "10.96.0.10:31000", "192.168.0.1:31000"] {
        assert_eq!(told(&mut cluster, probe, other), "pass", "{other}");
    }
    let actual = cluster.store.dump().unwrap();
    let to: SocketAddr = "203.0.113.1:31000".parse().unwrap();
    assert_eq!(affinity(&actual, to, Proto::Tcp), None);
    // It is nobody's endpoint.
    assert_eq!(taken(&mut cluster), web(Some((31000, 1))));
    assert_eq!(cluster.model.problems(), []);
    cluster.delete(Kind::EndpointSlice, "shop/web-1");
    cluster.settle();
    assert_eq!(
        told(&mut cluster, probe, "203.0.113.1:31000"),
        "192.168.0.1:31000(local)",
        "it says 503 then"
    );
    apply(&mut cluster, &balanced().replace("Policy: Local", "Policy: Cluster"));
    assert_eq!(
        told(&mut cluster, probe, "203.0.113.1:31000"),
        "reject unknown_port",
        "no health check any more"
    );
}

#[test]
fn a_health_check_at_a_load_balancers_address_goes_where_node_ports_answer() {
    let mut cluster = cluster(&[&balanced(), NODE_OBJECT]);
    let fate = |cluster: &mut Cluster| told(cluster, Client::Node, "203.0.113.1:31000");
    for (addresses, want) in [
        (Some(vec!["192.168.9.9", "192.168.0.1"]), "192.168.0.1:31000(local)"),
        (Some(vec!["192.168.9.9"]), "192.168.9.9:31000(local)"),
        (Some(vec!["fd00:168::1"]), "reject unknown_port"),
        (None, "192.168.0.1:31000(local)"),
    ] {
        let parsed = addresses.clone().map(|all| all.iter().map(|a| a.parse().unwrap()).collect());
        cluster.model.set_node_port_addresses(parsed);
        cluster.settle();
        assert_eq!(fate(&mut cluster), want, "{addresses:?}");
    }
}

#[test]
fn a_port_of_the_service_or_the_option_leaves_no_room_for_the_health_check() {
    let own = balanced().replace("port: 80,", "port: 31000,");
    let mut busy = cluster(&[&own, SLICE, NODE_OBJECT]);
    let client = Client::Outside("198.51.100.7".parse().unwrap());
    assert_eq!(told(&mut busy, client, "203.0.113.1:31000"), "10.244.1.1:8080(local)");
    assert_eq!(busy.model.problems(), []);
    let mut off = Cluster::new(Options { health_check_vips: false, ..Options::new(NODE) });
    Object::read(&format!("{}\n---\n{NODE_OBJECT}", balanced())).into_iter().for_each(|o| off.apply(o));
    off.settle();
    assert_eq!(told(&mut off, client, "203.0.113.1:31000"), "reject unknown_port");
}
