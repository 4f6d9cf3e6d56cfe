//! EndpointSlice objects as a real API server would store them.

use super::{
    error::Cause,
    object::{list, text},
};
use serde_json::Value;
use std::net::IpAddr;

const FAMILIES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];

/// Checks a slice and fills in the defaults of its ports.
pub fn admit(old: Option<&Value>, slice: &mut Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let family = text(slice, "/addressType").to_owned();
    if family.is_empty() {
        causes.push(Cause::required("addressType", ""));
    } else if !FAMILIES.contains(&family.as_str()) {
        causes.push(Cause::unsupported("addressType", &slice["addressType"], &FAMILIES));
    }
    if old.is_some_and(|o| o["addressType"] != slice["addressType"]) {
        causes.push(Cause::invalid("addressType", &slice["addressType"], "field is immutable"));
    }
    if slice.get("endpoints").is_none_or(Value::is_null) {
        slice["endpoints"] = Value::Array(Vec::new());
    }
    for (i, endpoint) in list(slice, "/endpoints").iter().enumerate() {
        check_endpoint(&family, i, endpoint, &mut causes);
    }
    if list(slice, "/endpoints").len() > 1000 {
        causes.push(Cause::invalid(
            "endpoints",
            &list(slice, "/endpoints").len().into(),
            "must have at most 1000 items",
        ));
    }
    for port in slice.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        for (field, value) in [("name", ""), ("protocol", "TCP")] {
            if port.is_object() && port.get(field).is_none_or(Value::is_null) {
                port[field] = value.into();
            }
        }
    }
    causes
}

fn check_endpoint(family: &str, i: usize, endpoint: &Value, causes: &mut Vec<Cause>) {
    let addresses = list(endpoint, "/addresses");
    if addresses.is_empty() {
        causes.push(Cause::required(format!("endpoints[{i}].addresses"), "must contain at least 1 address"));
    }
    for (j, address) in addresses.iter().enumerate() {
        let field = format!("endpoints[{i}].addresses[{j}]");
        let ip = address.as_str().and_then(|a| a.parse::<IpAddr>().ok());
        let fits = match family {
            "IPv4" => ip.is_some_and(|ip| ip.is_ipv4()),
            "IPv6" => ip.is_some_and(|ip| ip.is_ipv6()),
            _ => address.is_string(),
        };
        let special = ip.is_some_and(|ip| ip.is_loopback() || ip.is_unspecified() || ip.is_multicast());
        if !fits {
            causes.push(Cause::invalid(field, address, &format!("must be a valid {family} address")));
        } else if special {
            let why = "may not be unspecified, loopback or multicast";
            causes.push(Cause::invalid(field, address, why));
        }
    }
}
