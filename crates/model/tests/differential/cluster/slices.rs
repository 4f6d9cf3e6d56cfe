//! The EndpointSlices of a service.

use super::pods::Pod;
use super::{NODES, ZONES, meta, node_name};
use crate::random::Random;
use shunt_model::objects::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, Hint, Meta, Service,
};
use std::collections::BTreeMap;

/// How the controller has hinted.
#[derive(Clone, Copy)]
enum Hints {
    None,
    /// All endpoints, by zone and by node.
    All(bool, bool),
    /// Most endpoints, by zone and by node.
    Most(bool, bool),
}

pub fn slices(random: &mut Random, service: &Service, pods: &[Pod]) -> Vec<EndpointSlice> {
    let hints = random.pick(&[
        Hints::None,
        Hints::None,
        Hints::All(true, false),
        Hints::All(false, true),
        Hints::All(true, true),
        Hints::Most(true, false),
        Hints::Most(true, true),
    ]);
    // `publishNotReadyAddresses`: every endpoint counts as ready, whatever its pod says.
    let publish = random.percent(8);
    // Of this node, of others, of all, or of none.
    let where_ = random.pick(&[None, None, None, Some(1), Some(2), Some(9)]);
    let mut slices = Vec::new();
    for (family, word) in ["IPv4", "IPv6"].into_iter().enumerate() {
        let of_family = |ip: &String| ip.contains(':') == (word == "IPv6");
        let ours = service.spec.cluster_ips.iter().flatten().any(of_family);
        // Left over from when the service had the other family too.
        if !ours && !random.percent(10) {
            continue;
        }
        let there = |pod: &&Pod| where_.is_none_or(|n| pod.node.as_deref() == Some(&node_name(n)));
        let mut chosen = Vec::new();
        for pod in pods.iter().filter(there) {
            if random.percent(45) {
                chosen.push(endpoint(random, pod, family, hints, publish));
            }
        }
        // One that the first slice has already handed on still stands in it; or another pod has got its address, and
        // the slice has not yet lost the one that terminates.
        let mut moving = chosen.first().cloned().filter(|_| random.percent(20));
        if let Some(old) = moving.as_mut().filter(|_| random.percent(50)) {
            let mut said = old.conditions.unwrap_or_default();
            if said.terminating != Some(true) {
                said =
                    EndpointConditions { ready: Some(publish), serving: Some(true), terminating: Some(true) };
            }
            old.conditions = Some(said);
        }
        for part in 0..1 + random.below(3) {
            let rest = chosen.split_off(random.below(chosen.len() + 1));
            let mut here = std::mem::replace(&mut chosen, rest);
            if part == 1 {
                here.extend(moving.take());
            }
            slices.push(EndpointSlice { endpoints: Some(here), ..slice(random, service, word, part) });
        }
    }
    slices
}

fn slice(random: &mut Random, service: &Service, family: &str, part: usize) -> EndpointSlice {
    let name = &service.metadata.name;
    let mut labels = BTreeMap::from([("kubernetes.io/service-name".to_string(), name.clone())]);
    if random.percent(3) {
        labels.insert("service.kubernetes.io/headless".into(), String::new());
    }
    let mut ports = Vec::new();
    for (index, port) in service.spec.ports.iter().flatten().enumerate() {
        if random.percent(5) {
            continue;
        }
        ports.push(EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            // One that speaks another protocol is another port.
            protocol: if random.percent(3) { Some("UDP".into()) } else { port.protocol.clone() },
            // A named port may have another number in other pods; one that no pod has has none.
            port: Some(8080 + index as i64 + random.pick(&[0, 0, 1000])).filter(|_| random.percent(97)),
        });
    }
    let address_type = if random.percent(2) { "FQDN" } else { family };
    let mut metadata =
        Meta { labels: Some(labels), ..meta(format!("{name}-{}-{part}", family.to_lowercase())) };
    // Now and then of a service that has only the name in common.
    metadata.namespace =
        if random.percent(3) { "elsewhere".into() } else { service.metadata.namespace.clone() };
    EndpointSlice { metadata, address_type: address_type.into(), endpoints: None, ports: Some(ports) }
}

fn endpoint(random: &mut Random, pod: &Pod, family: usize, hints: Hints, publish: bool) -> Endpoint {
    let said = match hints {
        Hints::None => None,
        Hints::Most(..) if random.percent(25) => None,
        Hints::All(zones, nodes) | Hints::Most(zones, nodes) => {
            let zone = if random.percent(80) { pod.zone } else { random.pick(&ZONES) };
            let near = pod.node.clone().filter(|_| random.percent(80));
            let node = near.unwrap_or_else(|| node_name(1 + random.below(NODES)));
            let named = |yes: bool, names: Vec<String>| {
                yes.then(|| names.into_iter().map(|name| Hint { name }).collect())
            };
            let second = random.percent(10).then(|| random.pick(&ZONES));
            // No hint at all, in another way.
            let first = Some(zone).filter(|_| random.percent(97));
            let zone_names = first.into_iter().chain(second).map(Into::into).collect();
            Some(EndpointHints { for_zones: named(zones, zone_names), for_nodes: named(nodes, vec![node]) })
        }
    };
    let more = random.percent(5).then(|| ["10.244.9.9", "fd00:244:9::9"][family].to_string());
    let ready = if publish { Some(true) } else { pod.conditions.ready };
    Endpoint {
        // Consumers use the first.
        addresses: [pod.addresses[family].clone()].into_iter().chain(more).collect(),
        conditions: Some(EndpointConditions { ready, ..pod.conditions }),
        node_name: pod.node.clone(),
        zone: pod.node.as_ref().map(|_| pod.zone.into()),
        target_ref: None,
        hints: said,
    }
}
