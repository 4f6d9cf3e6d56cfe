//! What the agent says of itself, as `-o json` prints it.

use crate::devices::DeviceInfo;
use serde::{Deserialize, Serialize};
use shunt_model::Problem;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// `status`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Version of the agent.
    pub version: String,
    /// Process id of the agent.
    pub pid: u32,
    /// Name of the node.
    pub node: String,
    /// Seconds since the agent started.
    pub uptime_seconds: u64,
    /// Where objects come from.
    pub source: Source,
    /// How far the maps are.
    pub sync: Sync,
    /// What is served.
    pub counts: Counts,
    /// Devices with their addresses.
    pub devices: Vec<DeviceInfo>,
    /// What each device's packets meet first, where acceleration is on.
    #[serde(default)]
    pub acceleration: Vec<Accelerated>,
    /// Names of the pod interfaces.
    pub pod_interfaces: Vec<String>,
    /// Where NodePorts answer.
    pub node_port_addresses: Vec<IpAddr>,
    /// Programs that are attached.
    pub attachments: Vec<Attached>,
    /// Where pins are.
    pub bpf_root: PathBuf,
    /// Configuration that shows in listings.
    pub settings: BTreeMap<String, String>,
    /// Objects that are wrong.
    pub problems: Vec<Problem>,
    /// Pods that have left the socket path; absent where none can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opt_out: Option<OptOut>,
    /// What could work better, with what to do about it; no reason to call the node broken.
    #[serde(default)]
    pub degraded: Vec<String>,
    /// What does not work; empty when all is well.
    pub errors: Vec<Failure>,
}

/// Something that does not work.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// `source`, `sync`, `devices`, `server`, `datapath`, `sockets`.
    pub module: String,
    /// What is wrong.
    pub message: String,
}

/// Where objects come from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Source {
    /// `Kubernetes` or `Manifests`.
    pub kind: String,
    /// Address or directory.
    pub at: String,
    /// The kinds whose watch is down, with why.
    pub down: BTreeMap<String, String>,
}

/// How far the maps are.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sync {
    /// Everything has been listed once and written.
    pub synced: bool,
    /// Kinds that have not been listed.
    pub waiting: Vec<String>,
    /// Nothing is left to write.
    pub settled: bool,
    /// Unix time of the last one, seconds; zero before the first.
    pub last: u64,
    /// What the last one failed to write.
    pub failed: Vec<String>,
}

/// How much is served.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Services.
    pub services: usize,
    /// Rows of frontends.
    pub frontends: usize,
    /// Backends.
    pub backends: usize,
}

/// Pods that have left the socket path, each `namespace/name`.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct OptOut {
    /// The key of the label by which they do.
    pub label: String,
    /// Those whose sockets are left to the packet path.
    pub pods: Vec<String>,
    /// Those that asked for it and whose cgroup is not there: their sockets are translated, if they have any.
    pub missing: Vec<String>,
}

/// How a device is accelerated.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Accelerated {
    /// Its name.
    pub device: String,
    /// `native`, `generic` or `tc`.
    pub runs: String,
    /// Why it is `tc`.
    pub why: Option<String>,
}

/// A program that is attached.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attached {
    /// Its hook.
    pub hook: String,
    /// The interface; empty for socket hooks.
    pub interface: String,
    /// `cgroup`, `tcx` or `clsact`.
    pub mode: String,
    /// The kernel's id.
    pub program_id: u32,
}
