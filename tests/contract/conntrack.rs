//! UDP clients that keep one socket, while the servers behind their service come and go.

use crate::cluster::{Cluster, FAMILIES};
use crate::{cases, run};
use serde_json::json;
use shunt_e2e::ask_on;
use shunt_lab::cluster::finish;
use shunt_lab::probe::Queries;
use shunt_lab::topology::Style;
use std::time::Duration;

#[test]
fn conntrack() {
    run(
        "conntrack",
        Style::Routed,
        cases![
            a_stream_follows_its_servers,
            a_stream_that_had_no_server_for_a_while_goes_on_with_the_next,
            a_stream_through_a_load_balancer_follows_its_servers,
            a_stream_follows_a_service_that_is_recreated,
        ],
    );
}

/// The server turns unready and another of its node turns ready: every client goes over, without a query lost.
fn a_stream_follows_its_servers(c: &Cluster) {
    c.set_pod(1, 2, false, false);
    c.service(
        "dns",
        json!({"type": "NodePort", "internalTrafficPolicy": "Local", "externalTrafficPolicy": "Local",
        "selector": {"node": "node1"}}),
    );
    let port = c.node_port("dns", "udp");
    c.reaches_by_udp(&c.pod(1, 1), c.cluster_ip("dns", true), &["pod1-1"]);
    let mut clients = Vec::new();
    for v6 in FAMILIES {
        for from in [c.pod(1, 2), c.bypass(1, 2), c.host(1)] {
            clients.push(ask_on(&from, c.cluster_ip("dns", v6)));
            clients.push(ask_on(&from, c.node(1, v6, port)));
        }
        clients.push(ask_on(&c.client(), c.node(1, v6, port)));
    }
    // The new one first, so that there is always one.
    c.set_pod(1, 2, true, false);
    c.set_pod(1, 1, false, false);
    std::thread::sleep(Duration::from_millis(1500));
    for client in clients {
        let queries: Queries = finish(client).unwrap();
        assert_eq!((queries.silent, queries.last.as_deref()), (0, Some("pod1-2")), "{queries:?}");
        assert!(queries.errors.len() <= 1 && queries.bodies.contains_key("pod1-1"), "{queries:?}");
    }
}

/// The only server turns unready, and another one turns ready a moment later: meanwhile there are errors, and no silence.
fn a_stream_that_had_no_server_for_a_while_goes_on_with_the_next(c: &Cluster) {
    c.set_pod(1, 1, true, false);
    c.set_pod(1, 2, false, false);
    c.service("dns", json!({"type": "NodePort", "selector": {"node": "node1"}}));
    let port = c.node_port("dns", "udp");
    c.reaches_by_udp(&c.pod(2, 1), c.cluster_ip("dns", true), &["pod1-1"]);
    let mut clients = Vec::new();
    for v6 in FAMILIES {
        for from in [c.pod(2, 1), c.bypass(2, 1), c.host(2)] {
            clients.push(ask_on(&from, c.cluster_ip("dns", v6)));
        }
        clients.push(ask_on(&c.client(), c.node(2, v6, port)));
    }
    c.set_pod(1, 1, false, false);
    c.settle();
    std::thread::sleep(Duration::from_millis(500));
    c.set_pod(1, 2, true, false);
    c.settle();
    std::thread::sleep(Duration::from_millis(1500));
    for client in clients {
        let queries: Queries = finish(client).unwrap();
        assert_eq!((queries.silent, queries.last.as_deref()), (0, Some("pod1-2")), "{queries:?}");
        assert!(!queries.errors.is_empty() && queries.bodies.contains_key("pod1-1"), "{queries:?}");
    }
    c.set_pod(1, 1, false, false);
}

/// From outside by a load balancer's address: the server goes for good after the next one came, on another node and then on the
/// same one.
fn a_stream_through_a_load_balancer_follows_its_servers(c: &Cluster) {
    for (node, pod) in [(1, 1), (2, 1), (2, 2)] {
        c.set_pod(node, pod, false, false);
    }
    c.service("dns", json!({"type": "LoadBalancer", "selector": {"app": "web"}}));
    for (old, new) in [((1, 2), (2, 1)), ((2, 1), (2, 2)), ((2, 2), (1, 1)), ((1, 1), (1, 2))] {
        let name = |(node, pod): (usize, usize)| format!("pod{node}-{pod}");
        let clients = FAMILIES.map(|v6| {
            c.reaches_by_udp(&c.client(), c.load_balancer("dns", v6), &[&name(old)]);
            ask_on(&c.client(), c.load_balancer("dns", v6))
        });
        c.set_pod(new.0, new.1, true, false);
        c.remove_pod(old.0, old.1);
        c.settle();
        std::thread::sleep(Duration::from_millis(1000));
        for client in clients {
            let queries: Queries = finish(client).unwrap();
            assert_eq!((queries.silent, queries.last.as_deref()), (0, Some(&*name(new))), "{queries:?}");
            assert!(queries.errors.is_empty() && queries.bodies.contains_key(&name(old)), "{queries:?}");
        }
        c.restore_pod(old.0, old.1);
        c.set_pod(old.0, old.1, false, false);
    }
}

/// A service is deleted, and comes again with its name and address and another pod, while another service keeps its old one.
fn a_stream_follows_a_service_that_is_recreated(c: &Cluster) {
    let spec = |pod: &str| {
        json!({"type": "NodePort", "selector": {"pod": pod}, "ports": [
        {"name": "udp", "port": 80, "targetPort": 8081, "nodePort": 30777, "protocol": "UDP"}]})
    };
    c.service("again", spec("pod1-1"));
    c.service("other", json!({"selector": {"pod": "pod1-1"}}));
    let ips = c.get("again")["spec"]["clusterIPs"].clone();
    let mut clients = Vec::new();
    for v6 in FAMILIES {
        let (ip, port) = (c.cluster_ip("again", v6), c.node(1, v6, 30777));
        c.reaches_by_udp(&c.pod(1, 2), ip, &["pod1-1"]);
        clients.extend(
            [c.pod(1, 2), c.bypass(1, 2), c.host(1)].map(|from| (from.name.clone(), ask_on(&from, ip))),
        );
        clients.push(("client".into(), ask_on(&c.client(), port)));
    }
    c.delete("again");
    let mut new = spec("pod2-1");
    (new["clusterIP"], new["clusterIPs"]) = (ips[0].clone(), ips);
    c.service("again", new);
    std::thread::sleep(Duration::from_millis(1500));
    let mut wrong = Vec::new();
    for (who, client) in clients {
        let queries: Queries = finish(client).unwrap();
        if queries.last.as_deref() != Some("pod2-1") {
            wrong.push(format!("{who}: {queries:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
