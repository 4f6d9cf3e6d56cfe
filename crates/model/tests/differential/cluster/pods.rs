//! The pods that endpoints stand for: one pod says the same of itself to all its services.

use super::{NODES, ZONES, node_name};
use crate::random::Random;
use shunt_model::objects::EndpointConditions;

/// A pod, or something else behind an endpoint.
#[derive(Clone, Debug)]
pub struct Pod {
    /// One address of each family.
    pub addresses: [String; 2],
    pub node: Option<String>,
    /// The zone that it is in, for hints.
    pub zone: &'static str,
    pub conditions: EndpointConditions,
}

pub fn pods(random: &mut Random) -> Vec<Pod> {
    let mut pods = Vec::new();
    for node in 1..=NODES {
        for k in 1..=3 + random.below(3) {
            let addresses = [format!("10.244.{node}.{k}"), format!("fd00:244:{node}::{k}")];
            pods.push(pod(random, addresses, Some(node)));
        }
    }
    // In the network of its node.
    let host = 1 + random.below(NODES);
    pods.push(pod(random, [format!("192.168.0.{host}"), format!("fd00:168::{host}")], Some(host)));
    // Outside the cluster, written by hand.
    pods.push(pod(random, ["172.20.0.1".into(), "fd00:172:20::1".into()], None));
    if random.percent(10) {
        // Another node's address, by hand: whose it is nobody says.
        let host = 1 + host % NODES;
        pods.push(pod(random, [format!("192.168.0.{host}"), format!("fd00:168::{host}")], None));
    }
    if random.percent(10) {
        // A pod's, by hand.
        let node = 1 + random.below(NODES);
        pods.push(pod(random, [format!("10.244.{node}.60"), format!("fd00:244:{node}::60")], None));
    }
    if random.percent(5) {
        // The node itself, or the cloud's metadata server (CVE-2021-25737); an API server lets only manual slices have it.
        let bad = random.pick(&[["127.0.0.1", "::1"], ["169.254.169.254", "fe80::1"]]);
        pods.push(pod(random, bad.map(Into::into), None));
    }
    pods
}

fn pod(random: &mut Random, addresses: [String; 2], node: Option<usize>) -> Pod {
    Pod {
        addresses,
        node: node.map(node_name),
        zone: node.map_or(ZONES[2], |n| ZONES[n - 1]),
        conditions: conditions(random),
    }
}

/// Any combination, of which those of real pods are the most frequent; what is absent has its own default.
fn conditions(random: &mut Random) -> EndpointConditions {
    let [ready, serving, terminating] = match random.below(10) {
        0..4 => [true, true, false],
        4 => [false, false, false],
        5 | 6 => [false, true, true],
        7 => [false, false, true],
        _ => [random.percent(50), random.percent(50), random.percent(50)],
    };
    let mut said = |value: bool, default: bool| Some(value).filter(|v| *v != default || random.percent(60));
    EndpointConditions {
        ready: said(ready, true),
        serving: said(serving, true),
        terminating: said(terminating, false),
    }
}
