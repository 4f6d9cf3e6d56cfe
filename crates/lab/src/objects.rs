//! The Kubernetes objects that a cluster has of itself: nodes and pods.

use crate::kubelet;
use crate::net::plan;
use crate::topology::Families;
use serde_json::{Value, json};

/// A node's object.
pub fn node(i: usize, families: Families) -> Value {
    let name = format!("node{i}");
    let cidrs = families.of(&plan::pod_cidrs(i));
    let address = |v6: &bool| json!({"type": "InternalIP", "address": plan::node(i).of(*v6).to_string()});
    let mut addresses: Vec<Value> = families.each().iter().map(address).collect();
    addresses.push(json!({"type": "Hostname", "address": name}));
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {"podCIDR": cidrs[0], "podCIDRs": cidrs},
        "status": {
            "addresses": addresses,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}

/// A pod's object: running, ready, labelled so that services can select all, those of a node, or one.
pub fn pod(node: usize, i: usize, families: Families) -> Value {
    let ip = |v6: &bool| json!({"ip": plan::pod(node, i).of(*v6).to_string()});
    let ips: Vec<Value> = families.each().iter().map(ip).collect();
    let name = format!("pod{node}-{i}");
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "default",
            "labels": {"app": "web", "node": format!("node{node}"), "pod": name},
        },
        "spec": {
            "nodeName": format!("node{node}"),
            "containers": [{
                "name": "netexec", "image": "netexec",
                "ports": [
                    {"name": "http", "containerPort": 8080, "protocol": "TCP"},
                    {"name": "udp", "containerPort": 8081, "protocol": "UDP"},
                    {"name": "echo", "containerPort": 8082, "protocol": "TCP"},
                ],
            }],
        },
        "status": {
            "phase": "Running",
            "qosClass": kubelet::class(i),
            "podIP": ips[0]["ip"],
            "podIPs": ips,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}
