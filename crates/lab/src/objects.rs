//! The Kubernetes objects that a cluster has of itself: nodes and pods.

use crate::net::plan;
use serde_json::{Value, json};

/// A node's object.
pub fn node(i: usize) -> Value {
    let a = plan::node(i);
    let cidrs = plan::pod_cidrs(i);
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": format!("node{i}"), "labels": {"kubernetes.io/hostname": format!("node{i}")}},
        "spec": {"podCIDR": cidrs[0], "podCIDRs": cidrs},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": a.v4.to_string()},
                {"type": "InternalIP", "address": a.v6.to_string()},
                {"type": "Hostname", "address": format!("node{i}")},
            ],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}

/// A pod's object: running, ready, labelled so that services can select all, those of a node, or one.
pub fn pod(node: usize, i: usize) -> Value {
    let a = plan::pod(node, i);
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
            "podIP": a.v4.to_string(),
            "podIPs": [{"ip": a.v4.to_string()}, {"ip": a.v6.to_string()}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}
