//! Where services are served, by configuration: loopback, all addresses, the host's namespace alone, host ports.

use crate::cluster::{Cluster, FAMILIES};
use crate::{cases, run_with};
use serde_json::json;
use shunt_lab::topology::Style;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

#[test]
fn placement() {
    let arguments = [
        "--set",
        "nodePort.addresses=primary,localhost",
        "--set",
        "socketLB.hostNamespaceOnly=true",
        "--set",
        "hostPort.enabled=true",
    ];
    run_with(
        "placement",
        Style::Bridge,
        &arguments,
        cases![
            a_node_port_on_loopback_serves_the_node_alone,
            pods_see_the_service_and_are_served_all_the_same,
            host_ports_of_one_number_differ_by_protocol,
            host_ports_of_one_number_differ_by_address,
        ],
    );
}

const ALL: [&str; 4] = ["pod1-1", "pod1-2", "pod2-1", "pod2-2"];

fn a_node_port_on_loopback_serves_the_node_alone(c: &Cluster) {
    c.service("loop", json!({"type": "NodePort", "selector": {"app": "web"}}));
    let port = c.node_port("loop", "http");
    for ip in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        let to = SocketAddr::new(ip, port);
        c.reaches(&c.host(1), to, &ALL);
        c.refused(&c.pod(1, 1), to);
        c.refused(&c.client(), to);
    }
    let udp = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), c.node_port("loop", "udp"));
    c.reaches_by_udp(&c.host(2), udp, &ALL);
    let setting = || std::fs::read_to_string("/proc/sys/net/ipv4/conf/all/route_localnet").unwrap();
    let setting = c.host(1).netns.run(setting).unwrap();
    assert_eq!(setting.trim(), "0", "it takes no such switch (CVE-2020-8558)");
}

fn pods_see_the_service_and_are_served_all_the_same(c: &Cluster) {
    c.service("seen", json!({"type": "NodePort", "selector": {"app": "web"}}));
    c.service("self", json!({"selector": {"pod": "pod1-1"}}));
    c.service("local", json!({"internalTrafficPolicy": "Local", "selector": {"pod": "pod2-1"}}));
    for v6 in FAMILIES {
        let port = c.node_port("seen", "http");
        for from in [c.pod(1, 1), c.host(1)] {
            c.reaches(&from, c.cluster_ip("seen", v6), &ALL);
            c.reaches(&from, c.node(1, v6, port), &ALL);
            c.reaches(&from, c.node(2, v6, port), &ALL);
            c.reaches_by_udp(&from, c.cluster_ip("seen", v6), &ALL);
        }
        c.reaches(&c.pod(1, 1), c.cluster_ip("self", v6), &["pod1-1"]);
        // A packet is dropped silently where a socket would be told.
        c.silent(&c.pod(1, 1), c.cluster_ip("local", v6));
        c.no_way(&c.host(1), c.cluster_ip("local", v6));
    }
}

fn host_ports_of_one_number_differ_by_protocol(c: &Cluster) {
    let host_port = |pod: usize, inside: u16, protocol: &str| {
        let mut object = shunt_lab::objects::pod(1, pod, c.lab.topology.families);
        object["spec"]["containers"][0]["ports"] =
            json!([{"name": "p", "containerPort": inside, "hostPort": 5432, "protocol": protocol}]);
        c.lab.api().put(object).unwrap();
    };
    host_port(1, 8080, "TCP");
    host_port(2, 8081, "UDP");
    for v6 in FAMILIES {
        let to = c.node(1, v6, 5432);
        for from in [c.client(), c.pod(2, 1), c.host(1), c.pod(1, 2)] {
            c.reaches(&from, to, &["pod1-1"]);
            c.reaches_by_udp(&from, to, &["pod1-2"]);
        }
        c.unserved(&c.client(), c.node(2, v6, 5432));
    }
}

fn host_ports_of_one_number_differ_by_address(c: &Cluster) {
    let put = |pod: usize, ports: &[(String, u16, &str)]| {
        let ports: Vec<_> = ports
            .iter()
            .map(|(ip, inside, protocol)| {
                json!({"containerPort": inside, "hostPort": 5433, "hostIP": ip, "protocol": protocol})
            })
            .collect();
        let mut object = shunt_lab::objects::pod(1, pod, c.lab.topology.families);
        object["spec"]["containers"][0]["ports"] = ports.into();
        c.lab.api().put(object).unwrap();
    };
    let node = |v6: bool| c.node(1, v6, 0).ip().to_string();
    put(1, &[("127.0.0.1".into(), 8080, "TCP"), ("::1".into(), 8080, "TCP")]);
    put(
        2,
        &[
            (node(false), 8080, "TCP"),
            (node(true), 8080, "TCP"),
            (node(false), 8081, "UDP"),
            (node(true), 8081, "UDP"),
        ],
    );
    for (v6, ip) in [(false, IpAddr::from(Ipv4Addr::LOCALHOST)), (true, Ipv6Addr::LOCALHOST.into())] {
        c.reaches(&c.host(1), SocketAddr::new(ip, 5433), &["pod1-1"]);
        for from in [c.client(), c.pod(2, 1), c.host(1)] {
            c.reaches(&from, c.node(1, v6, 5433), &["pod1-2"]);
            c.reaches_by_udp(&from, c.node(1, v6, 5433), &["pod1-2"]);
        }
        c.refused(&c.pod(1, 1), SocketAddr::new(ip, 5433));
    }
}
