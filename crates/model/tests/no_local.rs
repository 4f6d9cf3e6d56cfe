//! How many service ports a policy of Local leaves without endpoints on this node.

// A test that cannot go on should say where.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Cluster, NODE, Object};
use shunt_model::objects::Kind;
use shunt_model::{NoLocal, Options};

const NODE_OBJECT: &str = "kind: Node\nmetadata: {name: node-1}\n\
    status: {addresses: [{type: InternalIP, address: 192.168.0.1}, {type: InternalIP, address: \"fd00:168::1\"}]}";

/// Two ports, NodePorts for the first, both families.
fn service(external: &str, internal: &str) -> String {
    format!(
        "kind: Service\nmetadata: {{name: web}}\nspec:\n  type: LoadBalancer\n  healthCheckNodePort: 31000\n  \
         clusterIPs: [10.96.0.10, \"fd00:96::10\"]\n  externalTrafficPolicy: {external}\n  \
         internalTrafficPolicy: {internal}\n  ports: [{{name: a, port: 80, nodePort: 30080}}, {{name: b, port: 81}}]\n"
    )
}

fn slice(family: u8, node: &str) -> String {
    let addr = if family == 4 { "10.244.2.1" } else { "\"fd00:244:2::1\"" };
    format!(
        "kind: EndpointSlice\nmetadata: {{name: web-{family}, labels: {{kubernetes.io/service-name: web}}}}\n\
         addressType: IPv{family}\nports: [{{name: a, port: 8080}}, {{name: b, port: 8081}}]\n\
         endpoints: [{{addresses: [{addr}], nodeName: {node}}}]\n"
    )
}

fn apply(cluster: &mut Cluster, yaml: &str) -> NoLocal {
    Object::read(yaml).into_iter().for_each(|o| cluster.apply(o));
    cluster.settle();
    cluster.model.no_local_endpoints()
}

#[test]
fn ports_with_endpoints_elsewhere_only_count_by_policy_and_family_for_as_long_as_it_is_so() {
    let mut cluster = Cluster::new(Options::new(NODE));
    apply(&mut cluster, NODE_OBJECT);
    assert_eq!(apply(&mut cluster, &service("Local", "Local")), [[0, 0], [0, 0]], "no endpoints anywhere");
    let both = format!("{}---\n{}", slice(4, "node-2"), slice(6, "node-1"));
    // Only the first port answers anywhere that the external policy speaks of.
    assert_eq!(apply(&mut cluster, &both), [[1, 0], [2, 0]]);
    assert_eq!(apply(&mut cluster, &slice(6, "node-3")), [[1, 1], [2, 2]]);
    assert_eq!(apply(&mut cluster, &service("Local", "Cluster")), [[1, 1], [0, 0]]);
    assert_eq!(apply(&mut cluster, &service("Cluster", "Local")), [[0, 0], [2, 2]]);
    assert_eq!(apply(&mut cluster, &slice(4, "node-1")), [[0, 0], [0, 2]]);
    // Another service's are added.
    let other = |text: &str| text.replace("web", "other").replace("::10", "::11").replace("0.10", "0.11");
    let other = format!("{}---\n{}", other(&service("Cluster", "Local")), other(&slice(4, "node-2")));
    assert_eq!(apply(&mut cluster, &other.replace("30080", "30081")), [[0, 0], [2, 2]]);
    cluster.delete(Kind::Service, "default/web");
    cluster.settle();
    assert_eq!(cluster.model.no_local_endpoints(), [[0, 0], [2, 0]]);
    cluster.delete(Kind::Service, "default/other");
    cluster.settle();
    assert_eq!(cluster.model.no_local_endpoints(), NoLocal::default());
}
