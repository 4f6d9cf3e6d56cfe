//! The columns of each kind and what stands in them.

use super::ports;
use crate::api::{
    kinds::Kind,
    object::{list, text},
    time,
};
use serde_json::Value;

/// One column.
pub struct Column {
    /// Title; kubectl prints it in capitals.
    pub name: &'static str,
    /// Whether only `-o wide` shows it.
    pub wide: bool,
    /// The cell for an object.
    pub cell: fn(&Value) -> Value,
}

const fn column(name: &'static str, cell: fn(&Value) -> Value) -> Column {
    Column { name, wide: false, cell }
}

const fn wide(name: &'static str, cell: fn(&Value) -> Value) -> Column {
    Column { name, wide: true, cell }
}

const NAME: Column = column("Name", |o| text(o, "/metadata/name").into());
const AGE: Column = column("Age", |o| time::age(text(o, "/metadata/creationTimestamp")).into());

const SERVICE: [Column; 7] = [
    NAME,
    column("Type", |o| text(o, "/spec/type").into()),
    column("Cluster-IP", |o| or_none(text(o, "/spec/clusterIP").to_owned())),
    column("External-IP", ports::external_ips),
    column("Port(s)", ports::of_service),
    AGE,
    wide("Selector", |o| or_none(pairs(&o["spec"]["selector"]))),
];
const SLICE: [Column; 5] = [
    NAME,
    column("AddressType", |o| text(o, "/addressType").into()),
    column("Ports", ports::of_slice),
    column("Endpoints", ports::endpoints),
    AGE,
];
const NODE: [Column; 7] = [
    NAME,
    column("Status", node_status),
    column("Roles", node_roles),
    AGE,
    column("Version", |o| or_none(text(o, "/status/nodeInfo/kubeletVersion").to_owned())),
    wide("Internal-IP", |o| or_none(node_addresses(o, "InternalIP"))),
    wide("External-IP", |o| or_none(node_addresses(o, "ExternalIP"))),
];
const POD: [Column; 7] = [
    NAME,
    column("Ready", pod_ready),
    column("Status", pod_status),
    column("Restarts", |_| "0".into()),
    AGE,
    wide("IP", |o| or_none(pod_ip(o).to_owned())),
    wide("Node", |o| or_none(text(o, "/spec/nodeName").to_owned())),
];
const NAMESPACE: [Column; 3] = [NAME, column("Status", |o| text(o, "/status/phase").into()), AGE];
const CONFIG_MAP: [Column; 3] =
    [NAME, column("Data", |o| o["data"].as_object().map_or(0, |d| d.len()).to_string().into()), AGE];
const EVENT: [Column; 5] = [
    column("Last Seen", |o| time::age(text(o, "/lastTimestamp")).into()),
    column("Type", |o| text(o, "/type").into()),
    column("Reason", |o| text(o, "/reason").into()),
    column("Object", |o| {
        format!("{}/{}", text(o, "/involvedObject/kind").to_lowercase(), text(o, "/involvedObject/name"))
            .into()
    }),
    column("Message", |o| text(o, "/message").into()),
];
const SERVICE_CIDR: [Column; 3] = [NAME, column("CIDRs", |o| joined(list(o, "/spec/cidrs")).into()), AGE];

/// The columns of a kind.
pub fn columns(kind: Kind) -> &'static [Column] {
    match kind {
        Kind::Service => &SERVICE,
        Kind::EndpointSlice => &SLICE,
        Kind::Node => &NODE,
        Kind::Pod => &POD,
        Kind::Namespace => &NAMESPACE,
        Kind::ConfigMap => &CONFIG_MAP,
        Kind::Event => &EVENT,
        Kind::ServiceCidr => &SERVICE_CIDR,
    }
}

/// The text, or what kubectl shows for none.
pub fn or_none(text: String) -> Value {
    if text.is_empty() { "<none>".into() } else { text.into() }
}

/// Strings of a list with commas between.
pub fn joined(values: &[Value]) -> String {
    values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
}

fn pairs(map: &Value) -> String {
    let pair = |(k, v): (&String, &Value)| format!("{k}={}", v.as_str().unwrap_or_default());
    map.as_object().map(|m| m.iter().map(pair).collect::<Vec<_>>().join(",")).unwrap_or_default()
}

/// Whether the condition `Ready` is true.
fn is_ready(object: &Value) -> bool {
    list(object, "/status/conditions").iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

fn node_status(node: &Value) -> Value {
    let ready = if is_ready(node) { "Ready" } else { "NotReady" };
    let off = node.pointer("/spec/unschedulable") == Some(&Value::Bool(true));
    if off { format!("{ready},SchedulingDisabled").into() } else { ready.into() }
}

fn node_roles(node: &Value) -> Value {
    let labels = node["metadata"]["labels"].as_object();
    let roles = labels.into_iter().flatten().filter_map(|(k, _)| k.strip_prefix("node-role.kubernetes.io/"));
    or_none(roles.collect::<Vec<_>>().join(","))
}

fn node_addresses(node: &Value, kind: &str) -> String {
    let wanted = list(node, "/status/addresses").iter().filter(|a| a["type"] == kind);
    wanted.filter_map(|a| a["address"].as_str()).collect::<Vec<_>>().join(",")
}

fn pod_ip(pod: &Value) -> &str {
    let first = text(pod, "/status/podIP");
    if first.is_empty() { text(pod, "/status/podIPs/0/ip") } else { first }
}

fn pod_ready(pod: &Value) -> Value {
    let all = list(pod, "/spec/containers").len();
    format!("{}/{all}", if is_ready(pod) { all } else { 0 }).into()
}

fn pod_status(pod: &Value) -> Value {
    let leaving = pod.pointer("/metadata/deletionTimestamp").is_some();
    if leaving { "Terminating".into() } else { text(pod, "/status/phase").into() }
}
