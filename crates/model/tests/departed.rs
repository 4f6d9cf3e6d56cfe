//! Which backends a report says have departed: what UDP flows and sockets are ended by.

// A test that cannot go on should say where.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Cluster, NODE, Object};
use shunt_model::objects::Kind;
use shunt_model::{Departed, Options, Report};

/// Two services on port 53, each with a slice of these endpoints.
fn cluster(of_a: &str, of_b: &str) -> Cluster {
    let mut cluster = Cluster::new(Options::new(NODE));
    for (name, ip) in [("a", 1), ("b", 2)] {
        let ports = "[{name: dns, port: 53, protocol: UDP}]";
        let spec = format!(
            "kind: Service\nmetadata: {{name: {name}}}\nspec: {{clusterIP: 10.96.0.{ip}, ports: {ports}}}"
        );
        apply(&mut cluster, &spec);
    }
    slice(&mut cluster, "a", of_a, 5353);
    slice(&mut cluster, "b", of_b, 5353);
    assert_eq!(cluster.settle().departed, []);
    cluster
}

fn apply(cluster: &mut Cluster, yaml: &str) {
    Object::read(yaml).into_iter().for_each(|object| cluster.apply(object));
}

fn slice(cluster: &mut Cluster, service: &str, endpoints: &str, port: u16) {
    let each: Vec<String> = endpoints.split_whitespace().map(|a| format!("{{addresses: [{a}]}}")).collect();
    apply(
        cluster,
        &format!(
            "kind: EndpointSlice\nmetadata: {{name: {service}-1, labels: {{kubernetes.io/service-name: {service}}}}}\n\
             addressType: IPv4\nendpoints: [{}]\nports: [{{name: dns, port: {port}, protocol: UDP}}]",
            each.join(", ")
        ),
    );
}

fn reconcile(cluster: &mut Cluster) -> Report {
    cluster.model.reconcile(&mut cluster.store)
}

/// Who lost what, as `service address:port`; `*` for everybody.
fn words(departed: &[Departed]) -> Vec<String> {
    let word = |d: &Departed| {
        let service = d.service.map_or("*".into(), |s| s.to_string());
        format!("{service} {}:{}", d.backend.addr(), d.backend.port())
    };
    departed.iter().map(word).collect()
}

#[test]
fn a_backend_that_one_service_loses_departs_from_that_service_alone() {
    let mut cluster = cluster("10.0.0.1 10.0.0.2", "10.0.0.1");
    slice(&mut cluster, "a", "10.0.0.2", 5353);
    assert_eq!(words(&reconcile(&mut cluster).departed), ["1 10.0.0.1:5353"]);
    assert_eq!(reconcile(&mut cluster).departed, [], "it serves b");
}

#[test]
fn a_backend_that_nobody_has_any_more_departs_from_all_when_its_row_goes() {
    let mut cluster = cluster("10.0.0.1 10.0.0.2", "10.0.0.9");
    slice(&mut cluster, "a", "10.0.0.2", 5353);
    let report = reconcile(&mut cluster);
    assert_eq!((words(&report.departed), report.removals_due), (vec!["1 10.0.0.1:5353".into()], 1));
    assert_eq!(words(&reconcile(&mut cluster).departed), ["* 10.0.0.1:5353"]);
    assert_eq!(reconcile(&mut cluster).departed, []);
}

#[test]
fn another_target_port_is_another_backend_and_more_of_them_are_no_loss() {
    let mut cluster = cluster("10.0.0.1", "10.0.0.9");
    slice(&mut cluster, "a", "10.0.0.1 10.0.0.2", 5353);
    assert_eq!(cluster.settle().departed, []);
    slice(&mut cluster, "a", "10.0.0.1 10.0.0.2", 5454);
    assert_eq!(words(&reconcile(&mut cluster).departed), ["1 10.0.0.1:5353", "1 10.0.0.2:5353"]);
}

#[test]
fn the_backends_of_a_deleted_service_depart_from_it_and_from_all_when_their_rows_go() {
    let mut cluster = cluster("10.0.0.1", "10.0.0.1 10.0.0.2");
    cluster.delete(Kind::Service, "default/b");
    assert_eq!(words(&reconcile(&mut cluster).departed), ["2 10.0.0.1:5353", "2 10.0.0.2:5353"]);
    assert_eq!(words(&reconcile(&mut cluster).departed), ["* 10.0.0.2:5353"]);
}

#[test]
fn what_went_while_no_agent_ran_departs_at_the_first_sync() {
    let mut cluster = cluster("10.0.0.1 10.0.0.2", "10.0.0.2");
    slice(&mut cluster, "a", "10.0.0.1", 5353);
    cluster.restart();
    assert_eq!(reconcile(&mut cluster).departed, [], "nothing is listed yet");
    cluster.relist();
    assert_eq!(words(&reconcile(&mut cluster).departed), ["1 10.0.0.2:5353"]);
}

/// kube-proxy's reconciler asks of each UDP flow to a service's address whether its backend is one of that service's.
#[test]
fn backends_of_the_service_that_had_the_address_before_depart_when_another_takes_it_over() {
    let mut missed = Vec::new();
    for (old, new) in [("m", "a"), ("m", "z")] {
        // "b" keeps the old service's backend.
        let mut cluster = cluster("10.0.0.5", "10.0.0.1");
        let spec = |name: &str| {
            format!(
                "kind: Service\nmetadata: {{name: {name}}}\nspec: {{clusterIP: 10.96.0.9, ports: [{{name: dns, port: 53, protocol: UDP}}]}}"
            )
        };
        let new = format!("{new}2");
        apply(&mut cluster, &spec(old));
        slice(&mut cluster, old, "10.0.0.1", 5353);
        slice(&mut cluster, &new, "10.0.0.2", 5353);
        cluster.settle();
        cluster.delete(Kind::Service, &format!("default/{old}"));
        apply(&mut cluster, &spec(&new));
        let departed = cluster.settle().departed;
        let told = words(&departed).iter().any(|w| w.ends_with(" 10.0.0.1:5353"));
        println!("{old} -> {new}: {:?}", words(&departed));
        missed.extend((!told).then_some(new));
    }
    assert!(missed.is_empty(), "the flows of the old service go on when the new one is called {missed:?}");
}

/// The same with a moment in between, as when somebody deletes a Service and applies it again.
#[test]
fn backends_of_a_deleted_service_depart_when_its_address_is_taken_again_later() {
    let mut cluster = cluster("10.0.0.5", "10.0.0.1");
    let spec = "kind: Service\nmetadata: {name: m}\nspec: {clusterIP: 10.96.0.9, ports: [{name: dns, port: 53, protocol: UDP}]}";
    apply(&mut cluster, spec);
    slice(&mut cluster, "m", "10.0.0.1", 5353);
    cluster.settle();
    cluster.delete(Kind::Service, "default/m");
    let mut departed = cluster.settle().departed;
    slice(&mut cluster, "m", "10.0.0.2", 5353);
    departed.extend(cluster.settle().departed);
    apply(&mut cluster, spec);
    departed.extend(cluster.settle().departed);
    assert!(words(&departed).iter().any(|w| w.ends_with(" 10.0.0.1:5353")), "{departed:?}");
}
