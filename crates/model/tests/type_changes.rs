//! A service that changes its type while it is used.

// A test that cannot go on should say where.
#![allow(clippy::unwrap_used)]

mod common;

use common::watching::{Reach, Watching, reach};
use common::{Cluster, NODE, Object};
use shunt_model::store::{Actual, FrontendRef};
use shunt_model::{MapStore, Options};
use std::collections::BTreeMap;

const TYPES: [&str; 4] = ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"];
const NODE_OBJECT: &str =
    "kind: Node\nmetadata: {name: node-1}\nstatus: {addresses: [{type: InternalIP, address: 192.168.0.1}]}";

fn service(type_: &str, local: bool) -> String {
    let head = format!("kind: Service\nmetadata: {{name: web}}\nspec:\n  type: {type_}\n");
    if type_ == "ExternalName" {
        return head + "  externalName: example.org\n";
    }
    let policy = if local && type_ != "ClusterIP" { "Local" } else { "Cluster" };
    let node_ports = if type_ == "ClusterIP" { ["", ""] } else { [", nodePort: 30080", ", nodePort: 30443"] };
    let [http, https] = node_ports;
    let mut text = format!(
        "{head}  clusterIP: 10.96.0.10\n  externalIPs: [203.0.113.7]\n  externalTrafficPolicy: {policy}\n  \
         ports: [{{name: http, port: 80{http}}}, {{name: https, port: 443{https}}}]\n"
    );
    if type_ == "LoadBalancer" {
        text += "  loadBalancerSourceRanges: [10.0.0.0/8]\nstatus: {loadBalancer: {ingress: [{ip: 203.0.113.1}]}}\n";
    }
    text
}

fn slice(last: u8) -> String {
    format!(
        "kind: EndpointSlice\nmetadata: {{name: web-1, labels: {{kubernetes.io/service-name: web}}}}\n\
         addressType: IPv4\nports: [{{name: http, port: 8080}}, {{name: https, port: 8443}}]\nendpoints:\n\
         - {{addresses: [10.244.1.1], nodeName: node-1}}\n- {{addresses: [10.244.2.{last}], nodeName: node-2}}\n"
    )
}

fn cluster(objects: &[String]) -> Cluster {
    let mut cluster = Cluster::new(Options::new(NODE));
    Object::read(&objects.join("\n---\n")).into_iter().for_each(|o| cluster.apply(o));
    cluster.settle();
    cluster
}

fn served(actual: &Actual) -> BTreeMap<FrontendRef, Reach> {
    reach(actual)
}

#[test]
fn a_type_change_in_any_direction_leaves_no_moment_without_what_is_wanted_before_and_after() {
    let mut directions = 0;
    for from in TYPES {
        for to in TYPES.into_iter().filter(|to| *to != from) {
            directions += 1;
            for (before, after) in [(false, false), (true, false), (false, true), (true, true)] {
                for last in [1, 2] {
                    let wanted = [NODE_OBJECT.into(), service(to, after), slice(last)];
                    let after = served(&cluster(&wanted).store.dump().unwrap());
                    let mut live = cluster(&[NODE_OBJECT.into(), service(from, before), slice(1)]);
                    let mut watching = Watching::new(live.store.clone());
                    wanted.iter().flat_map(|o| Object::read(o)).for_each(|o| live.apply(o));
                    // Each op is looked at: rows that are wanted before and after stay, with the whole old pool or the
                    // whole new one.
                    watching.begin(after.clone());
                    let report = live.model.reconcile(&mut watching);
                    assert_eq!(report.failed, [], "{from} to {to}");
                    assert_eq!(served(&watching.inner.dump().unwrap()), after, "{from} to {to}");
                }
            }
        }
    }
    assert_eq!(directions, 12);
}

#[test]
fn the_cluster_ip_keeps_its_service_id_and_its_pool_through_every_type_that_has_one() {
    let mut live = cluster(&[NODE_OBJECT.into(), service("ClusterIP", false), slice(1)]);
    let row = |cluster: &mut Cluster| {
        let actual = cluster.store.dump().unwrap();
        let key = FrontendRef::new("10.96.0.10".parse().unwrap(), 80, shunt_common::Proto::Tcp);
        actual.frontends[&key]
    };
    let before = row(&mut live);
    for type_ in ["NodePort", "LoadBalancer", "NodePort", "ClusterIP"] {
        Object::read(&service(type_, true)).into_iter().for_each(|o| live.apply(o));
        live.settle();
        assert_eq!(row(&mut live), before, "{type_}");
    }
}
