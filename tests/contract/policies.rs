//! Traffic policies, terminating endpoints, source ranges, and what a virtual address refuses.

use crate::cluster::{Cluster, FAMILIES};
use crate::{cases, run};
use serde_json::json;
use shunt_lab::net::plan;
use shunt_lab::topology::Style;

#[test]
fn policies() {
    run(
        "policies",
        Style::Routed,
        cases![
            external_local_keeps_the_client_and_stays_on_the_node,
            external_local_without_a_local_endpoint_drops_for_outside_and_serves_inside,
            internal_local_stays_on_the_node,
            terminating_endpoints_serve_when_there_are_no_others,
            without_any_endpoint_everybody_is_refused,
            source_ranges_admit_and_keep_out,
            ports_that_no_service_has_are_refused,
            an_address_of_the_service_cidr_that_no_service_has_leads_nowhere,
            a_proxy_mode_ingress_is_not_served,
            a_load_balancer_without_node_ports_has_none,
        ],
    );
}

const ALL: [&str; 4] = ["pod1-1", "pod1-2", "pod2-1", "pod2-2"];

fn external_local_keeps_the_client_and_stays_on_the_node(c: &Cluster) {
    let spec = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "selector": {"app": "web"}});
    c.service("local", spec);
    let port = c.node_port("local", "http");
    for v6 in FAMILIES {
        for to in [c.node(1, v6, port), c.load_balancer("local", v6)] {
            c.reaches(&c.client(), to, &ALL[..2]);
            assert_eq!(c.source_seen(&c.client(), to), plan::client().of(v6));
        }
        c.reaches(&c.client(), c.node(2, v6, port), &ALL[2..]);
        // Pods and the node itself are no outside traffic: rule 3's short circuit.
        for from in c.inside() {
            c.reaches(&from, c.node(1, v6, port), &ALL);
            c.reaches(&from, c.load_balancer("local", v6), &ALL);
        }
    }
}

fn external_local_without_a_local_endpoint_drops_for_outside_and_serves_inside(c: &Cluster) {
    let spec =
        json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "selector": {"pod": "pod2-1"}});
    c.service("far", spec);
    let port = c.node_port("far", "http");
    for v6 in FAMILIES {
        c.reaches(&c.client(), c.node(2, v6, port), &["pod2-1"]);
        c.silent(&c.client(), c.node(1, v6, port));
        c.silent(&c.client(), c.load_balancer("far", v6));
        for from in c.inside() {
            c.reaches(&from, c.node(1, v6, port), &["pod2-1"]);
            c.reaches_by_udp(&from, c.node(1, v6, c.node_port("far", "udp")), &["pod2-1"]);
        }
    }
    c.change("far", json!({"spec": {"externalTrafficPolicy": "Cluster"}}));
    for v6 in FAMILIES {
        c.reaches(&c.client(), c.node(1, v6, port), &["pod2-1"]);
    }
}

fn internal_local_stays_on_the_node(c: &Cluster) {
    c.service("near", json!({"internalTrafficPolicy": "Local", "selector": {"app": "web"}}));
    c.service("far", json!({"internalTrafficPolicy": "Local", "selector": {"pod": "pod2-1"}}));
    for v6 in FAMILIES {
        for from in c.inside() {
            c.reaches(&from, c.cluster_ip("near", v6), &ALL[..2]);
            c.reaches_by_udp(&from, c.cluster_ip("near", v6), &ALL[..2]);
        }
        c.reaches(&c.pod(2, 1), c.cluster_ip("far", v6), &["pod2-1"]);
        for from in [c.pod(1, 2), c.host(1)] {
            c.no_way(&from, c.cluster_ip("far", v6));
        }
        c.silent(&c.bypass(1, 2), c.cluster_ip("far", v6));
    }
}

fn terminating_endpoints_serve_when_there_are_no_others(c: &Cluster) {
    for (name, internal, external) in
        [("both", "Cluster", "Cluster"), ("in", "Local", "Cluster"), ("out", "Cluster", "Local")]
    {
        let spec = json!({"type": "NodePort", "selector": {"node": "node1"},
            "internalTrafficPolicy": internal, "externalTrafficPolicy": external});
        c.service(name, spec);
    }
    let everywhere = |pods: &[&str]| {
        for v6 in FAMILIES {
            for name in ["both", "in", "out"] {
                c.reaches(&c.pod(1, 2), c.cluster_ip(name, v6), pods);
                c.reaches(&c.bypass(1, 2), c.cluster_ip(name, v6), pods);
                c.reaches(&c.client(), c.node(1, v6, c.node_port(name, "http")), pods);
            }
        }
    };
    c.set_pod(1, 1, true, true);
    everywhere(&["pod1-2"]);
    c.set_pod(1, 2, true, true);
    everywhere(&["pod1-1", "pod1-2"]);
    c.set_pod(1, 1, false, true);
    everywhere(&["pod1-2"]);
    c.set_pod(1, 2, false, true);
    for v6 in FAMILIES {
        for name in ["both", "in", "out"] {
            for from in c.inside() {
                c.refused(&from, c.cluster_ip(name, v6));
            }
            c.refused(&c.client(), c.node(1, v6, c.node_port(name, "http")));
        }
    }
}

fn without_any_endpoint_everybody_is_refused(c: &Cluster) {
    c.service("nobody", json!({"type": "LoadBalancer", "selector": {"app": "nobody"}}));
    for v6 in FAMILIES {
        for from in c.inside() {
            c.refused(&from, c.cluster_ip("nobody", v6));
        }
        c.refused(&c.client(), c.node(1, v6, c.node_port("nobody", "http")));
        c.refused(&c.client(), c.load_balancer("nobody", v6));
    }
    // Pods that were evicted are no endpoints.
    c.service("evicted", json!({"selector": {"pod": "pod1-1"}}));
    c.reaches(&c.pod(1, 2), c.cluster_ip("evicted", false), &["pod1-1"]);
    let mut pod = shunt_lab::objects::pod(1, 1, c.lab.topology.families);
    pod["status"]["phase"] = "Failed".into();
    c.lab.api().put(pod).unwrap();
    for from in c.inside() {
        c.refused(&from, c.cluster_ip("evicted", false));
    }
}

fn source_ranges_admit_and_keep_out(c: &Cluster) {
    let others = json!(["192.0.2.0/24", " 2001:db8:9::/48 "]);
    let spec =
        json!({"type": "LoadBalancer", "selector": {"app": "web"}, "loadBalancerSourceRanges": others});
    c.service("guarded", spec);
    for v6 in FAMILIES {
        let to = c.load_balancer("guarded", v6);
        for from in [c.client(), c.pod(1, 2), c.bypass(1, 2)] {
            c.silent(&from, to);
        }
        // Only the load balancer's address is guarded.
        c.reaches(&c.client(), c.node(1, v6, c.node_port("guarded", "http")), &ALL);
    }
    let client = [plan::client().v4.to_string() + "/32", plan::client().v6.to_string() + "/128"];
    c.change("guarded", json!({"spec": {"loadBalancerSourceRanges": client}}));
    for v6 in FAMILIES {
        let to = c.load_balancer("guarded", v6);
        c.reaches(&c.client(), to, &ALL);
        c.silent(&c.bypass(1, 2), to);
    }
    c.change("guarded", json!({"spec": {"loadBalancerSourceRanges": plan::pod_cidrs(1)}}));
    for v6 in FAMILIES {
        let to = c.load_balancer("guarded", v6);
        c.silent(&c.client(), to);
        c.reaches(&c.pod(1, 2), to, &ALL);
        c.reaches(&c.bypass(1, 2), to, &ALL);
    }
    c.change("guarded", json!({"spec": {"loadBalancerSourceRanges": null}}));
    for v6 in FAMILIES {
        c.reaches(&c.client(), c.load_balancer("guarded", v6), &ALL);
        c.reaches(&c.host(1), c.load_balancer("guarded", v6), &ALL);
    }
}

fn ports_that_no_service_has_are_refused(c: &Cluster) {
    c.service("narrow", json!({"type": "LoadBalancer", "selector": {"app": "web"}}));
    for v6 in FAMILIES {
        let (mut inside, mut outside) = (c.cluster_ip("narrow", v6), c.load_balancer("narrow", v6));
        inside.set_port(81);
        outside.set_port(81);
        for from in c.inside() {
            c.refused(&from, inside);
            c.refused(&from, outside);
        }
        c.refused(&c.client(), outside);
    }
}

fn an_address_of_the_service_cidr_that_no_service_has_leads_nowhere(c: &Cluster) {
    c.service("freed", json!({"selector": {"app": "web"}}));
    for v6 in FAMILIES {
        c.reaches(&c.pod(1, 2), c.cluster_ip("freed", v6), &ALL);
    }
    let addresses = FAMILIES.map(|v6| c.cluster_ip("freed", v6));
    c.delete("freed");
    for to in addresses {
        for from in c.inside() {
            c.silent(&from, to);
        }
    }
    let counted = c.lab.nodes[0].agent.ask(&["bpf", "metrics", "list"]).unwrap();
    assert!(counted.contains("Address of a ServiceCIDR that no service has"), "{counted}");
}

fn a_proxy_mode_ingress_is_not_served(c: &Cluster) {
    // Of a class of its own: the lab's load balancer leaves it to us.
    c.service(
        "proxied",
        json!({"type": "LoadBalancer", "loadBalancerClass": "example.com/ours", "selector": {"app": "web"}}),
    );
    let mode = |mode: &str| {
        let ingress = json!([{"ip": "203.0.113.200", "ipMode": mode}]);
        c.change("proxied", json!({"status": {"loadBalancer": {"ingress": ingress}}}));
    };
    let to = "203.0.113.200:80".parse().unwrap();
    mode("VIP");
    c.reaches(&c.client(), to, &ALL);
    mode("Proxy");
    c.unserved(&c.client(), to);
    mode("VIP");
    c.reaches(&c.pod(1, 2), to, &ALL);
}

fn a_load_balancer_without_node_ports_has_none(c: &Cluster) {
    let spec =
        json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "selector": {"app": "web"}});
    c.service("portless", spec);
    assert!(c.get("portless").pointer("/spec/ports/0/nodePort").is_none_or(|p| *p == json!(0)));
    for v6 in FAMILIES {
        c.reaches(&c.client(), c.load_balancer("portless", v6), &ALL);
    }
    // Wanted after all, it gets some, and everything is served.
    c.change("portless", json!({"spec": {"allocateLoadBalancerNodePorts": true}}));
    let port = c.node_port("portless", "http");
    for v6 in FAMILIES {
        c.reaches(&c.client(), c.node(2, v6, port), &ALL);
        c.reaches(&c.client(), c.load_balancer("portless", v6), &ALL);
    }
    // Live, there and back: the port comes and goes, and the load balancer's address is served throughout.
    let ports = json!([{"name": "http", "port": 80, "targetPort": 8080, "nodePort": 31999}]);
    c.change("portless", json!({"spec": {"allocateLoadBalancerNodePorts": true, "ports": ports}}));
    for v6 in FAMILIES {
        c.reaches(&c.client(), c.node(1, v6, 31999), &ALL);
        c.reaches(&c.client(), c.load_balancer("portless", v6), &ALL);
    }
    let ports = json!([{"name": "http", "port": 80, "targetPort": 8080, "nodePort": 0}]);
    c.change("portless", json!({"spec": {"allocateLoadBalancerNodePorts": false, "ports": ports}}));
    for v6 in FAMILIES {
        c.unserved(&c.client(), c.node(1, v6, 31999));
        c.reaches(&c.client(), c.load_balancer("portless", v6), &ALL);
    }
}
