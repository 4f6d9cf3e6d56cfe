//! IP families and ClusterIPs of a Service.

use super::{
    alloc::Alloc,
    error::Cause,
    object::{Key, list, text},
    services::{has_cluster_ip, is_headless},
};
use serde_json::{Value, json};
use std::net::IpAddr;

/// Decides policy and families, checks the addresses asked for and allocates the others.
pub fn admit(old: Option<&Value>, new: &mut Value, me: &Key, alloc: &mut Alloc, causes: &mut Vec<Cause>) {
    if !has_cluster_ip(new) {
        return;
    }
    if let Some(old) = old.filter(|o| has_cluster_ip(o)) {
        keep(old, new, causes);
    }
    align_cluster_ips(new);
    let families = families(new, alloc, causes);
    if !causes.is_empty() {
        return;
    }
    new["spec"]["ipFamilies"] = families.iter().map(|v6| name(*v6)).collect();
    if is_headless(new) {
        new["spec"]["clusterIPs"] = json!(["None"]);
        return;
    }
    let ips = addresses(new, &families, me, alloc, causes);
    if let Some(first) = ips.first() {
        new["spec"]["clusterIP"] = first.to_string().into();
        new["spec"]["clusterIPs"] = ips.iter().map(IpAddr::to_string).collect();
    }
}

fn name(v6: bool) -> &'static str {
    if v6 { "IPv6" } else { "IPv4" }
}

/// An update that is silent about allocated values keeps them; the first ClusterIP never changes.
fn keep(old: &Value, new: &mut Value, causes: &mut Vec<Cause>) {
    let (had, want) = (text(old, "/spec/clusterIP").to_owned(), text(new, "/spec/clusterIP").to_owned());
    if want.is_empty() && list(new, "/spec/clusterIPs").is_empty() {
        for field in ["clusterIP", "clusterIPs"] {
            copy(old, new, field);
        }
    } else if !had.is_empty()
        && want != had
        && (!want.is_empty() || new["spec"]["clusterIPs"][0] != had.as_str())
    {
        causes.push(Cause::invalid("spec.clusterIPs[0]", &want.into(), "may not change once set"));
    }
    for field in ["ipFamilies", "ipFamilyPolicy"] {
        if new["spec"].get(field).is_none_or(Value::is_null) {
            copy(old, new, field);
        }
    }
    // Going back to one family is a change of the policy alone; the second address goes with it.
    if text(new, "/spec/ipFamilyPolicy") == "SingleStack"
        && text(old, "/spec/ipFamilyPolicy") != "SingleStack"
    {
        for field in ["clusterIPs", "ipFamilies"] {
            if new["spec"].get(field) == old["spec"].get(field)
                && let Some(values) = new["spec"].get_mut(field).and_then(Value::as_array_mut)
            {
                values.truncate(1);
            }
        }
    }
}

fn copy(old: &Value, new: &mut Value, field: &str) {
    if let Some(value) = old["spec"].get(field) {
        new["spec"][field] = value.clone();
    }
}

/// `clusterIP` and `clusterIPs[0]` are one value with two names.
fn align_cluster_ips(service: &mut Value) {
    let first = text(service, "/spec/clusterIP").to_owned();
    if first.is_empty() {
        if let Some(ip) = list(service, "/spec/clusterIPs").first().cloned() {
            service["spec"]["clusterIP"] = ip;
        }
    } else if list(service, "/spec/clusterIPs").is_empty() {
        service["spec"]["clusterIPs"] = json!([first]);
    }
}

/// The families in order, `true` for IPv6; also writes the default policy.
fn families(service: &mut Value, alloc: &Alloc, causes: &mut Vec<Cause>) -> Vec<bool> {
    let asked: Vec<bool> = list(service, "/spec/ipFamilies").iter().map(|f| f == "IPv6").collect();
    let mut families: Vec<bool> = list(service, "/spec/clusterIPs")
        .iter()
        .filter_map(|ip| Some(ip.as_str()?.parse::<IpAddr>().ok()?.is_ipv6()))
        .collect();
    if asked.len() > families.len() {
        families = asked;
    }
    let policy = text(service, "/spec/ipFamilyPolicy").to_owned();
    if families.len() > 1 && matches!(policy.as_str(), "" | "SingleStack") {
        let why = "must be RequireDualStack or PreferDualStack when multiple `ipFamilies` or `clusterIPs` are specified";
        causes.push(Cause::invalid("spec.ipFamilyPolicy", &policy.clone().into(), why));
    }
    if policy.is_empty() {
        service["spec"]["ipFamilyPolicy"] = "SingleStack".into();
    }
    let cluster: Vec<bool> = alloc.cidrs.iter().map(|c| c.addr().is_ipv6()).collect();
    if let Some(bad) = families.iter().find(|f| !cluster.contains(f)) {
        let why = "not configured on this cluster";
        causes.push(Cause::invalid("spec.ipFamilies[0]", &name(*bad).into(), why));
    }
    if policy == "RequireDualStack" && cluster.len() < 2 {
        let why = "this cluster is not configured for dual-stack services";
        causes.push(Cause::invalid("spec.ipFamilyPolicy", &policy.clone().into(), why));
    }
    if families.is_empty() {
        families.extend(cluster.first());
    }
    if policy.ends_with("DualStack") {
        families.extend(cluster.iter().filter(|f| !families.contains(f)).copied().collect::<Vec<_>>());
    }
    families
}

/// One address per family: the one asked for, or a free one.
fn addresses(
    service: &Value,
    families: &[bool],
    me: &Key,
    alloc: &mut Alloc,
    causes: &mut Vec<Cause>,
) -> Vec<IpAddr> {
    let asked = list(service, "/spec/clusterIPs").to_vec();
    let mut ips = Vec::new();
    for (i, v6) in families.iter().enumerate() {
        let field = format!("spec.clusterIPs[{i}]");
        let Some(value) = asked.get(i) else {
            match alloc.pick_ip(*v6) {
                Some(ip) => ips.push(ip),
                None => causes.push(Cause::invalid(
                    field,
                    &Value::Null,
                    "failed to allocate an IP: range is full",
                )),
            }
            continue;
        };
        let parsed = value.as_str().and_then(|v| v.parse::<IpAddr>().ok());
        match parsed {
            None => causes.push(Cause::invalid(field, value, "must be a valid IP address")),
            Some(ip) if ip.is_ipv6() != *v6 => {
                let why = format!("expected an {} value as indicated by `ipFamilies[{i}]`", name(*v6));
                causes.push(Cause::invalid(field, value, &why));
            }
            Some(ip) if !alloc.cidrs.iter().any(|c| c.contains(&ip)) => {
                let why = "failed to allocate IP: the provided IP is not in the valid range";
                causes.push(Cause::invalid(field, value, why));
            }
            Some(ip) if alloc.ip_taken(ip, me) => {
                let why = "failed to allocate IP: provided IP is already allocated";
                causes.push(Cause::invalid(field, value, why));
            }
            Some(ip) => ips.push(ip),
        }
    }
    ips
}
