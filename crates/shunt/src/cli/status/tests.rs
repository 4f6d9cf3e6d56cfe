use super::*;
use crate::server::api::{Accelerated, Attached, Counts, Failure, OptOut, Source, Sync};

fn status() -> Status {
    let settings = [
        ("kubeProxyReplacement", "true"),
        ("socketLB.enabled", "true"),
        ("loadBalancer.mode", "snat"),
        ("loadBalancer.dsrDispatch", "opt"),
        ("loadBalancer.algorithm", "random"),
        ("loadBalancer.acceleration", "disabled"),
        ("nodePort.enabled", "true"),
        ("nodePort.range", "30000-32767"),
        ("externalIPs.enabled", "false"),
    ];
    Status {
        version: "0.1.0".into(),
        pid: 7,
        node: "n1".into(),
        uptime_seconds: 60,
        source: Source { kind: "Manifests".into(), at: "/m".into(), down: Default::default() },
        sync: Sync { synced: true, settled: true, ..Sync::default() },
        counts: Counts { services: 1, frontends: 2, backends: 3 },
        devices: vec![DeviceInfo {
            name: "eth0".into(),
            addr4: Some("192.0.2.1".parse().unwrap()),
            addr6: Some("2001:db8::1".parse().unwrap()),
            ethernet: true,
            default_route: true,
            mtu: 1500,
        }],
        acceleration: vec![Accelerated {
            device: "eth0".into(),
            runs: "tc".into(),
            why: Some("its driver takes no XDP program".into()),
        }],
        pod_interfaces: vec!["lxc1".into()],
        node_port_addresses: vec!["192.0.2.1".parse().unwrap()],
        attachments: vec![Attached {
            hook: "tc_ingress".into(),
            interface: "eth0".into(),
            mode: "tcx".into(),
            program_id: 9,
        }],
        bpf_root: "/b".into(),
        settings: settings.map(|(k, v)| (k.into(), v.into())).into(),
        problems: Vec::new(),
        opt_out: None,
        degraded: Vec::new(),
        errors: Vec::new(),
    }
}

#[test]
fn a_good_node_is_ok_in_one_line_and_in_many() {
    let status = status();
    assert_eq!(brief(&status), "OK\n");
    assert!(!wrong(&status));
    let text = text(&status);
    assert!(text.contains("KubeProxyReplacement:    True   [eth0   192.0.2.1 2001:db8::1]\n"), "{text}");
    assert!(text.contains("Manifests:               Ok   /m\n"), "{text}");
    assert!(text.contains("Attach Mode:             TCX\n"), "{text}");
}

#[test]
fn a_wait_that_ends_before_everything_is_served_says_why() {
    let mut status = status();
    assert_eq!(unsettled(&status), None);
    status.sync.settled = false;
    assert!(!wrong(&status), "without --wait this is no error");
    assert_eq!(unsettled(&status).as_deref(), Some("under way"));
}

#[test]
fn an_error_is_named_with_its_module_and_sets_the_exit_code() {
    let mut status = status();
    status.errors.push(Failure { module: "devices".into(), message: "eth0: no".into() });
    assert_eq!(brief(&status), "error in devices: eth0: no\n");
    assert!(wrong(&status));
    assert!(text(&status).contains("Error in devices:        eth0: no\n"));
}

#[test]
fn what_could_work_better_is_told_and_breaks_nothing() {
    let mut status = status();
    status.degraded.push("sockets: grant more".into());
    assert!(text(&status).contains("Degraded:                sockets: grant more\n"));
    assert!(!wrong(&status) && brief(&status) == "OK\n");
}

#[test]
fn before_the_first_list_nothing_is_ok() {
    let mut status = status();
    status.sync = Sync { waiting: vec!["Node".into()], ..Sync::default() };
    assert_eq!(brief(&status), "error in sync: waiting for Node\n");
    assert!(wrong(&status));
}

#[test]
fn details_say_what_is_served_and_attached() {
    let text = details(&status(), &[]);
    assert!(text.contains("  Mode:                   SNAT\n"), "{text}");
    assert!(text.contains("    DSR Dispatch Mode:    IP Option/Extension\n"), "{text}");
    assert!(text.contains("  - NodePort:     Enabled (Range: 30000-32767)\n"), "{text}");
    assert!(text.contains("  - externalIPs:  Disabled\n"), "{text}");
    assert!(text.contains("  tc_ingress   eth0        tcx    9\n"), "{text}");
}

#[test]
fn details_say_who_has_left_the_socket_path_and_who_could_not() {
    let mut status = status();
    let text = details(&status, &[]);
    assert!(text.contains("  Socket LB Opt-Out:      Disabled\n") && !text.contains("Opted-Out"), "{text}");
    let names = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (pods, missing) = (names(&["a/vm", "mesh/web"]), Vec::new());
    status.opt_out = Some(OptOut { label: "shunt.io/socket-lb".into(), pods, missing });
    let text = details(&status, &[]);
    assert!(text.contains("  Socket LB Opt-Out:      2 pods   (label shunt.io/socket-lb)\n"), "{text}");
    assert!(text.contains("Opted-Out Pods:\n  a/vm\n  mesh/web\nProblems:\n"), "{text}");
    status.opt_out.as_mut().unwrap().missing = names(&["a/new", "a/lost"]);
    let text = details(&status, &[]);
    assert!(text.contains("(label shunt.io/socket-lb); no cgroup found of a/new, a/lost\n"), "{text}");
    assert!(!wrong(&status), "a pod that has just come has none for a moment");
}

#[test]
fn the_coverage_of_the_socket_path_is_the_hosts_alone_where_that_is_asked_for() {
    let mut status = status();
    assert!(details(&status, &[]).contains("  Socket LB Coverage:     Full\n"));
    status.settings.insert("socketLB.hostNamespaceOnly".into(), "true".into());
    assert!(details(&status, &[]).contains("  Socket LB Coverage:     Hostns-only\n"));
}

#[test]
fn each_device_is_said_to_run_xdp_or_why_not() {
    let line = "eth0 tc (its driver takes no XDP program)";
    assert!(text(&status()).contains(&format!("XDP Acceleration:        {line}\n")), "{}", text(&status()));
    assert!(details(&status(), &[]).contains(&format!("[{line}]")));
    let off = Status { acceleration: Vec::new(), ..status() };
    assert!(!text(&off).contains("XDP"));
}
