//! Addresses as objects write them.

// A test that cannot go on should say where.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Cluster, NODE, Object};
use shunt_model::store::Actual;
use shunt_model::{MapStore, Options};

/// Octal, most of these would be other addresses, and two of them none.
const WITH_ZEROS: &str = r"
kind: Node
metadata: {name: node-1}
spec: {podCIDRs: [010.244.01.0/24]}
status: {addresses: [{type: InternalIP, address: 192.168.000.010}]}
---
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  clusterIP: 010.096.0.010
  externalIPs: [203.000.113.06]
  loadBalancerSourceRanges: [010.0.0.0/8, 198.051.100.09]
  ports: [{port: 80, nodePort: 30080}]
status: {loadBalancer: {ingress: [{ip: 203.0.113.012}]}}
---
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [010.244.01.011]}]
---
kind: Pod
metadata: {name: dns}
spec:
  nodeName: node-1
  containers: [{name: c, ports: [{containerPort: 53, hostPort: 8053, hostIP: 192.168.000.010}]}]
status: {phase: Running, podIPs: [{ip: 010.244.1.012}]}
";
const PLAIN: [(&str, &str); 9] = [
    ("010.244.01.0/24", "10.244.1.0/24"),
    ("192.168.000.010", "192.168.0.10"),
    ("010.096.0.010", "10.96.0.10"),
    ("203.000.113.06", "203.0.113.6"),
    ("010.0.0.0/8", "10.0.0.0/8"),
    ("198.051.100.09", "198.51.100.9"),
    ("203.0.113.012", "203.0.113.12"),
    ("010.244.01.011", "10.244.1.11"),
    ("010.244.1.012", "10.244.1.12"),
];

fn rows(text: &str) -> (Actual, Vec<String>) {
    let mut cluster = Cluster::new(Options { host_ports: true, ..Options::new(NODE) });
    Object::read(text).into_iter().for_each(|o| cluster.apply(o));
    cluster.settle();
    let problems = cluster.model.problems().iter().map(ToString::to_string).collect();
    (cluster.store.dump().unwrap(), problems)
}

#[test]
fn an_ipv4_address_with_leading_zeros_is_read_in_decimal_wherever_it_stands() {
    let plain = PLAIN.iter().fold(WITH_ZEROS.to_string(), |text, (zeros, plain)| {
        assert!(text.contains(zeros), "{zeros}");
        text.replace(zeros, plain)
    });
    let (want, problems) = rows(&plain);
    assert_eq!(problems, [] as [&str; 0]);
    assert_eq!((want.frontends.len(), want.backends4.len(), want.ranges.len()), (8, 2, 2));
    assert_eq!(rows(WITH_ZEROS), (want, vec![]));
}
