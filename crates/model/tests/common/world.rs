//! Random objects over a small universe, so that they meet in conflicts.

use super::{NODE, Object};
use proptest::prelude::*;
use shunt_model::objects::*;
use std::collections::BTreeMap;

/// Something that happens to a cluster.
#[derive(Clone, Debug)]
pub enum Event {
    Apply(Box<Object>),
    DeleteService(u8),
    DeleteSlice(u8),
    DeleteNode,
    NodePorts(Option<Vec<u8>>),
    Relist,
    Restart,
    Reconcile,
    Retry,
}

pub fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => service().prop_map(|s| Event::Apply(Box::new(Object::Service(s)))),
        6 => slice().prop_map(|s| Event::Apply(Box::new(Object::Slice(s)))),
        1 => node().prop_map(|n| Event::Apply(Box::new(Object::Node(n)))),
        2 => (0..4u8).prop_map(Event::DeleteService),
        2 => (0..8u8).prop_map(Event::DeleteSlice),
        1 => Just(Event::DeleteNode),
        1 => prop::option::of(prop::collection::vec(0..3u8, 0..3)).prop_map(Event::NodePorts),
        1 => Just(Event::Relist),
        1 => Just(Event::Restart),
        5 => Just(Event::Reconcile),
        1 => Just(Event::Retry),
    ]
}

pub fn node_address(n: u8) -> String {
    if n == 2 { "fd00:168::2".into() } else { format!("192.168.0.{n}") }
}

fn meta(name: String) -> Meta {
    Meta { name, namespace: "default".into(), ..Meta::default() }
}

prop_compose! {
    fn service()(
        n in 0..4u8,
        age in prop::option::of(0..4u8),
        ip in 1..5u8,
        dual: bool,
        headless in prop::bool::weighted(0.05),
        type_ in prop::sample::select(vec!["ClusterIP", "NodePort", "LoadBalancer"]),
        externals in prop::collection::vec(prop::sample::select(vec![
            "203.0.113.1", "203.0.113.2", "10.96.0.1", "10.96.0.3", "192.168.0.1", "10.244.1.1", "2001:db8::1", "bad",
        ]), 0..3),
        lb in prop::option::of(prop::sample::select(vec!["203.0.113.1", "203.0.113.9", "fd00:96::2"])),
        ports in prop::collection::vec((0..2u8, 80..83i64, 0..5i64, prop::bool::weighted(0.2)), 0..4),
    ) -> Service {
        let ports = ports.into_iter().map(|(name, port, node, udp)| ServicePort {
            name: Some(format!("p{name}")),
            protocol: Some(if udp { "UDP" } else { "TCP" }.into()),
            port,
            node_port: (node > 0).then_some(if node == 4 { 22 } else { 30000 + node }),
        }).collect();
        let mut cluster_ips = vec![format!("10.96.0.{ip}")];
        if dual {
            cluster_ips.push(format!("fd00:96::{ip}"));
        }
        if headless {
            cluster_ips = vec!["None".into()];
        }
        let ingress = lb.map(|ip| vec![Ingress { ip: Some(ip.into()), ip_mode: None }]);
        Service {
            metadata: Meta {
                creation_timestamp: age.map(|a| format!("2026-01-0{}T00:00:00Z", a + 1)),
                ..meta(format!("s{n}"))
            },
            spec: ServiceSpec {
                type_: Some(type_.into()),
                cluster_ip: cluster_ips.first().cloned(),
                cluster_ips: Some(cluster_ips),
                ip_families: None,
                external_ips: Some(externals.into_iter().map(Into::into).collect()),
                ports: Some(ports),
                ..ServiceSpec::default()
            },
            status: ServiceStatus { load_balancer: Some(LoadBalancerStatus { ingress }) },
        }
    }
}

prop_compose! {
    fn slice()(
        n in 0..8u8,
        owner in 0..4u8,
        v6 in prop::bool::weighted(0.3),
        endpoints in prop::collection::vec((0..8u8, prop::option::weighted(0.3, any::<bool>())), 0..6),
        ports in prop::collection::vec((0..2u8, 8080..8083i64, prop::bool::weighted(0.2)), 0..4),
        labelled in prop::bool::weighted(0.9),
    ) -> EndpointSlice {
        let endpoints = endpoints.into_iter().map(|(n, ready)| Endpoint {
            addresses: vec![match (n, v6) {
                // One bad address in eight.
                (0, _) => "169.254.169.254".into(),
                (_, true) => format!("fd00:244::{n}"),
                (_, false) => format!("10.244.9.{n}"),
            }],
            conditions: Some(EndpointConditions { ready, ..EndpointConditions::default() }),
            // An address is on one node, whatever slice names it.
            node_name: Some(if n % 3 == 0 { NODE.into() } else { format!("other-{n}") }),
            zone: None,
        }).collect();
        let ports = ports.into_iter().map(|(name, port, udp)| EndpointPort {
            name: Some(format!("p{name}")),
            protocol: Some(if udp { "UDP" } else { "TCP" }.into()),
            port: Some(port),
        }).collect();
        let labels = BTreeMap::from([("kubernetes.io/service-name".to_string(), format!("s{owner}"))]);
        EndpointSlice {
            metadata: Meta { labels: labelled.then_some(labels), ..meta(format!("sl{n}")) },
            address_type: if v6 { "IPv6" } else { "IPv4" }.into(),
            endpoints: Some(endpoints),
            ports: Some(ports),
        }
    }
}

prop_compose! {
    fn node()(
        addresses in prop::collection::vec(0..3u8, 0..3),
        own in prop::bool::weighted(0.8),
        pods: bool,
    ) -> Node {
        let address = |n| NodeAddress { type_: "InternalIP".into(), address: node_address(n) };
        Node {
            metadata: Meta { name: if own { NODE } else { "node-2" }.into(), ..Meta::default() },
            spec: NodeSpec { pod_cidrs: pods.then(|| vec!["10.244.1.0/24".into()]), ..NodeSpec::default() },
            status: NodeStatus { addresses: Some(addresses.into_iter().map(address).collect()) },
        }
    }
}
