//! What is there for one port of a service.

use super::topology::{Choice, choose};
use super::{Endpoint, Port, Settings, base};
use crate::rules::{Action, Match, Ruleset, Verdict};
use std::net::{IpAddr, SocketAddr};

pub fn write(rules: &mut Ruleset, settings: &Settings, port: &Port, endpoints: &[Endpoint]) {
    let choice = choose(settings, port, endpoints);
    let chain = |kind| named(kind, port, None);
    for (addr, _) in choice.reachable.iter().filter(|(_, local)| *local) {
        rules.hairpin.insert((addr.ip(), port.proto, addr.port()));
    }
    pool(rules, port, &chain("service"), &choice.cluster);
    pool(rules, port, &chain("local"), &choice.local);
    inside(rules, port, &choice);
    if choice.any && port.is_external() {
        external(rules, settings, port, &choice);
    }
    outside(rules, port, &choice);
    if !port.sources.is_empty() && !port.vips.is_empty() {
        firewall(rules, settings, port);
    }
}

/// `external-NAMESPACE/SERVICE/PROTO/PORT`; kube-proxy has a hash in it too, for names that are cut off.
fn named(kind: &str, port: &Port, endpoint: Option<&SocketAddr>) -> String {
    let mut name = format!(
        "{kind}-{}/{}/{}/{}",
        port.namespace,
        port.service,
        port.proto.name().to_lowercase(),
        port.name
    );
    if let Some(endpoint) = endpoint {
        name += &format!("__{}/{}", endpoint.ip().to_string().replace(':', "."), endpoint.port());
    }
    name
}

/// A policy's name for its chain: of all nodes, or of this one.
fn policy(local: bool) -> &'static str {
    if local { "local" } else { "service" }
}

fn goto(kind: &str, port: &Port) -> Verdict {
    Verdict::Goto(named(kind, port, None))
}

/// The chain that gives a packet one of these endpoints.
fn pool(rules: &mut Ruleset, port: &Port, chain: &str, to: &[SocketAddr]) {
    if to.is_empty() {
        return;
    }
    let Some(seconds) = port.affinity else {
        return rules.rule(chain, vec![Match::Is(port.proto)], Action::Dnat(to.to_vec()));
    };
    let mut chains = Vec::new();
    for addr in to {
        let (own, set) = (named("endpoint", port, Some(addr)), named("affinity", port, Some(addr)));
        // Both policies may use an endpoint.
        if rules.affinity.insert(set.clone(), seconds).is_none() {
            rules.rule(&own, vec![], Action::Remember(set.clone()));
            rules.rule(&own, vec![Match::Is(port.proto)], Action::Dnat(vec![*addr]));
        }
        rules.rule(chain, vec![Match::Known(set)], Action::Goto(own.clone()));
        chains.push(own);
    }
    rules.rule(chain, vec![], Action::Any(chains));
}

/// What is said of traffic that finds no endpoint: nothing where others have some, so that it is tried elsewhere.
fn none(choice: &Choice) -> Verdict {
    if choice.any { Verdict::Drop } else { Verdict::Goto("reject-chain".into()) }
}

fn inside(rules: &mut Ruleset, port: &Port, choice: &Choice) {
    rules.sets.entry("cluster-ips").or_default().insert(port.cluster_ip);
    let served = choice.any && (!port.internal_local || !choice.local.is_empty());
    let (map, verdict) = match served {
        true => ("service-ips", goto(policy(port.internal_local), port)),
        false => ("no-endpoint-services", none(choice)),
    };
    put(rules, map, port.cluster_ip, port, verdict);
}

fn outside(rules: &mut Ruleset, port: &Port, choice: &Choice) {
    let served = choice.any && (!port.external_local || !choice.local.is_empty());
    for addr in port.external_ips.iter().chain(&port.vips) {
        if choice.any {
            put(rules, "service-ips", *addr, port, goto("external", port));
        }
        // Also where pods are short-circuited: the others come here.
        if !served {
            put(rules, "no-endpoint-services", *addr, port, none(choice));
        }
    }
    if port.node_port == 0 {
        return;
    }
    let key = (port.proto, port.node_port);
    if choice.any {
        rules.ports.entry("service-nodeports").or_default().insert(key, goto("external", port));
    }
    if !served {
        rules.ports.entry("no-endpoint-nodeports").or_default().insert(key, none(choice));
    }
}

/// The chain of all addresses but the ClusterIP.
fn external(rules: &mut Ruleset, settings: &Settings, port: &Port, choice: &Choice) {
    let chain = named("external", port, None);
    let cluster = named("service", port, None);
    if !port.external_local {
        rules.rule(&chain, vec![], Action::Mark);
        return rules.rule(&chain, vec![], Action::Goto(cluster));
    }
    // Pods and the node itself go to any endpoint, as if they had gone out to a load balancer and come back.
    let from_pod = base::pod(settings, rules.family, true);
    rules.rule(&chain, vec![from_pod], Action::Goto(cluster.clone()));
    rules.rule(&chain, vec![Match::FromLocal], Action::Mark);
    rules.rule(&chain, vec![Match::FromLocal], Action::Goto(cluster));
    if !choice.local.is_empty() {
        rules.rule(&chain, vec![], Action::Goto(named("local", port, None)));
    }
}

/// Who is not in the ranges is dropped. A node that is may have the load balancer's address as its own.
fn firewall(rules: &mut Ruleset, settings: &Settings, port: &Port) {
    let mut nets = port.sources.clone();
    if settings.node_ips.iter().any(|ip| nets.iter().any(|n| n.contains(ip))) {
        nets.extend(port.vips.iter().map(|a| ipnet::IpNet::from(*a)));
    }
    rules.rule(&named("firewall", port, None), vec![Match::From { not: true, nets }], Action::Drop);
    for addr in &port.vips {
        put(rules, "firewall-ips", *addr, port, goto("firewall", port));
    }
}

fn put(rules: &mut Ruleset, map: &'static str, addr: IpAddr, port: &Port, verdict: Verdict) {
    rules.dests.entry(map).or_default().insert((addr, port.proto, port.port), verdict);
}
