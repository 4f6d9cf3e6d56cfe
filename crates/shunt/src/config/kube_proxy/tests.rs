use super::*;
use std::collections::BTreeMap;

/// As kubeadm 1.3x writes it, every field that it leaves alone included.
const KUBEADM: &str = include_str!("kubeadm-config.conf");

fn read(text: &str) -> Read {
    parse(Path::new("/nonexistent/config.conf"), text, 2).unwrap_or_else(|e| panic!("{e:?}"))
}

fn with(more: &str) -> String {
    format!("apiVersion: {GROUP}v1alpha1\nkind: {KIND}\n{more}")
}

fn values(read: &Read) -> BTreeMap<&str, String> {
    read.settings.iter().map(|s| (s.key.path, s.value.to_string())).collect()
}

fn value(more: &str, key: &str) -> Option<String> {
    values(&read(&with(more))).get(key).cloned()
}

fn notes(read: &Read) -> Vec<String> {
    let text = |n: &Note| match n {
        Note::Info(text) => format!("info: {text}"),
        Note::Warning(text) => format!("warning: {text}"),
    };
    read.notes.iter().map(text).collect()
}

fn errors(text: &str) -> Vec<String> {
    let wrong = parse(Path::new("c"), text, 2).err().unwrap_or_default();
    wrong.iter().map(ToString::to_string).collect()
}

#[test]
fn kubeadms_config_conf_is_taken_as_it_stands() {
    let read = read(KUBEADM);
    let expected = [
        ("bindAddress", "0.0.0.0"),
        ("bindAddressHardFail", "false"),
        ("clusterCIDR", "10.244.0.0/16"),
        ("flows.tcpClosingTimeout", "1h"),
        ("flows.tcpEstablishedTimeout", "24h"),
        ("kubeconfig", "/var/lib/kube-proxy/kubeconfig.conf"),
        ("nodePort.addresses", "primary,localhost"),
        ("oomScoreAdj", "-999"),
    ];
    assert_eq!(values(&read), expected.map(|(k, v)| (k, v.to_owned())).into());
    let notes = notes(&read);
    assert_eq!(notes.len(), 2, "{notes:#?}");
    assert!(notes[0].starts_with("info: /nonexistent/config.conf: accepted and ignored: "), "{notes:#?}");
    assert!(notes[0].contains("winkernel (for Windows)"), "{notes:#?}");
    assert!(notes[1].starts_with("info: nodePortAddresses is not set: "), "{notes:#?}");
}

#[test]
fn it_is_recognised_by_what_it_says_it_is() {
    assert!(recognise(KUBEADM));
    assert!(recognise(&with("")));
    assert!(!recognise("nodePort: {enabled: true}"));
    assert!(!recognise("- a"));
}

#[test]
fn another_version_or_kind_is_an_error_that_names_what_is_known() {
    let all = errors(&with("").replace("v1alpha1", "v1beta9"));
    assert!(all[0].contains("v1beta9") && all[0].contains("kubeproxy.config.k8s.io/v1alpha1"), "{all:?}");
    assert!(errors("a: [1")[0].starts_with("c: is not YAML"));
}

#[test]
fn unknown_and_duplicate_fields_are_warnings_and_the_rest_counts() {
    let read = read(&with("iptablez: {a: 1}\nhostnameoverride: N1\niptables: {syncPeriod: 10s, foo: 1}\n"));
    assert_eq!(values(&read)["nodeName"], "n1");
    assert_eq!(values(&read)["syncPeriod"], "10s");
    let notes = notes(&read);
    let says =
        "does not have are ignored: hostnameoverride (taken for hostnameOverride), iptables.foo, iptablez.a";
    assert!(notes[0].starts_with("warning: ") && notes[0].contains(says), "{notes:#?}");
    let twice = self::read(&with("hostnameOverride: a\nhostnameOverride: b\n"));
    assert_eq!(values(&twice)["nodeName"], "b");
    assert!(self::notes(&twice)[0].contains("the last one counts"));
}

#[test]
fn a_value_of_the_wrong_type_is_an_error_that_names_file_line_and_field() {
    let all = errors(&with("oomScoreAdj: high\niptables:\n  syncPeriod: soon\nbindAddress: eth0\n"));
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(all.iter().any(|e| e.starts_with("c:3: oomScoreAdj: \"high\" is not a number")), "{all:?}");
    assert!(
        all.iter().any(|e| e.starts_with("c:5: iptables.syncPeriod: \"soon\" is not a duration")),
        "{all:?}"
    );
    assert!(all.iter().any(|e| e.starts_with("c:6: bindAddress: \"eth0\"")), "{all:?}");
}

#[test]
fn each_field_that_means_something_here_becomes_a_setting() {
    let health = "kubeProxyReplacementHealthzBindAddr";
    for (yaml, key, expected) in [
        ("hostnameOverride: ' Node-1 '", "nodeName", "node-1"),
        ("clientConnection: {kubeconfig: /k}", "kubeconfig", "/k"),
        ("healthzBindAddress: 0.0.0.0", health, "0.0.0.0:10256"),
        ("healthzBindAddress: '::'", health, "[::]:10256"),
        ("healthzBindAddress: '[::]'", health, "[::]:10256"),
        ("healthzBindAddress: 127.0.0.1:1", health, "127.0.0.1:1"),
        ("bindAddress: '::'", health, "[::]:10256"),
        ("bindAddress: '::'", "metricsBindAddress", "[::1]:10249"),
        ("metricsBindAddress: 0.0.0.0", "metricsBindAddress", "0.0.0.0:10249"),
        ("bindAddressHardFail: true", "bindAddressHardFail", "true"),
        ("oomScoreAdj: -5", "oomScoreAdj", "-5"),
        (
            "nodePortAddresses: [primary, localhost, 10.0.0.0/8]",
            "nodePort.addresses",
            "primary,localhost,10.0.0.0/8",
        ),
        ("iptables: {localhostNodePorts: true}", "nodePort.addresses", "primary,localhost"),
        ("nodePortAddresses: [0.0.0.0/0]", "nodePort.addresses", "0.0.0.0/0,localhost"),
        ("mode: ipvs\nnodePortAddresses: [0.0.0.0/0]", "nodePort.addresses", "0.0.0.0/0"),
        (
            "nodePortAddresses: [0.0.0.0/0]\niptables: {localhostNodePorts: false}",
            "nodePort.addresses",
            "0.0.0.0/0",
        ),
        ("iptables: {syncPeriod: 45s}", "syncPeriod", "45s"),
        ("mode: nftables\nnftables: {syncPeriod: 1m30s}\niptables: {syncPeriod: 45s}", "syncPeriod", "1m30s"),
        ("mode: ipvs\nipvs: {syncPeriod: 20s}", "syncPeriod", "20s"),
        ("iptables: {minSyncPeriod: 1s}\nnftables: {minSyncPeriod: 2s}", "minSyncPeriod", "1s"),
        ("mode: nftables\nnftables: {minSyncPeriod: 500ms}", "minSyncPeriod", "500ms"),
        ("mode: ipvs\nipvs: {minSyncPeriod: 3s}", "minSyncPeriod", "3s"),
        ("conntrack: {tcpEstablishedTimeout: 24h0m0s}", "flows.tcpEstablishedTimeout", "24h0m0s"),
        ("conntrack: {tcpCloseWaitTimeout: 1h0m0s}", "flows.tcpClosingTimeout", "1h0m0s"),
        ("conntrack: {udpTimeout: 30s}", "flows.udpUnconfirmedTimeout", "30s"),
        ("conntrack: {udpStreamTimeout: 3m}", "flows.udpConfirmedTimeout", "3m"),
        ("featureGates: {AllowServiceExternalIPs: false}", "externalIPs.enabled", "false"),
    ] {
        assert_eq!(value(yaml, key).as_deref(), Some(expected), "{yaml}");
    }
}

#[test]
fn flow_rows_are_two_for_each_flow_that_kube_proxy_would_let_netfilter_have() {
    for (yaml, rows) in [
        ("conntrack: {maxPerCore: 32768, min: 131072}", Some("262144")),
        ("conntrack: {maxPerCore: 100000}", Some("400000")),
        ("conntrack: {min: 300000}", Some("600000")),
        ("conntrack: {maxPerCore: 100000000}", Some("2097152")),
        ("conntrack: {maxPerCore: 0, min: 5}", None),
        ("conntrack: {maxPerCore: null, min: null}", None),
    ] {
        assert_eq!(value(yaml, "bpf.ctTcpMax").as_deref(), rows, "{yaml}");
    }
}

#[test]
fn times_of_zero_and_empty_fields_leave_our_defaults() {
    let yaml = "conntrack: {tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s, udpTimeout: 0h0m0s}\nhealthzBindAddress: ''\nmode: nftables\n";
    let read = read(&with(yaml));
    assert_eq!(values(&read), [("oomScoreAdj", "-999".to_owned())].into());
}

#[test]
fn what_is_asked_for_and_not_done_is_a_warning() {
    for (yaml, says) in [
        ("iptables: {masqueradeAll: true}", "iptables.masqueradeAll: "),
        ("mode: ipvs\nipvs: {scheduler: lc}", "ipvs.scheduler \"lc\": "),
        ("featureGates: {Other: true}", "feature gates without a meaning here are ignored: Other"),
    ] {
        let notes = notes(&read(&with(yaml)));
        assert!(notes.iter().any(|n| n.starts_with(&format!("warning: {says}"))), "{yaml}: {notes:#?}");
    }
}

#[test]
fn a_kubeconfig_beside_the_file_stands_in_for_one_that_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let beside = dir.path().join("kubeconfig.conf");
    let asked =
        |text: &str| values(&parse(&dir.path().join("config.conf"), text, 2).unwrap())["kubeconfig"].clone();
    let missing = with("clientConnection: {kubeconfig: /nonexistent/kubeconfig.conf}");
    assert_eq!(asked(&missing), "/nonexistent/kubeconfig.conf");
    std::fs::write(&beside, "").unwrap();
    assert_eq!(asked(&missing), beside.display().to_string());
}

#[test]
fn the_guide_names_every_field_and_why_one_has_no_effect() {
    let guide = include_str!("../../../../../docs/kube-proxy.md");
    let told = |name: &str, what: &Do| match what {
        Do::Use => guide.contains(&format!("`{name}`")),
        Do::Ignore(why) => {
            let end = format!("| {why} |");
            guide.lines().any(|line| line.contains(&format!("`{name}`")) && line.ends_with(&end))
        }
    };
    let missing: Vec<_> = FIELDS
        .iter()
        .filter(|(name, what)| !["apiVersion", "kind"].contains(name) && !told(name, what))
        .map(|(name, _)| *name)
        .collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn what_has_no_effect_is_one_line_with_the_reason_of_each() {
    let read = read(&with(
        "detectLocal: {bridgeInterface: cni0}\ndetectLocalMode: BridgeInterface\nenableProfiling: false\n",
    ));
    let ignored: Vec<_> = notes(&read).into_iter().filter(|n| n.contains("accepted and ignored")).collect();
    assert_eq!(ignored.len(), 1, "{ignored:?}");
    assert!(ignored[0].starts_with("info: /nonexistent/config.conf: accepted and ignored: "), "{ignored:?}");
    for field in ["detectLocal.bridgeInterface", "detectLocalMode"] {
        assert!(ignored[0].contains(&format!("{field} (pods are known by their interfaces)")), "{ignored:?}");
    }
    assert!(!ignored[0].contains("enableProfiling"), "it asks for nothing: {ignored:?}");
}
