//! Service objects as a real API server would store them: checked, defaulted, with addresses and ports allocated.

use super::{
    alloc::{Alloc, Claims},
    error::Cause,
    object::{Key, list, text},
    service_families as families, service_ports as ports,
};
use serde_json::{Value, json};

/// Checks `new`, fills in defaults and allocates. `old` is the stored state on an update.
///
/// # Errors
/// Every broken field; nothing is allocated then.
pub fn admit(old: Option<&Value>, new: &mut Value, me: &Key, alloc: &mut Alloc) -> Result<(), Vec<Cause>> {
    if !new["spec"].is_object() {
        new["spec"] = json!({});
    }
    default_fields(new);
    drop_fields_of_other_types(old, new);
    let mut causes = check_enums(new);
    causes.extend(ports::default_and_check(new));
    if text(new, "/spec/type") == "ExternalName" && text(new, "/spec/externalName").is_empty() {
        causes.push(Cause::required("spec.externalName", ""));
    }
    if causes.is_empty() {
        families::admit(old, new, me, alloc, &mut causes);
    }
    if causes.is_empty() {
        ports::admit(old, new, me, alloc, &mut causes);
    }
    if !causes.is_empty() {
        return Err(causes);
    }
    alloc.replace(me, &old.map(Claims::of).unwrap_or_default(), &Claims::of(new));
    Ok(())
}

/// Whether the type has ClusterIPs.
pub fn has_cluster_ip(service: &Value) -> bool {
    text(service, "/spec/type") != "ExternalName"
}

/// Whether clients find the endpoints by name only.
pub fn is_headless(service: &Value) -> bool {
    text(service, "/spec/clusterIP") == "None"
}

/// Whether the type is reached from outside through node ports.
pub fn is_external(service: &Value) -> bool {
    matches!(text(service, "/spec/type"), "NodePort" | "LoadBalancer")
}

fn default_fields(service: &mut Value) {
    let spec = &mut service["spec"];
    let mut default = |field: &str, value: Value| {
        if spec.get(field).is_none_or(Value::is_null) {
            spec[field] = value;
        }
    };
    default("type", "ClusterIP".into());
    default("sessionAffinity", "None".into());
    if spec["sessionAffinity"] == "ClientIP"
        && spec.pointer("/sessionAffinityConfig/clientIP/timeoutSeconds").is_none()
    {
        spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": 10_800}});
    }
    let external = matches!(spec["type"].as_str(), Some("NodePort" | "LoadBalancer"));
    let external_ips = spec["externalIPs"].as_array().is_some_and(|a| !a.is_empty());
    if (external || external_ips) && spec["externalTrafficPolicy"].is_null() {
        spec["externalTrafficPolicy"] = "Cluster".into();
    }
    if spec["type"] != "ExternalName" && spec["internalTrafficPolicy"].is_null() {
        spec["internalTrafficPolicy"] = "Cluster".into();
    }
    if spec["type"] == "LoadBalancer" && spec["allocateLoadBalancerNodePorts"].is_null() {
        spec["allocateLoadBalancerNodePorts"] = true.into();
    }
    // Indexing above leaves nulls behind for absent fields; a stored object has none.
    if let Some(map) = spec.as_object_mut() {
        map.retain(|_, v| !v.is_null());
    }
}

/// On a change of type, fields that only the old type had go when the new object merely repeats them.
fn drop_fields_of_other_types(old: Option<&Value>, new: &mut Value) {
    let Some(old) = old else { return };
    let same = |new: &Value, field: &str| new["spec"].get(field) == old["spec"].get(field);
    let (was, is) = (text(old, "/spec/type").to_owned(), text(new, "/spec/type").to_owned());
    let drop = |new: &mut Value, field: &str| {
        if same(new, field)
            && let Some(spec) = new["spec"].as_object_mut()
        {
            spec.remove(field);
        }
    };
    if was != is && !is_external(new) {
        if list(new, "/spec/externalIPs").is_empty() {
            drop(new, "externalTrafficPolicy");
        }
        ports::drop_node_ports(old, new);
    }
    if was != is && is != "LoadBalancer" {
        drop(new, "allocateLoadBalancerNodePorts");
        drop(new, "loadBalancerClass");
    }
    if !wants_health_port(new) {
        drop(new, "healthCheckNodePort");
    }
    if was != is && is == "ExternalName" {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
            drop(new, field);
        }
    }
    if text(new, "/spec/sessionAffinity") == "None"
        && let Some(spec) = new["spec"].as_object_mut()
    {
        spec.remove("sessionAffinityConfig");
    }
}

/// Whether a health check node port belongs to the service.
pub fn wants_health_port(service: &Value) -> bool {
    text(service, "/spec/type") == "LoadBalancer" && text(service, "/spec/externalTrafficPolicy") == "Local"
}

fn check_enums(service: &Value) -> Vec<Cause> {
    const ENUMS: [(&str, &[&str]); 5] = [
        ("type", &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]),
        ("sessionAffinity", &["ClientIP", "None"]),
        ("externalTrafficPolicy", &["Cluster", "Local"]),
        ("internalTrafficPolicy", &["Cluster", "Local"]),
        ("ipFamilyPolicy", &["PreferDualStack", "RequireDualStack", "SingleStack"]),
    ];
    let spec = &service["spec"];
    let mut causes = Vec::new();
    for (field, allowed) in ENUMS {
        if let Some(value) = spec.get(field)
            && !value.as_str().is_some_and(|v| allowed.contains(&v))
        {
            causes.push(Cause::unsupported(format!("spec.{field}"), value, allowed));
        }
    }
    for (i, ip) in list(service, "/spec/externalIPs").iter().enumerate() {
        if ip.as_str().is_none_or(|ip| ip.parse::<std::net::IpAddr>().is_err()) {
            causes.push(Cause::invalid(format!("spec.externalIPs[{i}]"), ip, "must be a valid IP address"));
        }
    }
    if let Some(timeout) = spec.pointer("/sessionAffinityConfig/clientIP/timeoutSeconds")
        && !timeout.as_u64().is_some_and(|t| (1..=86_400).contains(&t))
    {
        let field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
        causes.push(Cause::invalid(field, timeout, "must be between 1 and 86400"));
    }
    causes
}
