//! An agent that may not read what only part of the rows come from serves all the rest.

use crate::cluster::{Cluster, FAMILIES};
use serde_json::json;
use shunt_e2e::{eventually, json as ask};
use shunt_lab::api::Kind;
use shunt_lab::topology::Style;
use std::time::Duration;

#[test]
fn services_go_on_where_pods_and_service_cidrs_may_not_be_listed() {
    let mut c = Cluster::up("forbidden", Style::Routed, &["--set", "hostPort.enabled=true"]);
    let mut pod = shunt_lab::objects::pod(1, 1, c.lab.topology.families);
    pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": 8080, "hostPort": 5432}]);
    c.lab.api().put(pod).unwrap();
    c.reaches(&c.client(), c.node(1, false, 5432), &["pod1-1"]);

    c.lab.nodes[0].agent.kill();
    c.lab.api().forbid(&[Kind::Pod, Kind::ServiceCidr]);
    c.lab.nodes[0].agent.start().unwrap();
    c.lab.nodes[0].agent.wait_ready(Duration::from_secs(30)).unwrap();
    let told = || ask(&c.lab.nodes[0].agent, "status")["problems"].to_string();
    eventually("what is missing is told", || {
        let told = told();
        let both = ["pods is forbidden", "servicecidrs.networking.k8s.io is forbidden"];
        if both.iter().all(|text| told.contains(text)) { Ok(()) } else { Err(told) }
    });
    c.service("new", json!({"type": "NodePort", "selector": {"pod": "pod1-2"}}));
    for v6 in FAMILIES {
        c.reaches(&c.pod(1, 1), c.cluster_ip("new", v6), &["pod1-2"]);
        c.reaches(&c.client(), c.node(1, v6, c.node_port("new", "http")), &["pod1-2"]);
        // As the agent before it left it.
        c.reaches(&c.client(), c.node(1, v6, 5432), &["pod1-1"]);
    }

    c.lab.api().put(shunt_lab::objects::pod(1, 1, c.lab.topology.families)).unwrap();
    c.lab.api().forbid(&[]);
    eventually("the API lets us read again", || match told() {
        told if told.contains("forbidden") => Err(told),
        _ => Ok(()),
    });
    for v6 in FAMILIES {
        c.refused(&c.client(), c.node(1, v6, 5432));
        c.reaches(&c.pod(1, 1), c.cluster_ip("new", v6), &["pod1-2"]);
    }
}
