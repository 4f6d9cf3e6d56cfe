//! Lists that come again while things are running.

// A test that cannot go on should say where.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Cluster, NODE, many};
use shunt_model::objects::Kind;
use shunt_model::{NodeCondition, Options};

/// A list of a kind in which no object could be read.
fn unreadable(cluster: &mut Cluster, kind: Kind) {
    cluster.model.begin_replace(kind);
    for (_, key) in cluster.objects.keys().filter(|(k, _)| *k == kind) {
        let (namespace, name) = key.split_once('/').unwrap_or(("", key));
        cluster.model.seen(kind, namespace, name);
    }
    cluster.model.end_replace(kind);
    cluster.settle();
}

#[test]
fn what_cannot_be_read_in_a_list_keeps_its_last_good_state_and_what_is_not_there_goes() {
    let mut cluster = many(3, 2);
    cluster.settle();
    let before = cluster.model.actual();
    assert!(!before.frontends.is_empty());
    for kind in [Kind::Service, Kind::EndpointSlice] {
        unreadable(&mut cluster, kind);
        assert_eq!(cluster.model.actual(), before, "{}", kind.name());
    }
    cluster.objects.remove(&(Kind::Service, "default/s1".into()));
    unreadable(&mut cluster, Kind::Service);
    assert_eq!(cluster.model.actual().frontends.len() * 3, before.frontends.len() * 2);
}

#[test]
fn a_pod_and_a_node_that_cannot_be_read_are_still_there() {
    let options = Options { host_ports: true, ..Options::new(NODE) };
    let mut cluster = Cluster::new(options);
    let yaml = "kind: Node\nmetadata: {name: node-1}\nstatus: {addresses: [{type: InternalIP, address: 192.0.2.1}]}\n\
                ---\nkind: Pod\nmetadata: {name: web, namespace: default, uid: u1}\nspec: {nodeName: node-1, containers: \
                [{name: c, ports: [{containerPort: 80, hostPort: 8080}]}]}\nstatus: {phase: Running, podIPs: [{ip: 10.244.1.2}]}\n";
    common::Object::read(yaml).into_iter().for_each(|o| cluster.apply(o));
    cluster.settle();
    let before = cluster.model.actual();
    assert!(!before.frontends.is_empty());
    for kind in [Kind::Pod, Kind::Node] {
        unreadable(&mut cluster, kind);
        assert_eq!(cluster.model.actual(), before, "{}", kind.name());
    }
    assert_eq!(cluster.model.node_condition(), NodeCondition::Eligible);
}

#[test]
fn services_do_not_wait_for_pods_that_cannot_be_listed_and_rows_of_host_ports_wait_for_the_list() {
    let mut cluster = Cluster::new(Options { host_ports: true, ..Options::new(NODE) });
    let yaml = "kind: Node\nmetadata: {name: node-1}\nstatus: {addresses: [{type: InternalIP, address: 192.0.2.1}]}\n\
                ---\nkind: Pod\nmetadata: {name: web, namespace: default, uid: u1}\nspec: {nodeName: node-1, containers: \
                [{name: c, ports: [{containerPort: 80, hostPort: 8080}]}]}\nstatus: {phase: Running, podIPs: [{ip: 10.244.1.2}]}\n";
    common::Object::read(yaml).into_iter().for_each(|o| cluster.apply(o));
    cluster.settle();
    let host_ports = cluster.model.actual().frontends.len();
    assert!(host_ports > 0);
    cluster.restart();
    [Kind::Service, Kind::EndpointSlice, Kind::Node].into_iter().for_each(|kind| cluster.list(kind));
    assert!(!cluster.model.is_synced());
    cluster.model.do_without_pods();
    assert!(cluster.model.is_synced());
    cluster.apply(common::service(0));
    cluster.apply(common::slice(0, 2));
    cluster.settle();
    let rows = cluster.model.actual().frontends.len();
    assert!(rows > host_ports, "the service is there beside them");
    cluster.delete(Kind::Pod, "default/web");
    cluster.list(Kind::Pod);
    cluster.settle();
    assert_eq!(cluster.model.actual().frontends.len(), rows - host_ports);
    // Once listed, a refusal changes nothing.
    cluster.model.do_without_pods();
    assert!(cluster.model.is_synced());
}

#[test]
fn what_was_freed_is_not_used_again_before_time_has_passed_however_many_syncs_there_were() {
    let mut cluster = many(1, 2);
    cluster.settle();
    let ids = |cluster: &Cluster| cluster.model.actual().backends4.into_keys().collect::<Vec<_>>();
    let first = ids(&cluster);
    cluster.delete(Kind::EndpointSlice, "default/s0-1");
    for _ in 0..5 {
        cluster.model.reconcile(&mut cluster.store);
    }
    assert_eq!(ids(&cluster), []);
    // A second later: one of these may still have been freed only a moment ago.
    cluster.model.tick(cluster.clock + 1);
    cluster.apply(common::slice(0, 2));
    cluster.model.reconcile(&mut cluster.store);
    assert!(ids(&cluster).iter().all(|id| !first.contains(id)), "{:?} again", ids(&cluster));
    cluster.settle();
    cluster.delete(Kind::EndpointSlice, "default/s0-1");
    cluster.settle();
    cluster.reconcile();
    cluster.apply(common::slice(0, 2));
    cluster.settle();
    assert_eq!(ids(&cluster), first);
}
