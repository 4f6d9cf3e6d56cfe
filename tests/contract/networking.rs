//! Granular checks: who reaches what, by HTTP and UDP, while endpoints and ports change; large requests; topology.

use crate::cluster::{Cluster, FAMILIES};
use crate::{cases, run};
use serde_json::{Value, json};
use shunt_lab::api::Kind;
use shunt_lab::cluster::{http, lab_binary};
use shunt_lab::place::{Place, Process};
use shunt_lab::topology::Style;
use std::net::SocketAddr;
use std::process::Stdio;

#[test]
fn networking() {
    run(
        "networking",
        Style::Vxlan,
        cases![
            pods_nodes_and_endpoints_reach_services,
            several_services_share_their_endpoints,
            endpoints_and_node_ports_may_change,
            large_requests_arrive_whole,
            endpoints_in_the_host_network_are_served,
            hints_keep_traffic_in_the_zone_and_on_the_node,
        ],
    );
}

const ALL: [&str; 4] = ["pod1-1", "pod1-2", "pod2-1", "pod2-2"];

fn pods_nodes_and_endpoints_reach_services(c: &Cluster) {
    c.service("net", json!({"type": "NodePort", "selector": {"app": "web"}}));
    for v6 in FAMILIES {
        let ip = c.cluster_ip("net", v6);
        let http_port = c.node_port("net", "http");
        let udp_port = c.node_port("net", "udp");
        for from in c.inside() {
            c.reaches(&from, ip, &ALL);
            c.reaches_by_udp(&from, ip, &ALL);
            for node in [1, 2] {
                c.reaches(&from, c.node(node, v6, http_port), &ALL);
                c.reaches_by_udp(&from, c.node(node, v6, udp_port), &ALL);
            }
        }
        for node in [1, 2] {
            c.reaches(&c.client(), c.node(node, v6, http_port), &ALL);
            c.reaches_by_udp(&c.client(), c.node(node, v6, udp_port), &ALL);
        }
    }
}

fn several_services_share_their_endpoints(c: &Cluster) {
    for name in ["left", "right"] {
        c.service(name, json!({"selector": {"app": "web"}}));
    }
    for v6 in FAMILIES {
        for name in ["left", "right"] {
            c.reaches(&c.pod(1, 1), c.cluster_ip(name, v6), &ALL);
        }
    }
    c.delete("left");
    for v6 in FAMILIES {
        c.reaches(&c.pod(1, 1), c.cluster_ip("right", v6), &ALL);
    }
}

fn endpoints_and_node_ports_may_change(c: &Cluster) {
    c.service("moving", json!({"type": "NodePort", "selector": {"app": "web"}}));
    let port = c.node_port("moving", "http");
    c.set_pod(2, 2, false, false);
    for v6 in FAMILIES {
        c.reaches(&c.client(), c.node(1, v6, port), &ALL[..3]);
        c.reaches(&c.pod(1, 1), c.cluster_ip("moving", v6), &ALL[..3]);
    }
    let ports =
        json!([{"name": "http", "port": 80, "targetPort": 8080, "nodePort": 30999, "protocol": "TCP"}]);
    c.change("moving", json!({"spec": {"ports": ports}}));
    for v6 in FAMILIES {
        c.reaches(&c.client(), c.node(1, v6, 30999), &ALL[..3]);
        c.refused(&c.client(), c.node(1, v6, port));
    }
}

fn large_requests_arrive_whole(c: &Cluster) {
    c.service("large", json!({"type": "NodePort", "selector": {"app": "web"}}));
    let message = "m".repeat(2000);
    for v6 in FAMILIES {
        let ways = [
            (c.pod(1, 1), c.cluster_ip("large", v6)),
            (c.bypass(1, 1), c.cluster_ip("large", v6)),
            (c.client(), c.node(1, v6, c.node_port("large", "http"))),
        ];
        for (from, to) in ways {
            c.reaches(&from, to, &ALL);
            let answer = http(&from, to, &format!("/echo?msg={message}")).unwrap();
            assert_eq!(answer.body(), Some(&*message), "{} at {to}", from.name);
        }
        // One datagram in fragments: the socket path translates it before it is cut.
        let to = c.cluster_ip("large", v6).to_string();
        let answer: shunt_lab::probe::Datagram =
            shunt_lab::cluster::probe(&c.pod(1, 1), &["udp", &to, &format!("echo {message}")]).unwrap();
        assert_eq!(answer.answer.body(), Some(&*message));
    }
}

fn endpoints_in_the_host_network_are_served(c: &Cluster) {
    let servers = [1, 2].map(|node| {
        let mut command = c.host(node).command(lab_binary().unwrap()).unwrap();
        command.args(["netexec", "--name", &format!("host{node}"), "--http-port", "9080"]);
        command.args(["--udp-port", "9081", "--echo-port", "9082"]).stdin(Stdio::null());
        Process::new(command.spawn().unwrap())
    });
    c.service("on-host", json!({"type": "NodePort", "selector": null}));
    for v6 in FAMILIES {
        let ends = [1, 2].map(|node| {
            let addr = c.lab.nodes[node - 1].addresses.of(v6).to_string();
            json!({"addresses": [addr], "nodeName": format!("node{node}")})
        });
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "addressType": if v6 { "IPv6" } else { "IPv4" },
            "metadata": {"name": format!("on-host-{v6}"), "namespace": "default",
                "labels": {"kubernetes.io/service-name": "on-host"}},
            "endpoints": ends, "ports": [{"name": "http", "port": 9080, "protocol": "TCP"},
                {"name": "udp", "port": 9081, "protocol": "UDP"}]});
        c.lab.api().put(slice).unwrap();
    }
    let serve = |from: &Place, at: &dyn Fn(bool, &str) -> SocketAddr, by: &[&str]| {
        for v6 in FAMILIES {
            c.reaches(from, at(v6, "http"), by);
            // A server that listens on all of a node's addresses answers a pod of it from that of the bridge, whoever translates.
            if !from.name.starts_with("pod") {
                c.reaches_by_udp(from, at(v6, "udp"), by);
            }
        }
    };
    let inside = |v6, _: &str| c.cluster_ip("on-host", v6);
    let on_node = |node| move |v6, port: &str| c.node(node, v6, c.node_port("on-host", port));
    for from in c.inside() {
        serve(&from, &inside, &["host1", "host2"]);
    }
    serve(&c.client(), &on_node(1), &["host1", "host2"]);
    c.change(
        "on-host",
        json!({"spec": {"internalTrafficPolicy": "Local", "externalTrafficPolicy": "Local"}}),
    );
    for (node, alone) in [(1, "host1"), (2, "host2")] {
        for from in [c.pod(node, 1), c.bypass(node, 1), c.host(node)] {
            serve(&from, &inside, &[alone]);
        }
        serve(&c.client(), &on_node(node), &[alone]);
    }
    for v6 in FAMILIES {
        c.lab.api().delete(Kind::EndpointSlice, "default", &format!("on-host-{v6}")).unwrap();
    }
    drop(servers);
}

fn hints_keep_traffic_in_the_zone_and_on_the_node(c: &Cluster) {
    for n in [1, 2] {
        let mut node = c.lab.api().get(Kind::Node, "", &format!("node{n}")).unwrap();
        node["metadata"]["labels"]["topology.kubernetes.io/zone"] = format!("zone{n}").into();
        c.lab.api().force_put(node).unwrap();
    }
    c.service("zoned", json!({"selector": null}));
    let put = |hints: &dyn Fn(usize, usize) -> Value| {
        let ends: Vec<Value> = [(1, 1), (1, 2), (2, 1), (2, 2)]
            .iter()
            .map(|(n, p)| {
                json!({"addresses": [c.pod_ip(*n, *p, false).to_string()], "nodeName": format!("node{n}"),
                "zone": format!("zone{n}"), "hints": hints(*n, *p)})
            })
            .collect();
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "zoned", "namespace": "default", "labels": {"kubernetes.io/service-name": "zoned"}},
            "endpoints": ends, "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]});
        c.lab.api().force_put(slice).unwrap();
    };
    let to = c.cluster_ip("zoned", false);
    put(&|n, _| json!({"forZones": [{"name": format!("zone{n}")}]}));
    for (from, pods) in [
        (c.pod(1, 1), &ALL[..2]),
        (c.bypass(1, 1), &ALL[..2]),
        (c.host(1), &ALL[..2]),
        (c.pod(2, 1), &ALL[2..]),
    ] {
        c.reaches(&from, to, pods);
    }
    // One endpoint without a hint: hints are not to be trusted at all.
    put(&|n, p| {
        if (n, p) == (2, 2) { json!({}) } else { json!({"forZones": [{"name": format!("zone{n}")}]}) }
    });
    c.reaches(&c.pod(1, 1), to, &ALL);
    // Nodes go before zones.
    put(
        &|n, p| json!({"forZones": [{"name": "zone1"}], "forNodes": [{"name": if p == 1 { format!("node{n}") } else { "other".into() }}]}),
    );
    c.reaches(&c.pod(1, 2), to, &["pod1-1"]);
    c.reaches(&c.pod(2, 2), to, &["pod2-1"]);
    // Hints for elsewhere only: all are used.
    put(&|_, _| json!({"forZones": [{"name": "zone9"}]}));
    c.reaches(&c.pod(1, 1), to, &ALL);
    c.lab.api().delete(Kind::EndpointSlice, "default", "zoned").unwrap();
}
