//! Cells about ports and addresses.

use super::cells::{joined, or_none};
use crate::api::object::{list, text};
use serde_json::Value;

/// How many endpoints or ports a cell of a slice names before it only counts them.
const SHOWN: usize = 3;

/// `80/TCP,443:30443/TCP`
pub fn of_service(service: &Value) -> Value {
    let port = |p: &Value| match p.get("nodePort").and_then(Value::as_u64) {
        Some(node) if node != 0 => format!("{}:{node}/{}", p["port"], text(p, "/protocol")),
        _ => format!("{}/{}", p["port"], text(p, "/protocol")),
    };
    or_none(list(service, "/spec/ports").iter().map(port).collect::<Vec<_>>().join(","))
}

/// Ingress addresses, external addresses or the external name.
pub fn external_ips(service: &Value) -> Value {
    let external = joined(list(service, "/spec/externalIPs"));
    match text(service, "/spec/type") {
        "ExternalName" => text(service, "/spec/externalName").into(),
        "LoadBalancer" => {
            let ingress = list(service, "/status/loadBalancer/ingress").iter();
            let mut names: Vec<&str> =
                ingress.filter_map(|i| i["ip"].as_str().or_else(|| i["hostname"].as_str())).collect();
            if !external.is_empty() {
                names.push(&external);
            }
            if names.is_empty() { "<pending>".into() } else { names.join(",").into() }
        }
        _ => or_none(external),
    }
}

/// `8080,8443`
pub fn of_slice(slice: &Value) -> Value {
    let ports: Vec<String> = list(slice, "/ports").iter().map(|p| p["port"].to_string()).collect();
    shown(ports, "<unset>")
}

/// `10.0.0.1,10.0.0.2 + 5 more...`
pub fn endpoints(slice: &Value) -> Value {
    let addresses = list(slice, "/endpoints").iter().flat_map(|e| list(e, "/addresses"));
    shown(addresses.filter_map(|a| a.as_str().map(str::to_owned)).collect(), "<unset>")
}

fn shown(mut items: Vec<String>, none: &str) -> Value {
    let more = items.len().saturating_sub(SHOWN);
    items.truncate(SHOWN);
    match (items.is_empty(), more) {
        (true, _) => none.into(),
        (_, 0) => items.join(",").into(),
        _ => format!("{} + {more} more...", items.join(",")).into(),
    }
}
