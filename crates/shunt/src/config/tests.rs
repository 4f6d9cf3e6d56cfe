use super::*;

fn origin(resolved: &Resolved, path: &str) -> (String, String) {
    let (value, origin) = &resolved.0[path];
    (value.to_string(), origin.to_string())
}

#[test]
fn the_stronger_layer_wins_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("shunt.yaml");
    std::fs::write(&file, "prometheus:\n  port: 1\nipv6:\n  enabled: false\nbpf:\n  lbMapMax: 7\n").unwrap();
    let layers = Layers {
        file: Some(file.clone()),
        environment: vec![("SHUNT_PROMETHEUS_PORT".into(), "2".into()), ("PATH".into(), "x".into())],
        set: vec!["prometheus.port=3".into(), "bpf.lbMapMax=8".into()],
        flags: vec![("nodeName", "node-name", "n1".into())],
        ..Layers::default()
    };
    let resolved = Resolved::new(&layers).unwrap();
    assert_eq!(origin(&resolved, "prometheus.port"), ("3".into(), "--set".into()));
    assert_eq!(origin(&resolved, "bpf.lbMapMax"), ("8".into(), "--set".into()));
    let from_file = format!("file {}:4", file.display());
    assert_eq!(origin(&resolved, "ipv6.enabled"), ("false".into(), from_file));
    assert_eq!(origin(&resolved, "nodeName"), ("n1".into(), "flag --node-name".into()));
    assert_eq!(origin(&resolved, "ipv4.enabled"), ("true".into(), "default".into()));
    let layers = Layers { set: Vec::new(), ..layers };
    let resolved = Resolved::new(&layers).unwrap();
    assert_eq!(
        origin(&resolved, "prometheus.port"),
        ("2".into(), "environment SHUNT_PROMETHEUS_PORT".into())
    );
}

#[test]
fn a_kube_proxy_config_is_below_our_own_file_and_may_stand_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (dir.path().join("shunt.yaml"), dir.path().join("config.conf"));
    std::fs::write(&ours, "syncPeriod: 10s\n").unwrap();
    let text = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n\
                hostnameOverride: n1\niptables:\n  syncPeriod: 20s\n";
    std::fs::write(&theirs, text).unwrap();
    let from = |line| format!("kube-proxy config {}:{line}", theirs.display());
    let both = Layers { kube_proxy: Some(theirs.clone()), file: Some(ours.clone()), ..Layers::default() };
    let resolved = Resolved::new(&both).unwrap();
    let file = format!("file {}:1", ours.display());
    assert_eq!(origin(&resolved, "syncPeriod"), ("10s".into(), file));
    assert_eq!(origin(&resolved, "nodeName"), ("n1".into(), from(3)));
    let alone = Layers { file: Some(theirs.clone()), ..Layers::default() };
    let resolved = Resolved::new(&alone).unwrap();
    assert_eq!(origin(&resolved, "syncPeriod"), ("20s".into(), from(5)));
    assert_eq!(resolved.notes().len(), 1);
    let twice = Layers { kube_proxy: Some(theirs.clone()), ..alone };
    assert!(Resolved::new(&twice).unwrap_err()[0].to_string().contains("leave one out"));
    let wrong = Layers { kube_proxy: Some(ours), ..Layers::default() };
    assert!(Resolved::new(&wrong).unwrap_err()[0].to_string().contains("only KubeProxyConfiguration"));
}

#[test]
fn everything_wrong_is_told_at_once() {
    let layers = Layers {
        set: vec!["nodePort.rang=1-2".into(), "x".into()],
        environment: vec![("SHUNT_IPV6_ENABLED".into(), "no".into())],
        ..Layers::default()
    };
    let errors = Resolved::new(&layers).unwrap_err();
    let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(all[0].contains("SHUNT_IPV6_ENABLED: ipv6.enabled"), "{all:?}");
    assert!(all[1].contains("did you mean nodePort.range?"), "{all:?}");
}

#[test]
fn what_kubernetes_sets_for_a_service_whose_name_is_like_a_key_is_ignored_and_ones_own_value_is_not() {
    let resolve = |variables: &[(&str, &str)]| {
        let environment = variables.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
        Resolved::new(&Layers { environment, ..Layers::default() })
    };
    let links = [
        ("SHUNT_PROMETHEUS_SERVICE_HOST", "10.96.0.7"),
        ("SHUNT_PROMETHEUS_SERVICE_PORT", "9962"),
        ("SHUNT_PROMETHEUS_PORT_9962_TCP", "tcp://10.96.0.7:9962"),
    ];
    let with = |port| [&links[..], &[("SHUNT_PROMETHEUS_PORT", port)]].concat();
    let resolved = resolve(&with("tcp://10.96.0.7:9962")).unwrap();
    assert_eq!(origin(&resolved, "prometheus.port").1, "default");
    let resolved = resolve(&with("7")).unwrap();
    assert_eq!(origin(&resolved, "prometheus.port").0, "7");
    // Without such a Service it is a mistake, and told.
    assert!(resolve(&[("SHUNT_PROMETHEUS_PORT", "tcp://10.96.0.7:9962")]).is_err());
}
