//! The one table of configuration keys: what Helm values, `shunt.yaml`, the environment, `--set` and flags may say.

/// What a key's value may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number between two bounds, both included.
    Number(u64, u64),
    /// Two ports, `30000-32767`; both ends are in the range.
    PortRange,
    /// Any text.
    Text,
    /// An address and a port, `0.0.0.0:10256`; empty for none.
    Socket,
    /// An IP address; empty for none.
    Address,
    /// A whole number from -1000 to 1000; empty for none.
    Score,
    /// The key of a label, `example.com/name`; empty for none.
    Label,
    /// A time such as `90s`, `2h13m20s`.
    Duration,
    /// One of the first words; one of the second is a word that users know and this version does not do yet.
    OneOf(&'static [&'static str], &'static [&'static str]),
    /// Twelve bytes in base64.
    Seed,
    /// Any number of words.
    List,
    /// Any number of address ranges.
    Nets,
    /// Any number of address ranges, and the words `primary`, `localhost` and `all` (KEP-6032).
    Ranges,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Where it stands in the file, with dots between levels.
    pub path: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// Its value when nobody says anything, as one would write it.
    pub default: &'static str,
    /// What it does.
    pub doc: &'static str,
}

impl Key {
    /// The environment variable: `nodePort.bindProtection` is `SHUNT_NODE_PORT_BIND_PROTECTION`.
    #[must_use]
    pub fn variable(&self) -> String {
        let mut name = String::from("SHUNT_");
        let mut previous = '.';
        for c in self.path.chars() {
            // `externalIPs`, `lbExternalClusterIP` and `k8sServiceHost` must not fall to pieces.
            if c.is_ascii_uppercase() && previous.is_ascii_lowercase() {
                name.push('_');
            }
            name.push(if c == '.' { '_' } else { c.to_ascii_uppercase() });
            previous = c;
        }
        name
    }

    /// The allowed values, for messages.
    #[must_use]
    pub fn allowed(&self) -> String {
        match self.kind {
            Kind::Bool => "true or false".into(),
            Kind::Number(min, max) => format!("a number from {min} to {max}"),
            Kind::PortRange => "two ports, such as 30000-32767".into(),
            Kind::Text => "text".into(),
            Kind::Socket => "an address and port, such as 0.0.0.0:10256, or nothing".into(),
            Kind::Address => "an IP address, or nothing".into(),
            Kind::Score => "a number from -1000 to 1000, or nothing".into(),
            Kind::Label => "the key of a label, such as shunt.io/socket-lb, or nothing".into(),
            Kind::Duration => "a time, such as 90s or 2h30m".into(),
            Kind::OneOf(words, _) => words.join(", "),
            Kind::Seed => "twelve bytes in base64 (head -c12 /dev/urandom | base64 -w0)".into(),
            Kind::List => "a list".into(),
            Kind::Nets => "a list of address ranges, such as 10.244.0.0/16".into(),
            Kind::Ranges => {
                "a list of address ranges, such as 192.0.2.0/24, and of primary, localhost, all".into()
            }
        }
    }
}

const fn key(path: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { path, kind, default, doc }
}

const ROWS: Kind = Kind::Number(1, 16_777_216);

/// Every key, in order of the listing.
pub const KEYS: &[Key] = &[
    key("nodeName", Kind::Text, "", "This node's name in Kubernetes; the host name when empty."),
    key("kubeProxyReplacement", Kind::OneOf(&["true"], &["false"]), "true", "Serve every kind of Service."),
    key(
        "k8sServiceHost",
        Kind::Text,
        "",
        "The API server's address; with the service account's token and CA.",
    ),
    key("k8sServicePort", Kind::Number(1, 65535), "6443", "The API server's port."),
    key(
        "k8s.serviceProxyName",
        Kind::Text,
        "",
        "Serve the Services labelled for a proxy of this name; those without the label when empty.",
    ),
    key("kubeconfig", Kind::Text, "", "A kubeconfig file to reach the API server with."),
    key("manifests", Kind::Text, "", "A directory of manifests to serve in place of an API server."),
    key("bpfRoot", Kind::Text, "/sys/fs/bpf/shunt", "Where maps, links and programs are pinned."),
    key(
        "cgroupRoot",
        Kind::Text,
        "",
        "The cgroup v2 whose sockets are translated; the cgroup2 mount when empty.",
    ),
    key("runDir", Kind::Text, "/run/shunt", "Where the agent's socket is."),
    key(
        "devices",
        Kind::List,
        "",
        "The devices, `eth+` and `!eth3` allowed; found by themselves when empty. What is excluded is no pod interface either.",
    ),
    key("nodePort.enabled", Kind::Bool, "true", "Serve NodePorts."),
    key("nodePort.range", Kind::PortRange, "30000-32767", "The ports that NodePorts may have."),
    key(
        "nodePort.addresses",
        Kind::Ranges,
        "",
        "Node addresses that answer; the primary of each family when empty.",
    ),
    key(
        "nodePort.bindProtection",
        Kind::Bool,
        "true",
        "Refuse to let a process of the node bind a NodePort.",
    ),
    key(
        "nodePort.autoProtectPortRange",
        Kind::Bool,
        "true",
        "Keep the kernel from giving NodePorts to sockets as source ports.",
    ),
    key(
        "hostPort.enabled",
        Kind::Bool,
        "false",
        "Serve the host ports of this node's pods, where no CNI plugin does; needs to list and watch pods.",
    ),
    key("nodePort.enableHealthCheck", Kind::Bool, "true", "Answer on the healthCheckNodePort of services."),
    key(
        "nodePort.enableHealthCheckLoadBalancerIP",
        Kind::Bool,
        "true",
        "Answer health checks also on load balancer addresses, whatever the source ranges say.",
    ),
    key("externalIPs.enabled", Kind::Bool, "true", "Serve spec.externalIPs."),
    key(
        "loadBalancer.mode",
        Kind::OneOf(&["snat", "dsr", "hybrid"], &["annotation"]),
        "snat",
        "How remote backends are reached: from the node's address (snat), or so that they answer the client themselves (dsr); hybrid: dsr for TCP, snat for UDP. A Service may say otherwise (shunt.io/forwarding-mode).",
    ),
    key(
        "loadBalancer.algorithm",
        Kind::OneOf(&["random", "maglev"], &[]),
        "random",
        "How a backend is picked, where a Service has no annotation that says so (shunt.io/lb-algorithm): by chance, or by a table that is the same on every node (maglev), so that a flow goes on with its backend when its packets come to another node. Sockets are always served by chance.",
    ),
    key(
        "maglev.tableSize",
        Kind::OneOf(
            &["251", "509", "1021", "2039", "4093", "8191", "16381", "32749", "65521", "131071"],
            &[],
        ),
        "16381",
        "Values in a Maglev table, the same on every node; a hundred times the backends of the largest service or more. A service takes one byte for each, two from 257 backends on; one that finds no room is served by chance and told.",
    ),
    key(
        "maglev.hashSeed",
        Kind::Seed,
        "JLfvgnHc2kaSUFaI",
        "Twelve bytes in base64, the same on every node and best no other cluster's, that Maglev hashes with. Another seed or size builds every table anew.",
    ),
    key(
        "loadBalancer.acceleration",
        Kind::OneOf(&["disabled", "native", "best-effort", "testing-only"], &[]),
        "disabled",
        "XDP in the drivers of devices: native refuses to start where one cannot, best-effort falls back to tc there.",
    ),
    key(
        "loadBalancer.dsrDispatch",
        Kind::OneOf(&["opt", "ipip", "geneve"], &[]),
        "opt",
        "How DSR tells a backend's node the service's address: in an option of the IP header (opt), by carrying the client's whole packet in another (ipip), or in the header of a tunnel over UDP port 6081 (geneve). The same on all nodes.",
    ),
    key(
        "loadBalancer.serviceTopology",
        Kind::Bool,
        "true",
        "Prefer endpoints that topology hints name for this node or zone.",
    ),
    key(
        "socketLB.hostNamespaceOnly",
        Kind::Bool,
        "false",
        "Leave pods' sockets to the packet path: sidecars and virtual machines see the service's address.",
    ),
    key(
        "socketLB.optOutLabel",
        Kind::Label,
        "",
        "The label (such as shunt.io/socket-lb) by which pods, with the value disabled on them or their namespace, leave the \
         socket path; needs to list and watch pods and namespaces; nobody can when empty.",
    ),
    key("socketLB.enabled", Kind::OneOf(&["true"], &["false"]), "true", "Translate at connect and sendmsg."),
    key(
        "socketLB.terminatePodConnections",
        Kind::Bool,
        "true",
        "End connected UDP sockets, in pods too, whose backend is gone.",
    ),
    key(
        "socketLB.terminateAllProtocols",
        Kind::Bool,
        "false",
        "With terminatePodConnections: end TCP connections of sockets to such a backend too.",
    ),
    key("ipv4.enabled", Kind::Bool, "true", "Handle IPv4."),
    key("ipv6.enabled", Kind::Bool, "true", "Handle IPv6."),
    key(
        "bpf.lbMapMax",
        ROWS,
        defaults::LB_MAP_MAX,
        "Frontends of each family; backends and pools grow with it.",
    ),
    key(
        "bpf.ctTcpMax",
        Kind::Number(2, 1 << 26),
        defaults::FLOW_ROWS,
        "Flow rows of each family, two a flow.",
    ),
    key(
        "bpf.lbAffinityMapMax",
        ROWS,
        defaults::AFFINITY_ROWS,
        "Clients that session affinity remembers, both families together.",
    ),
    key("bpf.lbSourceRangeMapMax", ROWS, defaults::SOURCE_RANGES, "Source ranges of each family."),
    key(
        "bpf.lbSourceRangeAllTypes",
        Kind::Bool,
        "false",
        "Let loadBalancerSourceRanges hold for NodePorts and external IPs too.",
    ),
    key("bpf.lbExternalClusterIP", Kind::Bool, "false", "Let ClusterIPs answer to the outside."),
    key(
        "bpf.disableExternalIPMitigation",
        Kind::Bool,
        "false",
        "Serve external IPs that are ClusterIPs or pods' addresses (CVE-2020-8554).",
    ),
    key(
        "clusterCIDR",
        Kind::Nets,
        "",
        "Where pods of all nodes have their addresses; a node is told only of its own (podCIDRs). No external IP and no address of a load balancer may be among them.",
    ),
    key(
        "flows.tcpEstablishedTimeout",
        Kind::Duration,
        "2h13m20s",
        "Silence that ends an established TCP flow.",
    ),
    key("flows.tcpSynTimeout", Kind::Duration, "60s", "Silence that ends a TCP flow in its handshake."),
    key("flows.tcpClosingTimeout", Kind::Duration, "120s", "Silence that ends a TCP flow after one FIN."),
    key(
        "flows.tcpClosedTimeout",
        Kind::Duration,
        "10s",
        "Silence that ends a TCP flow after both FINs or a RST.",
    ),
    key(
        "flows.udpUnconfirmedTimeout",
        Kind::Duration,
        "30s",
        "Silence that ends a UDP flow without a reply.",
    ),
    key("flows.udpConfirmedTimeout", Kind::Duration, "120s", "Silence that ends a UDP flow with a reply."),
    key("prometheus.enabled", Kind::Bool, "true", "Serve /metrics."),
    key("prometheus.port", Kind::Number(1, 65535), "9962", "The port of /metrics."),
    key(
        "kubeProxyReplacementHealthzBindAddr",
        Kind::Socket,
        "0.0.0.0:10256",
        "Where /healthz and /livez answer.",
    ),
    key(
        "metricsBindAddress",
        Kind::Socket,
        "127.0.0.1:10249",
        "Where /metrics, /proxyMode, /configz and /healthz answer as kube-proxy's do.",
    ),
    key(
        "bindAddressHardFail",
        Kind::Bool,
        "false",
        "End when a port of these is taken, in place of trying again.",
    ),
    key(
        "bindAddress",
        Kind::Address,
        "",
        "This node's own address, before those of its Node object; by the Node object when empty or unspecified.",
    ),
    key(
        "syncPeriod",
        Kind::Duration,
        "30s",
        "The maps are compared with what they should hold every ten times as long; an update that waits for twice as long \
         makes the node unhealthy.",
    ),
    key(
        "minSyncPeriod",
        Kind::Duration,
        "2ms",
        "So long at least between two writes of changes; the first after a pause is written at once.",
    ),
    key("oomScoreAdj", Kind::Score, "", "The agent's own oom_score_adj; left alone when empty."),
];

/// Defaults that are numbers elsewhere; a test holds them together.
mod defaults {
    pub(super) const LB_MAP_MAX: &str = "65536";
    pub(super) const FLOW_ROWS: &str = "524288";
    pub(super) const AFFINITY_ROWS: &str = "65536";
    pub(super) const SOURCE_RANGES: &str = "65536";
}

/// Other paths by which users of Cilium's chart know a key.
const ALIASES: [(&str, &str); 1] = [("nodePort.acceleration", "loadBalancer.acceleration")];

/// The key at a path, or at one of its other paths.
#[must_use]
pub fn find(path: &str) -> Option<&'static Key> {
    let path = ALIASES.iter().find(|(alias, _)| *alias == path).map_or(path, |(_, path)| path);
    KEYS.iter().find(|k| k.path == path)
}

/// The known path nearest to a mistaken one, when it is near enough to be meant.
#[must_use]
pub fn suggest(path: &str) -> Option<&'static str> {
    let near = KEYS.iter().map(|k| (distance(&path.to_lowercase(), &k.path.to_lowercase()), k.path)).min()?;
    (near.0 <= path.len().div_ceil(3)).then_some(near.1)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use shunt_common::maps;

    #[test]
    fn variables_follow_the_path() {
        let variable = |path| find(path).unwrap().variable();
        assert_eq!(variable("nodePort.bindProtection"), "SHUNT_NODE_PORT_BIND_PROTECTION");
        assert_eq!(variable("externalIPs.enabled"), "SHUNT_EXTERNAL_IPS_ENABLED");
        assert_eq!(variable("k8sServiceHost"), "SHUNT_K8S_SERVICE_HOST");
        assert_eq!(variable("bpf.lbExternalClusterIP"), "SHUNT_BPF_LB_EXTERNAL_CLUSTER_IP");
    }

    #[test]
    fn every_default_is_allowed_and_every_path_unique() {
        let mut paths: Vec<_> = KEYS.iter().map(|k| k.path).collect();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), KEYS.len());
        for key in KEYS {
            crate::config::Value::parse(key, key.default).unwrap_or_else(|e| panic!("{}: {e}", key.path));
        }
        assert_eq!(defaults::LB_MAP_MAX, maps::LB_MAP_MAX.to_string());
        assert_eq!(defaults::FLOW_ROWS, maps::FLOW_ROWS.to_string());
        assert_eq!(defaults::AFFINITY_ROWS, maps::AFFINITY_ROWS.to_string());
        assert_eq!(defaults::SOURCE_RANGES, maps::SOURCE_RANGES.to_string());
    }

    #[test]
    fn an_alias_names_the_same_key() {
        assert_eq!(find("nodePort.acceleration").unwrap().path, "loadBalancer.acceleration");
    }

    #[test]
    fn a_slip_of_the_pen_finds_what_was_meant() {
        assert_eq!(suggest("nodeport.enable"), Some("nodePort.enabled"));
        assert_eq!(suggest("loadbalancer.algoritm"), Some("loadBalancer.algorithm"));
        assert_eq!(suggest("zzz"), None);
    }
}
