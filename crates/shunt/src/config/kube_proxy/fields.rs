//! Every field of `KubeProxyConfiguration`, and what becomes of it.

/// What is done with a field.
#[derive(Clone, Copy, Debug)]
pub(super) enum Do {
    /// It becomes settings of ours (`map.rs`).
    Use,
    /// It is right to have it, and it has no use here: why.
    Ignore(&'static str),
}

use Do::{Ignore, Use};

const PACKETS: &str = "no packet rules are written";
const PODS: &str = "pods are known by their interfaces";
const MARKS: &str = "no packet is marked";
const MODE: &str = "the mode is always ebpf";
const WINDOWS: &str = "for Windows";
const NETFILTER: &str = "netfilter's connection tracking is not used";
const CLIENT: &str = "watches are JSON and need no limit";

/// By path; what is below a path belongs to it.
pub(super) const FIELDS: &[(&str, Do)] = &[
    ("apiVersion", Use),
    ("kind", Use),
    ("bindAddress", Use),
    ("bindAddressHardFail", Use),
    ("clientConnection.acceptContentTypes", Ignore(CLIENT)),
    ("clientConnection.burst", Ignore(CLIENT)),
    ("clientConnection.contentType", Ignore(CLIENT)),
    ("clientConnection.kubeconfig", Use),
    ("clientConnection.qps", Ignore(CLIENT)),
    ("clusterCIDR", Use),
    ("configSyncPeriod", Ignore("the watches resume by themselves")),
    ("conntrack.maxPerCore", Use),
    ("conntrack.min", Use),
    ("conntrack.tcpBeLiberal", Ignore(NETFILTER)),
    ("conntrack.tcpCloseWaitTimeout", Use),
    ("conntrack.tcpEstablishedTimeout", Use),
    ("conntrack.udpStreamTimeout", Use),
    ("conntrack.udpTimeout", Use),
    ("detectLocal.bridgeInterface", Ignore(PODS)),
    ("detectLocal.interfaceNamePrefix", Ignore(PODS)),
    ("detectLocalMode", Ignore(PODS)),
    ("enableProfiling", Ignore("there is no profiler to serve")),
    ("featureGates", Use),
    ("healthzBindAddress", Use),
    ("hostnameOverride", Use),
    ("iptables.localhostNodePorts", Use),
    ("iptables.masqueradeAll", Use),
    ("iptables.masqueradeBit", Ignore(MARKS)),
    ("iptables.minSyncPeriod", Use),
    ("iptables.syncPeriod", Use),
    ("ipvs.excludeCIDRs", Ignore(PACKETS)),
    ("ipvs.minSyncPeriod", Use),
    ("ipvs.scheduler", Use),
    ("ipvs.strictARP", Ignore("no address is put on an interface")),
    ("ipvs.syncPeriod", Use),
    ("ipvs.tcpFinTimeout", Ignore(PACKETS)),
    ("ipvs.tcpTimeout", Ignore(PACKETS)),
    ("ipvs.udpTimeout", Ignore(PACKETS)),
    ("logging", Ignore("use -v, SHUNT_LOG or --log-format")),
    ("metricsBindAddress", Use),
    ("mode", Ignore(MODE)),
    ("nftables.masqueradeAll", Use),
    ("nftables.masqueradeBit", Ignore(MARKS)),
    ("nftables.minSyncPeriod", Use),
    ("nftables.syncPeriod", Use),
    ("nodePortAddresses", Use),
    ("oomScoreAdj", Use),
    ("portRange", Ignore("no port is proxied in user space")),
    ("showHiddenMetricsForVersion", Ignore("no metric is hidden")),
    ("windowsRunAsService", Ignore(WINDOWS)),
    ("winkernel", Ignore(WINDOWS)),
];
