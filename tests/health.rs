//! Load balancers, the kubelet and dashboards are answered as by kube-proxy.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use serde_json::{Value, json};
use shunt_e2e::{eventually, node_port};
use shunt_lab::cluster::{Lab, http};
use shunt_lab::place::Place;
use shunt_lab::probe::Answer;
use shunt_lab::topology::{Style, Topology};
use std::net::SocketAddr;

const HEALTH: u16 = 32500;

#[test]
fn health_is_answered_as_by_kube_proxy() {
    let lab = Lab::up(Topology { nodes: 2, ..Topology::new("health", Style::Routed) }).unwrap();
    lab.api().put(service("Local")).unwrap();
    a_service_is_healthy_where_its_endpoints_are(&lab);
    its_server_goes_and_comes_with_the_policy(&lab);
    a_node_that_is_drained_gets_no_new_traffic_and_lives_on(&lab);
    the_proxys_own_port_answers(&lab);
}

fn service(policy: &str) -> Value {
    let mut service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "lb", "namespace": "default"},
        "spec": {"type": "LoadBalancer", "selector": {"pod": "pod1-1"}, "externalTrafficPolicy": policy,
            "ports": [{"port": 80, "targetPort": 8080, "nodePort": 31080}]}});
    if policy == "Local" {
        service["spec"]["healthCheckNodePort"] = HEALTH.into();
    }
    service
}

fn eventually_is(
    what: &str,
    place: &Place,
    at: SocketAddr,
    path: &str,
    good: impl Fn(&Answer) -> bool,
) -> Answer {
    eventually(&format!("{what}: {} asks {at}{path}", place.name), || {
        let answer = http(place, at, path).map_err(|e| e.to_string())?;
        if good(&answer) { Ok(answer) } else { Err(format!("{answer:?}")) }
    })
}

fn is_503(answer: &Answer) -> bool {
    matches!(answer, Answer::Other(text) if text.contains(" 503 "))
}

fn a_service_is_healthy_where_its_endpoints_are(lab: &Lab) {
    let (with, without) = (node_port(lab, 0, HEALTH), node_port(lab, 1, HEALTH));
    let good = eventually_is("a local endpoint", &lab.client, with, "/any/path", |a| a.body().is_some());
    let body = "{\n\t\"service\": {\n\t\t\"namespace\": \"default\",\n\t\t\"name\": \"lb\"\n\t},\n\
                \t\"localEndpoints\": 1,\n\t\"serviceProxyHealthy\": true\n}";
    assert_eq!(good.body(), Some(body));
    eventually_is("no local endpoint", &lab.client, without, "/", is_503);
    let v6 = SocketAddr::new(lab.nodes[0].addresses.v6.into(), HEALTH);
    eventually_is("IPv6", &lab.client, v6, "/", |a| a.body() == Some(body));
}

fn its_server_goes_and_comes_with_the_policy(lab: &Lab) {
    let at = node_port(lab, 0, HEALTH);
    let patch = |spec: &str| {
        let patch = format!(r#"{{"spec":{{{spec}}}}}"#);
        lab.kubectl(&["patch", "service", "lb", "-p", &patch]).unwrap();
    };
    patch(r#""externalTrafficPolicy":"Cluster","healthCheckNodePort":null"#);
    eventually_is("policy Cluster", &lab.client, at, "/", |a| *a == Answer::Refused);
    patch(&format!(r#""externalTrafficPolicy":"Local","healthCheckNodePort":{HEALTH}"#));
    eventually_is("policy Local", &lab.client, at, "/", |a| a.body().is_some());
}

fn a_node_that_is_drained_gets_no_new_traffic_and_lives_on(lab: &Lab) {
    let at = node_port(lab, 0, 10256);
    let healthz = eventually_is("a good node", &lab.client, at, "/healthz", |a| a.body().is_some());
    assert!(healthz.body().unwrap().contains(r#""nodeEligible":true,"healthy":true"#), "{healthz:?}");
    let name = &lab.nodes[0].name;
    lab.kubectl(&["taint", "node", name, "ToBeDeletedByClusterAutoscaler=1:NoSchedule"]).unwrap();
    eventually_is("a drained node", &lab.client, at, "/healthz", is_503);
    let livez = http(&lab.client, at, "/livez").unwrap();
    assert!(livez.body().is_some_and(|b| b.contains(r#""healthy":true"#)), "{livez:?}");
    let service = http(&lab.client, node_port(lab, 0, HEALTH), "/").unwrap();
    assert!(service.body().is_some(), "{service:?}");
    lab.kubectl(&["taint", "node", name, "ToBeDeletedByClusterAutoscaler-"]).unwrap();
    eventually_is("no longer drained", &lab.client, at, "/healthz", |a| a.body().is_some());
}

fn the_proxys_own_port_answers(lab: &Lab) {
    let host = &lab.nodes[0].host;
    let at = SocketAddr::new("127.0.0.1".parse().unwrap(), 10249);
    assert_eq!(http(host, at, "/proxyMode").unwrap(), Answer::Ok("ebpf".into()));
    let metrics = http(host, at, "/metrics").unwrap();
    let text = metrics.body().unwrap_or_default();
    for name in [
        "kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"}",
        "kubeproxy_network_programming_duration_seconds_bucket",
        "kubeproxy_proxy_healthz_total{code=\"503\"}",
        "process_resident_memory_bytes",
    ] {
        assert!(text.contains(name), "no {name} in\n{text}");
    }
    // Only the node itself is answered there.
    let outside = http(&lab.client, node_port(lab, 0, 10249), "/proxyMode").unwrap();
    assert_eq!(outside, Answer::Refused);
}
