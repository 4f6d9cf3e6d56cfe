//! From kube-proxy's fields to our keys.

use super::Note;
use super::gates::gates;
use super::read::Fields;
use std::net::IpAddr;
use std::path::Path;

/// Our key, the field that it comes from, and its value as text.
type Mapped = (&'static str, &'static str, String);

/// kube-proxy's own defaults (`pkg/proxy/apis/config/v1alpha1/defaults.go`).
const MAX_PER_CORE: i64 = 32_768;
const MIN: i64 = 131_072;
const OOM_SCORE_ADJ: i64 = -999;
const TCP_ESTABLISHED: &str = "24h";
const TCP_CLOSE_WAIT: &str = "1h";
const LOCALHOST_NODE_PORTS: bool = true;
/// More flows than kube-proxy ever asks netfilter for.
const MOST_FLOWS: i64 = 1_048_576;

pub(super) fn settings(fields: &mut Fields, file: &Path, cpus: u64, notes: &mut Vec<Note>) -> Vec<Mapped> {
    let mut found: Vec<Mapped> = Vec::new();
    let mut put = |key, field, value: Option<String>| found.extend(value.map(|v| (key, field, v)));
    let kubeconfig = fields.text("clientConnection.kubeconfig").map(|path| kubeconfig(path, file));
    put("kubeconfig", "clientConnection.kubeconfig", kubeconfig);
    // Node names are lower case.
    put("nodeName", "hostnameOverride", fields.text("hostnameOverride").map(|n| n.to_lowercase()));
    let bind = fields.text("bindAddress");
    put("bindAddress", "bindAddress", bind.clone());
    let v6 = bind.and_then(|b| b.parse().ok()).is_some_and(|b: IpAddr| b.is_ipv6());
    let healthz = fields.text("healthzBindAddress").map(|a| with_port(&a, 10256));
    let healthz = healthz.or_else(|| v6.then(|| "[::]:10256".into()));
    put("kubeProxyReplacementHealthzBindAddr", "healthzBindAddress", healthz);
    let metrics = fields.text("metricsBindAddress").map(|a| with_port(&a, 10249));
    let metrics = metrics.or_else(|| v6.then(|| "[::1]:10249".into()));
    put("metricsBindAddress", "metricsBindAddress", metrics);
    let hard_fail = fields.bool("bindAddressHardFail");
    put("bindAddressHardFail", "bindAddressHardFail", hard_fail.map(|b| b.to_string()));
    put("clusterCIDR", "clusterCIDR", fields.text("clusterCIDR").filter(|nets| !nets.is_empty()));
    let score = fields.number("oomScoreAdj").unwrap_or(OOM_SCORE_ADJ);
    put("oomScoreAdj", "oomScoreAdj", Some(score.to_string()));
    let mode = fields.text("mode").unwrap_or_else(|| "iptables".into());
    put("nodePort.addresses", "nodePortAddresses", node_ports(fields, &mode, notes));
    let [period, least] = match mode.as_str() {
        "ipvs" => ["ipvs.syncPeriod", "ipvs.minSyncPeriod"],
        "nftables" => ["nftables.syncPeriod", "nftables.minSyncPeriod"],
        _ => ["iptables.syncPeriod", "iptables.minSyncPeriod"],
    };
    put("syncPeriod", period, fields.duration(period));
    put("minSyncPeriod", least, fields.duration(least));
    put("bpf.ctTcpMax", "conntrack", flow_rows(fields, cpus));
    for (key, field, default) in [
        ("flows.tcpEstablishedTimeout", "conntrack.tcpEstablishedTimeout", Some(TCP_ESTABLISHED)),
        ("flows.tcpClosingTimeout", "conntrack.tcpCloseWaitTimeout", Some(TCP_CLOSE_WAIT)),
        ("flows.udpUnconfirmedTimeout", "conntrack.udpTimeout", None),
        ("flows.udpConfirmedTimeout", "conntrack.udpStreamTimeout", None),
    ] {
        let default = default.filter(|_| !fields.has(field)).map(Into::into);
        put(key, field, default.or_else(|| fields.duration(field)));
    }
    let (asked, note) = gates(&fields.switches("featureGates"));
    asked.into_iter().for_each(|(key, value)| put(key, "featureGates", Some(value)));
    notes.extend(note);
    warn(fields, &mode, notes);
    found
}

/// What is asked for and not done.
fn warn(fields: &mut Fields, mode: &str, notes: &mut Vec<Note>) {
    for field in ["iptables.masqueradeAll", "nftables.masqueradeAll"] {
        if fields.bool(field) == Some(true) {
            let what = "pods see their clients' own addresses behind a ClusterIP; it has no effect";
            notes.push(Note::Warning(format!("{field}: {what}")));
        }
    }
    match fields.text("ipvs.scheduler").as_deref() {
        None | Some("rr") => {}
        Some(other) if mode == "ipvs" => notes.push(Note::Warning(format!(
            "ipvs.scheduler {other:?}: backends are picked as loadBalancer.algorithm says (rr is random)"
        ))),
        Some(_) => {}
    }
}

/// kubeadm's ConfigMap has both files, and is not always mounted where `config.conf` says.
fn kubeconfig(path: String, file: &Path) -> String {
    let beside = file.with_file_name("kubeconfig.conf");
    if !Path::new(&path).exists() && beside.exists() { beside.display().to_string() } else { path }
}

/// A lone address gets kube-proxy's port.
fn with_port(text: &str, port: u16) -> String {
    match text.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(IpAddr::V4(addr)) => format!("{addr}:{port}"),
        Ok(IpAddr::V6(addr)) => format!("[{addr}]:{port}"),
        Err(_) => text.into(),
    }
}

fn node_ports(fields: &mut Fields, mode: &str, notes: &mut Vec<Note>) -> Option<String> {
    let asked = fields.bool("iptables.localhostNodePorts").unwrap_or(LOCALHOST_NODE_PORTS);
    let localhost = mode == "iptables" && asked;
    if let Some(mut words) = fields.list("nodePortAddresses") {
        // All addresses: loopback's are among them.
        if localhost && words.iter().any(|word| word == "0.0.0.0/0" || word == "::/0") {
            words.push("localhost".into());
        }
        return Some(words.join(","));
    }
    if mode == "nftables" {
        return None;
    }
    notes.push(Note::Info(format!(
        "nodePortAddresses is not set: NodePorts answer on the node's primary addresses, as in the nftables mode; \
         the {mode} mode has them on all: set nodePortAddresses to [all] for that"
    )));
    localhost.then(|| "primary,localhost".into())
}

/// Two rows a flow, for as many flows as kube-proxy would have netfilter remember.
fn flow_rows(fields: &mut Fields, cpus: u64) -> Option<String> {
    let (per_core, min) = (fields.number("conntrack.maxPerCore"), fields.number("conntrack.min"));
    if per_core.is_none() && min.is_none() {
        return None;
    }
    let per_core = per_core.unwrap_or(MAX_PER_CORE).max(0);
    // kube-proxy: zero leaves things as they are.
    if per_core == 0 {
        return None;
    }
    let cpus = i64::try_from(cpus).unwrap_or(1);
    let flows = per_core.saturating_mul(cpus).max(min.unwrap_or(MIN)).min(MOST_FLOWS);
    Some((flows * 2).to_string())
}
