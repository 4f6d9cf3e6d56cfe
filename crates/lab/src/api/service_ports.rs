//! The ports of a Service: defaults, rules, and node ports.

use super::{
    alloc::Alloc,
    error::Cause,
    object::{Key, list, text},
    services::{has_cluster_ip, is_external, is_headless, wants_health_port},
};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// Fills in protocol and target port and checks all but node ports.
pub fn default_and_check(service: &mut Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let optional = is_headless(service) || !has_cluster_ip(service);
    let Some(ports) =
        service["spec"].get_mut("ports").and_then(Value::as_array_mut).filter(|p| !p.is_empty())
    else {
        if !optional {
            causes.push(Cause::required("spec.ports", ""));
        }
        return causes;
    };
    let many = ports.len() > 1;
    let (mut names, mut numbers) = (HashSet::new(), HashSet::new());
    for (i, port) in ports.iter_mut().enumerate() {
        let field = |name: &str| format!("spec.ports[{i}].{name}");
        if !port.is_object() {
            causes.push(Cause::invalid(format!("spec.ports[{i}]"), port, "must be an object"));
            continue;
        }
        default_port(port);
        causes.extend(check_port(port, many, &field));
        let name = text(port, "/name").to_owned();
        if !name.is_empty() && !names.insert(name) {
            causes.push(Cause::duplicate(field("name"), &port["name"]));
        }
        if !numbers.insert((port["port"].to_string(), port["protocol"].to_string())) {
            causes.push(Cause::duplicate(format!("spec.ports[{i}]"), port));
        }
    }
    causes
}

fn default_port(port: &mut Value) {
    if port["protocol"].is_null() {
        port["protocol"] = "TCP".into();
    }
    if matches!(&port["targetPort"], Value::Null) || port["targetPort"] == 0 || port["targetPort"] == "" {
        port["targetPort"] = port["port"].clone();
    }
    if let Some(map) = port.as_object_mut() {
        map.retain(|_, v| !v.is_null());
    }
}

fn check_port(port: &Value, many: bool, field: &dyn Fn(&str) -> String) -> Vec<Cause> {
    let mut causes = Vec::new();
    let number = |v: Option<&Value>| v.and_then(Value::as_u64).is_some_and(|p| (1..=65_535).contains(&p));
    match port.get("port") {
        None => causes.push(Cause::required(field("port"), "")),
        value if number(value) => {}
        Some(value) => {
            causes.push(Cause::invalid(field("port"), value, "must be between 1 and 65535, inclusive"))
        }
    }
    if many && text(port, "/name").is_empty() {
        causes.push(Cause::required(field("name"), ""));
    }
    if !PROTOCOLS.contains(&text(port, "/protocol")) {
        causes.push(Cause::unsupported(field("protocol"), &port["protocol"], &PROTOCOLS));
    }
    if let Some(target) = port.get("targetPort")
        && !number(Some(target))
        && !target.as_str().is_some_and(is_port_name)
    {
        causes.push(Cause::invalid(field("targetPort"), target, "must be a port number or a port name"));
    }
    causes
}

/// Whether `name` is a legal name of a port: at most 15 lower-case letters, digits and dashes, one letter at least.
fn is_port_name(name: &str) -> bool {
    let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (1..=15).contains(&name.len()) && name.bytes().all(legal) && name.bytes().any(|c| c.is_ascii_lowercase())
}

/// Keeps, checks and allocates node ports and the health check node port.
pub fn admit(old: Option<&Value>, new: &mut Value, me: &Key, alloc: &mut Alloc, causes: &mut Vec<Cause>) {
    if let Some(old) = old {
        keep_node_ports(old, new);
    }
    check_node_ports(new, me, alloc, causes);
    if !causes.is_empty() {
        return;
    }
    let mut mine: HashSet<u16> = super::alloc::Claims::of(new).ports.into_iter().collect();
    let range = || Cause::invalid("spec.ports", &Value::Null, "failed to allocate a nodePort: range is full");
    if needs_node_ports(new)
        && let Some(ports) = new["spec"].get_mut("ports").and_then(Value::as_array_mut)
    {
        // As the real one does: protocols of one port number share a node port in a new service; later ones do not.
        let mut by_number = if old.is_none() { given(ports) } else { HashMap::new() };
        for port in ports.iter_mut().filter(|p| node_port(p).is_none()) {
            let number = port["port"].as_u64().unwrap_or_default();
            if old.is_none()
                && let Some(shared) = by_number.get(&number)
            {
                port["nodePort"] = (*shared).into();
                continue;
            }
            let Some(picked) = alloc.pick_port(&mine) else { return causes.push(range()) };
            mine.insert(picked);
            port["nodePort"] = picked.into();
            by_number.insert(number, picked.into());
        }
    }
    if wants_health_port(new)
        && new.pointer("/spec/healthCheckNodePort").and_then(Value::as_u64).unwrap_or(0) == 0
    {
        let Some(picked) = alloc.pick_port(&mine) else { return causes.push(range()) };
        new["spec"]["healthCheckNodePort"] = picked.into();
    }
}

/// The node ports that ports were given, by port number; the first counts.
fn given(ports: &[Value]) -> HashMap<u64, u64> {
    let pair = |port: &Value| Some((port["port"].as_u64()?, node_port(port)?));
    ports.iter().rev().filter_map(pair).collect()
}

fn node_port(port: &Value) -> Option<u64> {
    port.get("nodePort").and_then(Value::as_u64).filter(|p| *p != 0)
}

fn check_node_ports(service: &Value, me: &Key, alloc: &Alloc, causes: &mut Vec<Cause>) {
    let mut seen = HashSet::new();
    for (i, port) in list(service, "/spec/ports").iter().enumerate() {
        let Some(number) = node_port(port) else { continue };
        let (field, value) = (format!("spec.ports[{i}].nodePort"), &port["nodePort"]);
        let in_range = u16::try_from(number).ok().filter(|n| alloc.node_ports.contains(n));
        if !is_external(service) {
            let kind = text(service, "/spec/type");
            let why = format!("may not be used when `type` is '{kind}'");
            causes.push(Cause { reason: "FieldValueForbidden", field, message: format!("Forbidden: {why}") });
        } else if let Some(number) = in_range {
            if alloc.port_taken(number, me) {
                causes.push(Cause::invalid(field, value, "provided port is already allocated"));
            } else if !seen.insert((number, text(port, "/protocol"))) {
                causes.push(Cause::duplicate(field, value));
            }
        } else {
            let (first, last) = (alloc.node_ports.start(), alloc.node_ports.end());
            let why = format!(
                "provided port is not in the valid range. The range of valid ports is {first}-{last}"
            );
            causes.push(Cause::invalid(field, value, &why));
        }
    }
}

/// Whether ports without a node port get one. Those of a load balancer that does without are let go by whoever leaves them
/// out.
fn needs_node_ports(service: &Value) -> bool {
    is_external(service)
        && service.pointer("/spec/allocateLoadBalancerNodePorts") != Some(&Value::Bool(false))
}

/// A port without a node port keeps the one that the same port and protocol had.
fn keep_node_ports(old: &Value, new: &mut Value) {
    if !needs_node_ports(new) || !needs_node_ports(old) {
        return;
    }
    let had: Vec<Value> = list(old, "/spec/ports").to_vec();
    let taken: HashSet<u64> = list(new, "/spec/ports").iter().filter_map(node_port).collect();
    let Some(ports) = new["spec"].get_mut("ports").and_then(Value::as_array_mut) else { return };
    for port in ports.iter_mut().filter(|p| node_port(p).is_none()) {
        let same = |p: &&Value| p["port"] == port["port"] && p["protocol"] == port["protocol"];
        if let Some(number) = had.iter().find(same).and_then(node_port).filter(|n| !taken.contains(n)) {
            port["nodePort"] = number.into();
        }
    }
}

/// Removes the node ports that `new` only repeats from `old`, as on a change of type to ClusterIP.
pub fn drop_node_ports(old: &Value, new: &mut Value) {
    let had: HashSet<u64> = list(old, "/spec/ports").iter().filter_map(node_port).collect();
    let Some(ports) = new["spec"].get_mut("ports").and_then(Value::as_array_mut) else { return };
    for port in ports {
        if node_port(port).is_some_and(|n| had.contains(&n))
            && let Some(map) = port.as_object_mut()
        {
            map.remove("nodePort");
        }
    }
}
