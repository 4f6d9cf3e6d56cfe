//! A Service as an API server would let it in.

use super::meta;
use crate::random::Random;
use shunt_model::objects::{
    ClientIpConfig, Ingress, LoadBalancerStatus, Service, ServicePort, ServiceSpec, ServiceStatus,
    SessionAffinityConfig,
};
use std::collections::{BTreeMap, BTreeSet};

/// Number and protocol of ports that services may have.
const PORTS: [(i64, &str); 7] =
    [(80, "TCP"), (80, "UDP"), (443, "TCP"), (53, "TCP"), (53, "UDP"), (9999, "SCTP"), (80, "SCTP")];
/// Ranges of clients, some of them written as validation lets pass.
const SOURCES: [&str; 9] = [
    "198.51.100.0/24",
    "198.51.100.7/32",
    " 192.168.0.0/16",
    "10.244.1.9/16 ",
    "10.244.2.0/24",
    "203.0.113.0/24",
    "0.0.0.0/0",
    "2001:db8:c::/48",
    "fd00::/16",
];

/// Addresses that several services may have, at ports of their own.
pub type Taken = BTreeSet<(String, i64, &'static str)>;

pub fn service(random: &mut Random, n: usize, taken: &mut Taken) -> Service {
    let type_ = match random.below(100) {
        0..25 => "ClusterIP",
        25..50 => "NodePort",
        50..97 => "LoadBalancer",
        _ => "ExternalName",
    };
    let families: &[&str] =
        random.pick(&[&["IPv4"][..], &["IPv4"], &["IPv6"], &["IPv4", "IPv6"], &["IPv6", "IPv4"]]);
    let cluster_ips: Vec<String> = match (type_, random.percent(4)) {
        ("ExternalName", _) => vec![],
        ("ClusterIP", true) => vec!["None".into()],
        _ => families.iter().map(|f| in_family(f, "10.96.0.1", "fd00:96::1", n)).collect(),
    };
    let ports = ports(random, type_, n);
    let policy = |random: &mut Random| random.pick(&[None, Some("Cluster"), Some("Local"), Some("Local")]);
    let affinity = random.percent(25);
    let timeout = random.pick(&[None, Some(10800), Some(1), Some(100)]);
    let mut metadata = meta(format!("s{n}"));
    metadata.namespace = random.pick(&["default", "default", "apps"]).into();
    if random.percent(4) {
        let label =
            ("service.kubernetes.io/service-proxy-name".to_string(), random.pick(&["", "other"]).into());
        metadata.labels = Some(BTreeMap::from([label]));
    }
    if type_ == "LoadBalancer" && random.percent(4) {
        // What stood for the field before there was one: for cloud controllers.
        let key = "service.beta.kubernetes.io/load-balancer-source-ranges".to_string();
        metadata.annotations = Some(BTreeMap::from([(key, "198.51.100.7/32,2001:db8:c::/48".into())]));
    }
    let external_ips = match random.percent(35) {
        true => free(external_ips(random, n), &ports, taken),
        false => Vec::new(),
    };
    let ingress = if type_ == "LoadBalancer" { ingress(random, n) } else { Vec::new() };
    let ips = ingress.iter().filter_map(|i| i.ip.clone()).filter(|ip| !external_ips.contains(ip)).collect();
    let ips = free(ips, &ports, taken);
    let keep = |i: &Ingress| i.ip.as_ref().is_none_or(|ip| ips.contains(ip) || external_ips.contains(ip));
    Service {
        metadata,
        status: ServiceStatus {
            load_balancer: Some(LoadBalancerStatus {
                ingress: Some(ingress.into_iter().filter(keep).collect()),
            }),
        },
        spec: ServiceSpec {
            type_: Some(type_.into()),
            cluster_ip: cluster_ips.first().cloned(),
            cluster_ips: Some(cluster_ips),
            // Absent in objects from before there were two families.
            ip_families: (families.len() > 1 || random.percent(90))
                .then(|| families.iter().map(ToString::to_string).collect()),
            external_ips: Some(external_ips),
            external_traffic_policy: policy(random).map(Into::into),
            internal_traffic_policy: policy(random).map(Into::into),
            load_balancer_source_ranges: (type_ == "LoadBalancer" && random.percent(50))
                .then(|| random.some(25, &SOURCES).into_iter().map(Into::into).collect()),
            session_affinity: random
                .pick(&[None, Some("None")])
                .map(Into::into)
                .filter(|_| !affinity)
                .or_else(|| affinity.then(|| "ClientIP".into())),
            session_affinity_config: affinity.then_some(SessionAffinityConfig {
                client_ip: Some(ClientIpConfig { timeout_seconds: timeout }),
            }),
            ports: Some(ports),
            ..ServiceSpec::default()
        },
    }
}

fn in_family(family: &str, v4: &str, v6: &str, n: usize) -> String {
    format!("{}{n}", if family == "IPv4" { v4 } else { v6 })
}

fn ports(random: &mut Random, type_: &str, n: usize) -> Vec<ServicePort> {
    let mut some = random.some(35, &PORTS);
    if some.is_empty() {
        some.push(random.pick(&PORTS));
    }
    let single = some.len() == 1;
    // A load balancer may do without NodePorts: `allocateLoadBalancerNodePorts: false`.
    let node_ports = type_ == "NodePort" || (type_ == "LoadBalancer" && random.percent(80));
    let port = |(i, (port, proto)): (usize, &(i64, &str))| ServicePort {
        name: if single && random.percent(50) { None } else { Some(format!("p{i}")) },
        protocol: Some(proto.to_string()).filter(|p| p != "TCP" || random.percent(70)),
        port: *port,
        // The same number on two protocols where the port has the same too.
        node_port: node_ports.then_some(30000 + 100 * n as i64 + port % 100),
    };
    some.iter().enumerate().map(port).collect()
}

fn external_ips(random: &mut Random, n: usize) -> Vec<String> {
    let own = [format!("203.0.113.10{n}"), format!("2001:db8:e::1{n}")];
    let mut all: Vec<String> = own.into_iter().filter(|_| random.percent(60)).collect();
    all.extend(random.percent(20).then(|| "203.0.113.99".into()));
    // As an API server once let in: not octal.
    all.extend(random.percent(5).then(|| format!("203.000.113.06{n}")));
    // Also given by the load balancer.
    all.extend(random.percent(10).then(|| format!("203.0.113.1{n}")));
    if random.percent(15) {
        // A ClusterIP of somebody, a node's address, a pod's: nothing but trouble.
        all.push(
            random.pick(&["10.96.0.11", "192.168.0.1", "192.168.0.3", "10.244.1.1", "fd00:168::2"]).into(),
        );
    }
    all
}

fn ingress(random: &mut Random, n: usize) -> Vec<Ingress> {
    let one = |ip: Option<String>, mode: Option<&str>| Ingress { ip, ip_mode: mode.map(Into::into) };
    let mut all = Vec::new();
    if random.percent(80) {
        all.push(one(
            Some(format!("203.0.113.1{n}")),
            random.pick(&[None, Some("VIP"), Some("VIP"), Some("Proxy")]),
        ));
    }
    if random.percent(60) {
        all.push(one(
            Some(format!("2001:db8:f::1{n}")),
            random.pick(&[None, None, Some("VIP"), Some("Proxy")]),
        ));
    }
    if random.percent(45) {
        all.push(one(Some("203.0.113.9".into()), None));
    }
    if random.percent(10) {
        // Only a host name.
        all.push(one(None, None));
    }
    all
}

/// Those addresses on which nobody else has one of the ports: kube-proxy leaves it to chance who gets it.
fn free(addresses: Vec<String>, ports: &[ServicePort], taken: &mut Taken) -> Vec<String> {
    let mut found = Vec::new();
    for address in addresses {
        let key = |p: &ServicePort| {
            let proto = PORTS.iter().find(|(_, proto)| Some(*proto) == p.protocol.as_deref());
            (address.clone(), p.port, proto.map_or("TCP", |(_, proto)| *proto))
        };
        let keys: Vec<_> = ports.iter().map(key).collect();
        if keys.iter().all(|k| !taken.contains(k)) {
            taken.extend(keys);
            found.push(address);
        }
    }
    found
}
