//! The packets that a cluster is asked about, seen from one of its nodes.

use crate::cluster::{Cluster, NODES};
use crate::kube::{proto, sloppy};
use crate::rules::Source;
use shunt_common::Proto;
use shunt_model::objects::Service;
use shunt_model::store::Family;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// From whom, to where.
pub type Probe = (Source, SocketAddr, Proto);

const PROTOS: [Proto; 3] = [Proto::Tcp, Proto::Udp, Proto::Sctp];
/// Somebody outside, in some of the source ranges and in none.
const CLIENTS: [&str; 5] = ["198.51.100.7", "198.51.100.8", "203.0.113.77", "2001:db8:c::7", "2001:db8:d::7"];
/// An address of no service in the ServiceCIDRs; one nobody has.
const NOBODYS: [&str; 4] = ["10.96.7.7", "fd00:96::7777", "203.0.113.250", "2001:db8:e::250"];

pub fn probes(cluster: &Cluster, n: usize) -> Vec<Probe> {
    let (dests, sources) = (dests(cluster, n), sources(cluster, n));
    let same = |source: &Source, to: &SocketAddr| Family::of(source.addr()) == Family::of(to.ip());
    let all = dests
        .iter()
        .flat_map(|(to, proto)| sources.iter().filter(move |s| same(s, to)).map(move |s| (*s, *to, *proto)));
    all.collect()
}

fn sources(cluster: &Cluster, n: usize) -> Vec<Source> {
    let ip = |text: String| text.parse::<IpAddr>().unwrap();
    let other = 1 + n % NODES;
    let mut sources: Vec<Source> = CLIENTS.iter().map(|c| Source::Device(ip(c.to_string()))).collect();
    for prefix in ["10.244.N.", "fd00:244:N::"] {
        let pod = |n: usize, k| ip(format!("{}{k}", prefix.replace('N', &n.to_string())));
        // Some pod, one that is an endpoint, and one of another node.
        sources.extend([Source::Pod(pod(n, 50)), Source::Pod(pod(n, 1)), Source::Device(pod(other, 50))]);
    }
    sources.extend(cluster.primary(other).into_iter().map(Source::Device));
    sources.extend(cluster.addresses(n).into_iter().map(Source::Node));
    sources
}

fn dests(cluster: &Cluster, n: usize) -> BTreeSet<(SocketAddr, Proto)> {
    let mut dests = BTreeSet::new();
    // Another node's address is nothing special here.
    let mut nodes = cluster.addresses(n);
    nodes.extend(cluster.primary(1 + n % NODES));
    for service in cluster.services() {
        for (index, port) in service.spec.ports.iter().flatten().enumerate() {
            let own = proto(port.protocol.as_deref());
            let other = PROTOS.into_iter().cycle().skip(index).find(|p| *p != own);
            for proto in [Some(own), other].into_iter().flatten() {
                let mut add = |addr, port: i64| _ = dests.insert((SocketAddr::new(addr, port as u16), proto));
                addresses(service).into_iter().for_each(|addr| add(addr, port.port));
                let node_port = port.node_port.into_iter();
                node_port.for_each(|number| nodes.iter().for_each(|addr| add(*addr, number)));
            }
        }
        // A port that nobody has.
        addresses(service).into_iter().for_each(|a| _ = dests.insert((SocketAddr::new(a, 81), Proto::Tcp)));
    }
    let nobodys = NOBODYS.iter().map(|a| a.parse().unwrap());
    let others = nobodys.chain(cluster.addresses(n)).flat_map(|a| [(a, 80), (a, 30999)]);
    dests.extend(others.map(|(a, port)| (SocketAddr::new(a, port), Proto::Tcp)));
    dests
}

/// Every address that stands in a Service, whether or not it is served.
pub fn addresses(service: &Service) -> Vec<IpAddr> {
    let ingress = service.status.load_balancer.iter().flat_map(|l| l.ingress.iter().flatten());
    let texts = service.spec.cluster_ips.iter().flatten().chain(service.spec.external_ips.iter().flatten());
    texts.chain(ingress.filter_map(|i| i.ip.as_ref())).filter_map(|t| sloppy(t)).collect()
}
