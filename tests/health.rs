//! Load balancers, the kubelet and dashboards are answered as by kube-proxy.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use serde_json::{Value, json};
use shunt_e2e::{eventually, eventually_answers, node_port, problems};
use shunt_lab::api::Kind;
use shunt_lab::cluster::{Lab, http, lab_binary};
use shunt_lab::place::{Place, Process};
use shunt_lab::probe::Answer;
use shunt_lab::topology::{Style, Topology};
use std::net::SocketAddr;
use std::process::Stdio;

const HEALTH: u16 = 32500;

#[test]
fn health_is_answered_as_by_kube_proxy() {
    let lab = Lab::up(Topology { nodes: 2, ..Topology::new("health", Style::Routed) }).unwrap();
    lab.api().put(service("Local")).unwrap();
    a_service_is_healthy_where_its_endpoints_are(&lab);
    a_load_balancers_address_answers_whomever_it_probes_from(&lab);
    its_server_goes_and_comes_with_the_policy(&lab);
    a_node_that_is_drained_gets_no_new_traffic_and_lives_on(&lab);
    the_proxys_own_port_answers(&lab);
    a_port_that_is_taken_is_told_and_tried_again(&lab);
}

fn service(policy: &str) -> Value {
    let mut service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "lb", "namespace": "default"},
        "spec": {"type": "LoadBalancer", "selector": {"pod": "pod1-1"}, "externalTrafficPolicy": policy,
            "ipFamilyPolicy": "RequireDualStack",
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
    // Each family is counted by itself.
    eventually_is("IPv6", &lab.client, v6, "/", |a| a.body() == Some(body));
    let single = r#"{"spec":{"ipFamilyPolicy":"SingleStack"}}"#;
    lab.kubectl(&["patch", "service", "lb", "-p", single]).unwrap();
    eventually_is("no IPv6", &lab.client, v6, "/", |a| *a == Answer::Refused);
    eventually_is("IPv4", &lab.client, with, "/", |a| a.body() == Some(body));
}

fn a_load_balancers_address_answers_whomever_it_probes_from(lab: &Lab) {
    let patch = |ranges: &str| {
        let patch = format!(r#"{{"spec":{{"loadBalancerSourceRanges":{ranges}}}}}"#);
        lab.kubectl(&["patch", "service", "lb", "-p", &patch]).unwrap();
    };
    let service = lab.api().get(Kind::Service, "default", "lb").unwrap();
    let ip = service.pointer("/status/loadBalancer/ingress/0/ip").and_then(Value::as_str).unwrap();
    let at = |port| SocketAddr::new(ip.parse().unwrap(), port);
    // Nobody from here may use the service; its health is no secret.
    patch(r#"["192.0.2.77/32"]"#);
    eventually_is("the service", &lab.client, at(80), "/", |a| *a == Answer::Timeout);
    for from in [&lab.client, &lab.nodes[0].host, &lab.nodes[0].pods[1].place] {
        eventually_is("a load balancer's address", from, at(HEALTH), "/any", |a| {
            a.body().is_some_and(|b| b.contains("\"localEndpoints\": 1"))
        });
    }
    // The other node has none of its endpoints.
    let elsewhere = &lab.nodes[1].host;
    eventually_is("no local endpoint", elsewhere, at(HEALTH), "/", is_503);
    patch("null");
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
        "rest_client_requests_total{code=\"200\",host=\"",
        "kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy=\"external\",ip_family=\"IPv4\"} 0",
        "kubeproxy_conntrack_reconciler_sync_duration_seconds_count{ip_family=\"IPv4\"}",
    ] {
        assert!(text.contains(name), "no {name} in\n{text}");
    }
    let slis = http(host, at, "/metrics/slis").unwrap();
    let last = "kubernetes_healthcheck{name=\"node-eligible\",type=\"healthz\"} 1";
    assert!(slis.body().is_some_and(|text| text.contains(last)), "{slis:?}");
    let other = SocketAddr::new("127.0.0.1".parse().unwrap(), 10249);
    let elsewhere = http(&lab.nodes[1].host, other, "/metrics").unwrap();
    let lacks = "kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy=\"external\",ip_family=\"IPv4\"} 1";
    assert!(elsewhere.body().is_some_and(|text| text.contains(lacks)), "{elsewhere:?}");
    // Only the node itself is answered there.
    let outside = http(&lab.client, node_port(lab, 0, 10249), "/proxyMode").unwrap();
    assert_eq!(outside, Answer::Refused);
}

fn a_port_that_is_taken_is_told_and_tried_again(lab: &Lab) {
    let (host, agent) = (&lab.nodes[0].host, &lab.nodes[0].agent);
    let port = HEALTH + 1;
    let mut command = host.command(lab_binary().unwrap()).unwrap();
    command.args(["netexec", "--name", "thief", "--http-port", &port.to_string()]).stdin(Stdio::null());
    // Ports of the node's own that nothing else has.
    command.args(["--udp-port", "9091", "--echo-port", "9092"]);
    let mut thief = Process::new(command.spawn().unwrap());
    let at = node_port(lab, 0, port);
    eventually_is("the thief", &lab.client, at, "/hostname", |a| a.body() == Some("thief"));
    let mut other = service("Local");
    other["metadata"]["name"] = "other".into();
    other["spec"]["healthCheckNodePort"] = port.into();
    other["spec"]["ports"][0]["nodePort"] = 31081.into();
    lab.api().put(other).unwrap();
    eventually("the problem is told", || {
        let told = problems(agent);
        let says = format!("healthCheckNodePort {port}: cannot listen on {at}");
        if told.contains("Service default/other") && told.contains(&says) { Ok(()) } else { Err(told) }
    });
    eventually_answers(&lab.client, node_port(lab, 0, 31081));
    thief.kill();
    eventually_is("the port is free", &lab.client, at, "/", |a| {
        a.body().is_some_and(|b| b.contains("other"))
    });
    eventually("the problem is over", || match problems(agent) {
        told if told.is_empty() => Ok(()),
        told => Err(told),
    });
}
