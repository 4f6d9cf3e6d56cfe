//! Services that come, change and go: ports, types, labels, several slices, hairpin.

use crate::cluster::{Cluster, FAMILIES};
use crate::{cases, run};
use serde_json::{Value, json};
use shunt_e2e::eventually;
use shunt_lab::api::Kind;
use shunt_lab::topology::Style;
use std::net::SocketAddr;

#[test]
fn services() {
    run(
        "services",
        Style::Routed,
        cases![
            a_basic_endpoint_is_served_as_pods_come_and_go,
            multiport_endpoints_are_served,
            endpoints_on_the_same_port_and_different_protocols_are_served,
            ports_may_be_added_and_removed,
            services_go_up_and_down,
            a_type_may_change_in_every_direction,
            a_service_of_another_proxy_is_left_alone_until_it_is_ours,
            a_slice_marked_headless_is_left_alone,
            unready_endpoints_are_served_only_when_published,
            named_target_ports_may_differ_from_pod_to_pod,
            several_slices_make_one_service,
            a_pod_reaches_itself,
            an_external_ip_that_no_node_has_is_served,
            one_node_port_number_serves_tcp_and_udp,
            a_target_port_may_change,
            the_api_servers_own_service_is_reached,
        ],
    );
}

const ALL: [&str; 4] = ["pod1-1", "pod1-2", "pod2-1", "pod2-2"];

fn a_basic_endpoint_is_served_as_pods_come_and_go(c: &Cluster) {
    c.service("basic", json!({"selector": {"app": "web"}}));
    for from in c.inside() {
        c.reaches(&from, c.cluster_ip("basic", false), &ALL);
    }
    for (node, pod) in [(1, 1), (2, 2)] {
        c.set_pod(node, pod, false, false);
    }
    for v6 in FAMILIES {
        for from in c.inside() {
            c.reaches(&from, c.cluster_ip("basic", v6), &["pod1-2", "pod2-1"]);
            c.reaches_by_udp(&from, c.cluster_ip("basic", v6), &["pod1-2", "pod2-1"]);
        }
    }
    c.set_pod(1, 1, true, false);
    c.reaches(&c.pod(1, 2), c.cluster_ip("basic", true), &ALL[..3]);
}

fn multiport_endpoints_are_served(c: &Cluster) {
    let ports = json!([
        {"name": "one", "port": 80, "targetPort": 8080, "protocol": "TCP"},
        {"name": "two", "port": 81, "targetPort": "http", "protocol": "TCP"},
    ]);
    c.service("many", json!({"selector": {"pod": "pod2-1"}, "ports": ports}));
    for v6 in FAMILIES {
        let mut to = c.cluster_ip("many", v6);
        for port in [80, 81] {
            to.set_port(port);
            for from in c.inside() {
                c.reaches(&from, to, &["pod2-1"]);
            }
        }
    }
}

fn endpoints_on_the_same_port_and_different_protocols_are_served(c: &Cluster) {
    let both = json!([
        {"name": "tcp", "port": 80, "targetPort": 8080, "protocol": "TCP"},
        {"name": "udp", "port": 80, "targetPort": 8081, "protocol": "UDP"},
    ]);
    c.service("same", json!({"type": "LoadBalancer", "selector": {"app": "web"}, "ports": both}));
    for v6 in FAMILIES {
        for to in [c.cluster_ip("same", v6), c.load_balancer("same", v6)] {
            for from in c.inside() {
                c.reaches(&from, to, &ALL);
                c.reaches_by_udp(&from, to, &ALL);
            }
        }
        c.reaches_by_udp(&c.client(), c.load_balancer("same", v6), &ALL);
    }
    // Without the TCP port UDP goes on, and TCP is refused.
    c.change("same", json!({"spec": {"ports": [both[1]]}}));
    for from in c.inside() {
        c.refused(&from, c.cluster_ip("same", false));
        c.reaches_by_udp(&from, c.cluster_ip("same", false), &ALL);
    }
}

fn ports_may_be_added_and_removed(c: &Cluster) {
    let port =
        |name: &str, port: u16| json!({"name": name, "port": port, "targetPort": 8080, "protocol": "TCP"});
    c.service("ports", json!({"selector": {"app": "web"}, "ports": [port("a", 80)]}));
    let at = |number: u16| SocketAddr::new(c.cluster_ip("ports", false).ip(), number);
    for from in c.inside() {
        c.reaches(&from, at(80), &ALL);
        c.refused(&from, at(81));
    }
    c.change("ports", json!({"spec": {"ports": [port("a", 80), port("b", 81)]}}));
    for from in c.inside() {
        c.reaches(&from, at(80), &ALL);
        c.reaches(&from, at(81), &ALL);
    }
    c.change("ports", json!({"spec": {"ports": [port("b", 81)]}}));
    for from in c.inside() {
        c.refused(&from, at(80));
        c.reaches(&from, at(81), &ALL);
    }
}

fn services_go_up_and_down(c: &Cluster) {
    let service = |name: &str, pod: &str| c.service(name, json!({"selector": {"pod": pod}}));
    service("first", "pod1-1");
    service("second", "pod2-1");
    let first = c.cluster_ip("first", false);
    c.reaches(&c.pod(1, 2), first, &["pod1-1"]);
    c.delete("first");
    c.reaches(&c.pod(1, 2), c.cluster_ip("second", false), &["pod2-1"]);
    c.unserved(&c.bypass(1, 2), first);
    service("third", "pod1-1");
    c.reaches(&c.pod(1, 2), c.cluster_ip("third", false), &["pod1-1"]);
    // Recreated under its old name and address.
    let old = json!({"selector": {"pod": "pod2-2"}, "clusterIP": first.ip().to_string(), "clusterIPs": [first.ip().to_string()],
        "ipFamilyPolicy": "SingleStack"});
    c.service("first", old);
    for from in c.inside() {
        c.reaches(&from, first, &["pod2-2"]);
    }
}

fn a_type_may_change_in_every_direction(c: &Cluster) {
    let kinds = ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"];
    let become_ = |kind: &str| {
        // The addresses stay when a service keeps having some.
        let mut spec = json!({"type": kind, "selector": {"app": "web"}});
        if kind == "ExternalName" {
            spec = json!({"type": kind, "externalName": "example.com", "ipFamilyPolicy": null});
        } else if c.get("turns").pointer("/spec/clusterIPs").is_some() {
            spec["clusterIPs"] = c.get("turns")["spec"]["clusterIPs"].clone();
            spec["clusterIP"] = spec["clusterIPs"][0].clone();
        }
        c.service("turns", spec);
    };
    c.service("turns", json!({"type": "ClusterIP", "selector": {"app": "web"}}));
    let mut v6 = false;
    for from in kinds {
        for to in kinds.iter().filter(|to| **to != from) {
            // By turns; each direction has addresses of both.
            v6 = !v6;
            become_(from);
            let before = (from != "ExternalName").then(|| c.cluster_ip("turns", v6));
            let has_node_ports = |kind: &str| kind == "NodePort" || kind == "LoadBalancer";
            let node_port = has_node_ports(from).then(|| c.node(1, v6, c.node_port("turns", "http")));
            let balancer = (from == "LoadBalancer").then(|| c.load_balancer("turns", v6));
            for at in node_port.into_iter().chain(balancer) {
                c.reaches(&c.client(), at, &ALL);
            }
            become_(to);
            if let Some(at) = node_port.filter(|_| !has_node_ports(to)) {
                c.unserved(&c.client(), at);
            }
            if let Some(at) = balancer {
                c.unserved(&c.client(), at);
            }
            if *to == "ExternalName" {
                c.unserved(&c.bypass(1, 2), before.unwrap());
                continue;
            }
            let at = c.cluster_ip("turns", v6);
            c.reaches(&c.pod(1, 2), at, &ALL);
            c.reaches_by_udp(&c.pod(1, 2), at, &ALL);
            if *to != "ClusterIP" {
                c.reaches(&c.client(), c.node(1, v6, c.node_port("turns", "http")), &ALL);
                c.reaches_by_udp(&c.client(), c.node(1, v6, c.node_port("turns", "udp")), &ALL);
            }
            if *to == "LoadBalancer" {
                c.reaches(&c.client(), c.load_balancer("turns", v6), &ALL);
                c.reaches_by_udp(&c.client(), c.load_balancer("turns", v6), &ALL);
            }
        }
    }
}

fn a_service_of_another_proxy_is_left_alone_until_it_is_ours(c: &Cluster) {
    c.service("ours", json!({"type": "NodePort", "selector": {"app": "web"}}));
    let (to, port) = (c.cluster_ip("ours", false), c.node_port("ours", "http"));
    c.reaches(&c.pod(1, 2), to, &ALL);
    let label =
        |value: Value| json!({"metadata": {"labels": {"service.kubernetes.io/service-proxy-name": value}}});
    c.change("ours", label("another".into()));
    c.silent(&c.pod(1, 2), to);
    c.refused(&c.client(), c.node(1, false, port));
    c.change("ours", label(Value::Null));
    for from in c.inside() {
        c.reaches(&from, to, &ALL);
    }
}

fn a_slice_marked_headless_is_left_alone(c: &Cluster) {
    c.service("slices", json!({"selector": {"app": "web"}}));
    let to = c.cluster_ip("slices", false);
    c.reaches(&c.pod(1, 2), to, &ALL);
    // Without a selector nobody writes its slices but we.
    c.service(
        "slices",
        json!({"clusterIP": to.ip().to_string(), "clusterIPs": [to.ip().to_string()],
        "ipFamilyPolicy": "SingleStack", "selector": null}),
    );
    let slice = |labels: Value| {
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "by-hand", "namespace": "default", "labels": labels},
            "endpoints": [{"addresses": [c.pod_ip(2, 1, false).to_string()], "nodeName": "node2"}],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]})
    };
    for old in c.lab.api().list(Kind::EndpointSlice, "default", "kubernetes.io/service-name=slices").unwrap()
    {
        let name = old["metadata"]["name"].as_str().unwrap().to_owned();
        c.lab.api().delete(Kind::EndpointSlice, "default", &name).unwrap();
    }
    c.lab.api().put(slice(json!({"kubernetes.io/service-name": "slices"}))).unwrap();
    c.reaches(&c.pod(1, 2), to, &["pod2-1"]);
    let headless = json!({"kubernetes.io/service-name": "slices", "service.kubernetes.io/headless": ""});
    c.lab.api().put(slice(headless)).unwrap();
    c.refused(&c.pod(1, 2), to);
    c.lab.api().put(slice(json!({"kubernetes.io/service-name": "slices"}))).unwrap();
    c.reaches(&c.pod(1, 2), to, &["pod2-1"]);
    c.lab.api().delete(Kind::EndpointSlice, "default", "by-hand").unwrap();
}

fn unready_endpoints_are_served_only_when_published(c: &Cluster) {
    c.set_pod(2, 1, false, false);
    c.service("shy", json!({"selector": {"pod": "pod2-1"}}));
    c.service("bold", json!({"selector": {"pod": "pod2-1"}, "publishNotReadyAddresses": true}));
    for v6 in FAMILIES {
        for from in c.inside() {
            c.refused(&from, c.cluster_ip("shy", v6));
            c.reaches(&from, c.cluster_ip("bold", v6), &["pod2-1"]);
        }
    }
    c.set_pod(2, 1, false, true);
    for from in c.inside() {
        c.reaches(&from, c.cluster_ip("bold", false), &["pod2-1"]);
    }
}

fn named_target_ports_may_differ_from_pod_to_pod(c: &Cluster) {
    // One pod calls its server "web", the other has it in a sidecar that is an init container.
    let mut first = shunt_lab::objects::pod(1, 1, c.lab.topology.families);
    first["spec"]["containers"][0]["ports"] =
        json!([{"name": "web", "containerPort": 8080, "protocol": "TCP"}]);
    let mut second = shunt_lab::objects::pod(2, 1, c.lab.topology.families);
    second["spec"]["containers"][0]["ports"] = json!([]);
    second["spec"]["initContainers"] = json!([{"name": "sidecar", "restartPolicy": "Always",
        "ports": [{"name": "web", "containerPort": 8082, "protocol": "TCP"}]}]);
    c.lab.api().force_put(first).unwrap();
    c.lab.api().force_put(second).unwrap();
    let ports = json!([{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}]);
    c.service("named", json!({"selector": {"app": "web"}, "ports": ports}));
    let to = c.cluster_ip("named", false);
    // The second pod's port echoes; what it says to a request is the request.
    let (mut served, mut echoed) = (0, 0);
    for _ in 0..40 {
        let tries = shunt_lab::cluster::repeat(&c.pod(1, 2), to, 1).unwrap();
        assert!(tries.bodies.keys().all(|body| body.starts_with("pod1-1 ")), "{tries:?}");
        served += tries.bodies.len();
        echoed += tries.failures.len();
        if served > 0 && echoed > 0 {
            return;
        }
    }
    panic!("{served} answers and {echoed} echoes: not both pods are reached, each at its own port");
}

fn several_slices_make_one_service(c: &Cluster) {
    c.service(
        "spread",
        json!({"selector": null, "ports": [
        {"name": "a", "port": 80, "protocol": "TCP"}, {"name": "b", "port": 81, "protocol": "TCP"}]}),
    );
    let slice = |name: &str, pod: (usize, usize), ports: Value| {
        let value = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": "spread"}},
            "endpoints": [{"addresses": [c.pod_ip(pod.0, pod.1, false).to_string()]}], "ports": ports});
        c.lab.api().put(value).unwrap();
    };
    let port = |name: &str| json!({"name": name, "port": 8080, "protocol": "TCP"});
    slice("one", (1, 1), json!([port("a"), port("b")]));
    slice("two", (2, 1), json!([port("a")]));
    slice("three", (2, 2), json!([port("b")]));
    let mut to = c.cluster_ip("spread", false);
    for from in c.inside() {
        to.set_port(80);
        c.reaches(&from, to, &["pod1-1", "pod2-1"]);
        to.set_port(81);
        c.reaches(&from, to, &["pod1-1", "pod2-2"]);
    }
    for name in ["one", "two", "three"] {
        c.lab.api().delete(Kind::EndpointSlice, "default", name).unwrap();
    }
}

fn a_pod_reaches_itself(c: &Cluster) {
    c.service("self", json!({"type": "NodePort", "selector": {"pod": "pod1-1"}}));
    for v6 in FAMILIES {
        for from in [c.pod(1, 1), c.bypass(1, 1)] {
            c.reaches(&from, c.cluster_ip("self", v6), &["pod1-1"]);
            c.reaches_by_udp(&from, c.cluster_ip("self", v6), &["pod1-1"]);
        }
        // Others see the pod's address, through a ClusterIP too.
        for from in [c.pod(1, 2), c.bypass(1, 2)] {
            assert_eq!(c.source_seen(&from, c.cluster_ip("self", v6)), c.pod_ip(1, 2, v6));
        }
        for from in [c.pod(2, 1), c.bypass(2, 1)] {
            assert_eq!(c.source_seen(&from, c.cluster_ip("self", v6)), c.pod_ip(2, 1, v6));
        }
    }
}

fn an_external_ip_that_no_node_has_is_served(c: &Cluster) {
    c.service("outside", json!({"selector": {"app": "web"}, "externalIPs": ["198.51.100.77", "fd00:e::77"]}));
    for ip in ["198.51.100.77", "fd00:e::77"] {
        let to = SocketAddr::new(ip.parse().unwrap(), 80);
        c.reaches(&c.client(), to, &ALL);
        for from in c.inside() {
            c.reaches(&from, to, &ALL);
        }
    }
}

fn one_node_port_number_serves_tcp_and_udp(c: &Cluster) {
    let ports = json!([
        {"name": "http", "port": 80, "targetPort": 8080, "nodePort": 30444, "protocol": "TCP"},
        {"name": "udp", "port": 80, "targetPort": 8081, "nodePort": 30444, "protocol": "UDP"},
    ]);
    c.service("twice", json!({"type": "NodePort", "selector": {"app": "web"}, "ports": ports}));
    for v6 in FAMILIES {
        c.reaches(&c.client(), c.node(1, v6, 30444), &ALL);
        c.reaches_by_udp(&c.client(), c.node(1, v6, 30444), &ALL);
        for from in c.inside() {
            c.reaches_by_udp(&from, c.node(1, v6, 30444), &ALL);
        }
    }
}

fn a_target_port_may_change(c: &Cluster) {
    c.service("aims", json!({"type": "NodePort", "selector": {"pod": "pod2-1"}}));
    let node_port = c.node_port("aims", "udp");
    let ways = || {
        FAMILIES.into_iter().flat_map(|v6| {
            let inside = c.inside().map(|from| (from, c.cluster_ip("aims", v6)));
            inside.into_iter().chain([(c.client(), c.node(1, v6, node_port))])
        })
    };
    for (from, to) in ways() {
        c.reaches_by_udp(&from, to, &["pod2-1"]);
    }
    let ports = |target: u16| {
        json!({"spec": {"ports": [
        {"name": "udp", "port": 80, "targetPort": target, "nodePort": node_port, "protocol": "UDP"}]}})
    };
    c.change("aims", ports(9));
    for (from, to) in ways() {
        eventually("the old target is left", || {
            let answer = shunt_lab::cluster::udp(&from, to, true).map_err(|e| e.to_string())?;
            if answer.answer.body().is_none() { Ok(()) } else { Err(format!("{answer:?}")) }
        });
    }
    c.change("aims", ports(8081));
    for (from, to) in ways() {
        c.reaches_by_udp(&from, to, &["pod2-1"]);
    }
}

fn the_api_servers_own_service_is_reached(c: &Cluster) {
    let service = c.lab.api().get(Kind::Service, "default", "kubernetes").unwrap();
    let ip = service["spec"]["clusterIP"].as_str().unwrap().parse().unwrap();
    let port = service["spec"]["ports"][0]["port"].as_u64().unwrap() as u16;
    for from in [c.pod(1, 1), c.pod(2, 1), c.host(1)] {
        let addr = SocketAddr::new(ip, port);
        eventually("the API server is reached", || {
            let args = ["peer", &addr.to_string()];
            let answer: shunt_lab::probe::Answer =
                shunt_lab::cluster::probe(&from, &args).map_err(|e| e.to_string())?;
            if answer.body() == Some(&addr.to_string()) { Ok(()) } else { Err(format!("{answer:?}")) }
        });
    }
}
