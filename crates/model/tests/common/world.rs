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
    DeletePod(u8),
    DeleteServiceCidr(u8),
    Loopback(bool),
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
        2 => pod().prop_map(|p| Event::Apply(Box::new(Object::Pod(p)))),
        1 => (0..3u8).prop_map(Event::DeletePod),
        1 => service_cidr().prop_map(|c| Event::Apply(Box::new(Object::ServiceCidr(c)))),
        1 => (0..3u8).prop_map(Event::DeleteServiceCidr),
        1 => any::<bool>().prop_map(Event::Loopback),
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
    /// More ranges than the programs know, bad ones, and some that overlap.
    fn service_cidr()(
        n in 0..3u8,
        cidrs in prop::collection::vec(prop::sample::select(vec![
            "10.96.0.0/16", "10.97.0.0/16", "10.0.0.0/8", "10.98.1.0/24", "10.99.0.0/20", "fd00:96::/112", "bad", "::/0",
        ]), 0..4),
    ) -> ServiceCidr {
        let cidrs = Some(cidrs.into_iter().map(String::from).collect());
        ServiceCidr { metadata: Meta { name: format!("c{n}"), ..Meta::default() }, spec: ServiceCidrSpec { cidrs } }
    }
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
        ports in prop::collection::vec((0..2u8, 80..83i64, 0..5i64, 0..5u8), 0..4),
        external_local in prop::bool::weighted(0.3),
        internal_local in prop::bool::weighted(0.3),
        affinity in prop::option::weighted(0.2, 0..3i64),
        sources in prop::collection::vec(prop::sample::select(vec![
            "10.0.0.0/8", "192.168.0.0/24", "0.0.0.0/0", "2001:db8::/32", "bad", " ",
        ]), 0..3),
        annotations in prop::collection::vec(prop::sample::select(vec![
            ("src-ranges-policy", "deny"),
            ("type", "ClusterIP,LoadBalancer"),
            ("type", "NodePort"),
            ("node-selector", "topology.kubernetes.io/zone in (zone-a)"),
            ("forwarding-mode", "dsr"),
            ("lb-algorithm", "bad"),
            ("lb-algorithm", "maglev"),
            ("lb-algorithm", "random"),
        ]), 0..2),
    ) -> Service {
        let policy = |local| Some(if local { "Local".to_string() } else { "Cluster".into() });
        let ports = ports.into_iter().map(|(name, port, node, proto)| ServicePort {
            name: Some(format!("p{name}")),
            protocol: Some(["TCP", "TCP", "TCP", "UDP", "SCTP"][usize::from(proto)].into()),
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
                annotations: Some(
                    annotations.into_iter().map(|(k, v)| (format!("shunt.io/{k}"), v.into())).collect(),
                ),
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
                external_traffic_policy: policy(external_local),
                internal_traffic_policy: policy(internal_local),
                load_balancer_source_ranges: Some(sources.into_iter().map(Into::into).collect()),
                session_affinity: affinity.map(|_| "ClientIP".into()),
                session_affinity_config: affinity.map(|timeout| SessionAffinityConfig {
                    client_ip: Some(ClientIpConfig { timeout_seconds: Some(timeout) }),
                }),
                // Counts for a load balancer of policy Local; the last one's is a port that it may have itself.
                health_check_node_port: Some(if n == 3 { 82 } else { 31000 + i64::from(n) }),
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
        endpoints in prop::collection::vec(
            (
                0..11u8,
                prop::option::weighted(0.3, any::<bool>()),
                any::<bool>(),
                any::<bool>(),
                prop::option::weighted(0.8, 0..14u8),
            ),
            0..6,
        ),
        ports in prop::collection::vec((0..2u8, 8080..8083i64, 0..5u8), 0..4),
        labelled in prop::bool::weighted(0.9),
    ) -> EndpointSlice {
        let slice = n;
        let endpoints = endpoints.into_iter().map(|(n, ready, serving, terminating, hint)| Endpoint {
            addresses: vec![match (n, v6) {
                // A bad address now and then.
                (0, _) => "169.254.169.254".into(),
                (8.., true) => format!("fd00:244:{slice}::{n}"),
                (8.., false) => format!("10.244.1{slice}.{n}"),
                (_, true) => format!("fd00:244::{n}"),
                (_, false) => format!("10.244.9.{n}"),
            }],
            // A pod terminates for all its services at once, so what terminates here stands in one slice only.
            conditions: Some(match n {
                8.. => EndpointConditions { ready, serving: Some(serving), terminating: Some(terminating) },
                _ => EndpointConditions { ready, ..EndpointConditions::default() },
            }),
            target_ref: None,
            // An address is on one node, whatever slice names it.
            node_name: Some(if n % 3 == 0 { NODE.into() } else { format!("other-{n}") }),
            zone: None,
            hints: hint.filter(|h| *h < 12).map(|h| {
                let named = |n: &str| Some(vec![Hint { name: n.into() }]);
                let node = if h % 2 == 0 { NODE } else { "other" };
                EndpointHints {
                    for_zones: named(if h % 3 == 0 { "zone-a" } else { "zone-b" }).filter(|_| h < 8),
                    for_nodes: named(node).filter(|_| h > 4),
                }
            }),
        }).collect();
        let ports = ports.into_iter().map(|(name, port, proto)| EndpointPort {
            name: Some(format!("p{name}")),
            protocol: Some(["TCP", "TCP", "TCP", "UDP", "SCTP"][usize::from(proto)].into()),
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
        zone in prop::option::of(prop::sample::select(vec!["zone-a", "zone-b", "zone-c"])),
    ) -> Node {
        let labels = zone.map(|z| BTreeMap::from([("topology.kubernetes.io/zone".into(), z.into())]));
        let address = |n| NodeAddress { type_: "InternalIP".into(), address: node_address(n) };
        Node {
            metadata: Meta { name: if own { NODE } else { "node-2" }.into(), labels, ..Meta::default() },
            spec: NodeSpec { pod_cidrs: pods.then(|| vec!["10.244.1.0/24".into()]), ..NodeSpec::default() },
            status: NodeStatus { addresses: Some(addresses.into_iter().map(address).collect()) },
        }
    }
}

prop_compose! {
    fn pod()(
        n in 0..3u8,
        here in prop::bool::weighted(0.8),
        v6: bool,
        over in prop::bool::weighted(0.1),
        leaving in prop::bool::weighted(0.2),
        ports in prop::collection::vec((0..3i64, 0..4usize), 0..3),
    ) -> Pod {
        let ports = ports.into_iter().map(|(port, host)| ContainerPort {
            container_port: 8080,
            // Now and then one in the NodePort range.
            host_port: Some(if port == 2 { 30001 } else { 8080 + port }),
            host_ip: [None, Some("127.0.0.1"), Some("192.168.0.1"), Some("198.51.100.1")][host].map(Into::into),
            protocol: None,
        }).collect();
        let mut ips = vec![PodIp { ip: format!("10.244.20.{n}") }];
        ips.extend(v6.then(|| PodIp { ip: format!("fd00:244:20::{n}") }));
        Pod {
            metadata: Meta {
                deletion_timestamp: leaving.then(|| "2026-01-01T00:00:00Z".into()),
                ..meta(format!("p{n}"))
            },
            spec: PodSpec {
                node_name: Some(if here { NODE } else { "other" }.into()),
                containers: Some(vec![Container { ports: Some(ports) }]),
                ..PodSpec::default()
            },
            status: PodStatus {
                phase: Some(if over { "Failed" } else { "Running" }.into()),
                pod_ips: Some(ips),
            },
        }
    }
}
