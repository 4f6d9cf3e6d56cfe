//! The configuration as the agent uses it.

use super::{NodePortAddresses, Resolved, Value, value};
use shunt_common::feature;
use shunt_datapath::{Acceleration, Lifetimes, Settings, Sizes};
use shunt_model::{Mode, NodePortOptions, Options, maglev};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Checked settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// With provenance, for `config view`.
    pub resolved: Resolved,
    /// This node's name.
    pub node_name: String,
}

impl Config {
    /// Fills in what the node itself knows.
    ///
    /// # Errors
    /// When no node name is given and the host has none.
    pub fn new(resolved: Resolved) -> Result<Self, String> {
        let node_name = match resolved.text("nodeName") {
            "" => host_name().ok_or("the host has no name: set --node-name")?,
            name => name.into(),
        };
        Ok(Self { resolved, node_name })
    }

    /// What the model needs to know.
    #[must_use]
    pub fn model_options(&self) -> Options {
        Options {
            external_cluster_ip: self.resolved.bool("bpf.lbExternalClusterIP"),
            health_check_vips: ["nodePort.enableHealthCheck", "nodePort.enableHealthCheckLoadBalancerIP"]
                .into_iter()
                .all(|key| self.resolved.bool(key)),
            host_ports: self.resolved.bool("hostPort.enabled"),
            external_ips: self.resolved.bool("externalIPs.enabled"),
            external_ip_mitigation: !self.resolved.bool("bpf.disableExternalIPMitigation"),
            cluster_cidrs: self
                .resolved
                .list("clusterCIDR")
                .iter()
                .filter_map(|net| value::range(net))
                .collect(),
            service_proxy_name: self.resolved.text("k8s.serviceProxyName").into(),
            source_ranges_for_all: self.resolved.bool("bpf.lbSourceRangeAllTypes"),
            mode: Mode::from_word(self.resolved.text("loadBalancer.mode")).unwrap_or_default(),
            service_topology: self.resolved.bool("loadBalancer.serviceTopology"),
            node_port: NodePortOptions {
                enabled: self.resolved.bool("nodePort.enabled"),
                range: self.node_port_range(),
            },
            maglev: self.resolved.text("loadBalancer.algorithm") == "maglev",
            tables: self.maglev(),
            ..Options::new(&self.node_name)
        }
    }

    /// What the datapath needs to know, but for the node's addresses.
    ///
    /// # Errors
    /// When no cgroup v2 is named or mounted, and as [`Self::check`].
    pub fn datapath_settings(&self) -> Result<Settings, String> {
        self.check_periods()?;
        self.settings_with(self.cgroup_root()?)
    }

    /// What an agent would refuse of the values, whatever the node it starts on.
    ///
    /// # Errors
    /// Which key, and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        self.check_periods()?;
        self.settings_with(PathBuf::new())?.check().map_err(|e| e.to_string())
    }

    /// An update that has to wait must not make the node unhealthy; kube-proxy refuses the same.
    fn check_periods(&self) -> Result<(), String> {
        let text = |key| self.resolved.text(key);
        if self.min_sync_period() <= self.resolved.duration("syncPeriod") {
            return Ok(());
        }
        let (min, all) = (text("minSyncPeriod"), text("syncPeriod"));
        Err(format!("minSyncPeriod: {min} is longer than syncPeriod, which is {all}: shorten it"))
    }

    fn settings_with(&self, cgroup_root: PathBuf) -> Result<Settings, String> {
        let r = &self.resolved;
        let mut settings = Settings::new(r.text("bpfRoot"), cgroup_root);
        let rows = |path| u32::try_from(r.number(path)).unwrap_or(u32::MAX);
        settings.sizes = Sizes::new(rows("bpf.lbMapMax"), rows("bpf.ctTcpMax"));
        settings.sizes.affinity = rows("bpf.lbAffinityMapMax");
        settings.sizes.source_ranges = rows("bpf.lbSourceRangeMapMax");
        let dispatch = match r.text("loadBalancer.dsrDispatch") {
            "ipip" => feature::DSR_IPIP,
            "geneve" => feature::DSR_GENEVE,
            _ => feature::DSR_OPT,
        };
        settings.features = [
            ("ipv4.enabled", feature::IPV4),
            ("ipv6.enabled", feature::IPV6),
            ("nodePort.bindProtection", feature::BIND_PROTECTION),
            ("socketLB.hostNamespaceOnly", feature::HOST_NAMESPACE_ONLY),
        ]
        .into_iter()
        .filter(|(path, _)| r.bool(path))
        // Any service may ask for DSR by its annotation, so every node can take part in it.
        .fold(dispatch, |bits, (_, bit)| bits | bit);
        if !r.text("socketLB.optOutLabel").is_empty() {
            settings.features |= feature::OPT_OUT;
        }
        settings.acceleration = self.acceleration();
        if settings.acceleration != Acceleration::Disabled {
            settings.features |= feature::XDP;
        }
        settings.lifetimes = Lifetimes {
            tcp_established: r.duration("flows.tcpEstablishedTimeout"),
            tcp_syn: r.duration("flows.tcpSynTimeout"),
            tcp_closing: r.duration("flows.tcpClosingTimeout"),
            tcp_closed: r.duration("flows.tcpClosedTimeout"),
            udp_unconfirmed: r.duration("flows.udpUnconfirmedTimeout"),
            udp_confirmed: r.duration("flows.udpConfirmedTimeout"),
        };
        // A SNAT port must never be a NodePort.
        let above = self
            .node_port_range()
            .1
            .checked_add(1)
            .ok_or("nodePort.range leaves no ports for SNAT: end it at 65518 or before")?;
        settings.snat_ports = above.max(32768)..=u16::MAX;
        settings.maglev = self.maglev();
        Ok(settings)
    }

    /// `loadBalancer.acceleration`.
    #[must_use]
    pub fn acceleration(&self) -> Acceleration {
        match self.resolved.text("loadBalancer.acceleration") {
            "native" => Acceleration::Native,
            "best-effort" => Acceleration::BestEffort,
            "testing-only" => Acceleration::Generic,
            _ => Acceleration::Disabled,
        }
    }

    fn cgroup_root(&self) -> Result<PathBuf, String> {
        match self.resolved.text("cgroupRoot") {
            "" => cgroup2_mount().ok_or_else(|| {
                "no cgroup v2 is mounted: mount one with `mount -t cgroup2 none /sys/fs/cgroup`, or set --cgroup-root"
                    .into()
            }),
            path => Ok(path.into()),
        }
    }

    /// Whether sockets of departed backends are ended, and whether those of all protocols.
    #[must_use]
    pub fn ended_sockets(&self) -> (bool, bool) {
        let r = &self.resolved;
        (r.bool("socketLB.terminatePodConnections"), r.bool("socketLB.terminateAllProtocols"))
    }

    /// `maglev.*`.
    fn maglev(&self) -> maglev::Settings {
        let default = maglev::Settings::default();
        let size = self.resolved.text("maglev.tableSize").parse().unwrap_or(default.size);
        let seed = value::seed(self.resolved.text("maglev.hashSeed")).unwrap_or(default.seed);
        maglev::Settings { size, seed }
    }

    /// `nodePort.range`.
    #[must_use]
    pub fn node_port_range(&self) -> (u16, u16) {
        value::port_range(self.resolved.text("nodePort.range")).unwrap_or((30000, 32767))
    }

    /// `nodePort.addresses`.
    #[must_use]
    pub fn node_port_addresses(&self) -> NodePortAddresses {
        NodePortAddresses::new(self.resolved.list("nodePort.addresses"))
    }

    /// Whether a family is enabled.
    #[must_use]
    pub fn handles(&self, addr: IpAddr) -> bool {
        self.resolved.bool(if addr.is_ipv4() { "ipv4.enabled" } else { "ipv6.enabled" })
    }

    /// An address and port; `None` when the key is empty.
    #[must_use]
    pub fn socket(&self, key: &str) -> Option<SocketAddr> {
        self.resolved.text(key).parse().ok()
    }

    /// `bindAddress`, when it names an address.
    #[must_use]
    pub fn node_address(&self) -> Option<IpAddr> {
        self.resolved.text("bindAddress").parse().ok().filter(|a: &IpAddr| !a.is_unspecified())
    }

    /// For how long an update may wait before the node is unhealthy: kube-proxy's 2 x syncPeriod.
    #[must_use]
    pub fn health_patience(&self) -> Duration {
        self.resolved.duration("syncPeriod") * 2
    }

    /// How long a batch of changes is gathered when the last one has just been written.
    #[must_use]
    pub fn min_sync_period(&self) -> Duration {
        self.resolved.duration("minSyncPeriod")
    }

    /// How often what we remember is compared with what the maps and interfaces really have. Ten times `syncPeriod`: nobody
    /// else writes to our maps, and reading them all back holds up what else there is to do.
    #[must_use]
    pub fn resync_period(&self) -> Duration {
        self.resolved.duration("syncPeriod") * 10
    }

    /// `oomScoreAdj`.
    #[must_use]
    pub fn oom_score_adj(&self) -> Option<i16> {
        value::score(self.resolved.text("oomScoreAdj"))
    }

    /// Where /metrics answers.
    #[must_use]
    pub fn metrics_port(&self) -> Option<u16> {
        let port = u16::try_from(self.resolved.number("prometheus.port")).ok();
        port.filter(|_| self.resolved.bool("prometheus.enabled"))
    }

    /// A directory or file; `None` when the key is empty.
    #[must_use]
    pub fn path(&self, key: &str) -> Option<PathBuf> {
        Some(self.resolved.text(key)).filter(|t| !t.is_empty()).map(PathBuf::from)
    }
}

impl Resolved {
    /// A switch.
    #[must_use]
    pub fn bool(&self, path: &str) -> bool {
        match self.value(path) {
            Value::Bool(value) => *value,
            Value::Text(text) => text == "true",
            _ => false,
        }
    }

    /// A number.
    #[must_use]
    pub fn number(&self, path: &str) -> u64 {
        if let Value::Number(value) = self.value(path) { *value } else { 0 }
    }

    /// A text.
    #[must_use]
    pub fn text(&self, path: &str) -> &str {
        if let Value::Text(value) = self.value(path) { value } else { "" }
    }

    /// A list.
    #[must_use]
    pub fn list(&self, path: &str) -> &[String] {
        if let Value::List(value) = self.value(path) { value } else { &[] }
    }

    fn duration(&self, path: &str) -> Duration {
        value::duration(self.text(path)).unwrap_or_default()
    }
}

fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_lowercase()).filter(|n| !n.is_empty())
}

/// The first cgroup v2 mount of this process.
fn cgroup2_mount() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let line = mounts.lines().find(|l| l.split(' ').nth(2) == Some("cgroup2"))?;
    line.split(' ').nth(1).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layers;

    fn config(set: &[&str]) -> Config {
        let set = set.iter().map(ToString::to_string).collect();
        Config::new(Resolved::new(&Layers { set, ..Layers::default() }).unwrap()).unwrap()
    }

    #[test]
    fn sync_period_paces_the_comparison_and_the_patience_and_is_never_shorter_than_its_least() {
        let at = |set: &[&str]| {
            let config = config(set);
            [config.min_sync_period(), config.health_patience(), config.resync_period()]
                .map(|d| d.as_millis())
        };
        assert_eq!(at(&[]), [2, 60_000, 300_000]);
        assert_eq!(at(&["syncPeriod=10s", "minSyncPeriod=1s"]), [1000, 20_000, 100_000]);
        let wrong = config(&["cgroupRoot=/c", "minSyncPeriod=31s"]);
        for error in [wrong.check().unwrap_err(), wrong.datapath_settings().unwrap_err()] {
            assert!(error.contains("minSyncPeriod: 31s is longer than syncPeriod, which is 30s"), "{error}");
        }
    }

    #[test]
    fn load_balancers_addresses_answer_health_checks_unless_one_of_the_keys_says_no() {
        let answered = |set: &[&str]| config(set).model_options().health_check_vips;
        assert!(answered(&[]));
        for key in ["nodePort.enableHealthCheck", "nodePort.enableHealthCheckLoadBalancerIP"] {
            assert!(!answered(&[&format!("{key}=false")]), "{key}");
        }
    }

    #[test]
    fn acceleration_asks_for_the_program_too() {
        for (word, wanted) in [
            ("native", Acceleration::Native),
            ("best-effort", Acceleration::BestEffort),
            ("testing-only", Acceleration::Generic),
        ] {
            let set = format!("loadBalancer.acceleration={word}");
            let settings = config(&["cgroupRoot=/c", &set]).datapath_settings().unwrap();
            assert_eq!(settings.acceleration, wanted);
            assert_eq!(settings.features & feature::XDP, feature::XDP);
        }
    }

    #[test]
    fn the_defaults_are_the_datapaths_own() {
        let config = config(&["cgroupRoot=/c", "bpfRoot=/b"]);
        assert_eq!(config.datapath_settings().unwrap(), Settings::new("/b", "/c"));
    }

    #[test]
    fn programs_look_for_pods_that_opted_out_only_where_a_label_is_named() {
        let features = |set: &[&str]| config(set).datapath_settings().unwrap().features & feature::OPT_OUT;
        assert_eq!(features(&["cgroupRoot=/c"]), 0);
        assert_eq!(features(&["cgroupRoot=/c", "socketLB.optOutLabel=a/b"]), feature::OPT_OUT);
    }
}
