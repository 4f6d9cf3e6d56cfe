//! `shunt check`: what it says of a node and of the network between nodes, before any agent runs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use serde_json::Value;
use shunt_e2e::json;
use shunt_lab::cluster::Lab;
use shunt_lab::demo::apply_examples;
use shunt_lab::sh;
use shunt_lab::topology::{Style, Topology};
use std::time::Duration;

#[test]
fn a_network_that_drops_what_dsr_sends_is_told_before_anything_starts() {
    let mut lab =
        Lab::without_agents(Topology { nodes: 2, pods: 1, ..Topology::new("check", Style::Routed) }).unwrap();
    // Endpoints, so that pods of the other node are known.
    apply_examples(&lab).unwrap();
    good_networks_pass(&lab);
    nothing_is_left_behind(&lab);
    only_what_is_lost_fails(&lab);
    a_named_peer_is_asked_and_a_silent_one_tells_nothing(&lab);
    a_device_without_native_xdp_and_a_narrow_one_fail(&lab);
    people_read_a_table(&lab);
    a_running_agent_s_configuration_is_looked_at(&mut lab);
}

/// Runs the check on the first node; its exit code and rows.
fn check(lab: &Lab, more: &[&str]) -> (Option<i32>, Vec<Value>) {
    let agent = &lab.nodes[0].agent;
    let kubeconfig = lab.dir().join("agents.kubeconfig").display().to_string();
    let cgroup = agent.cgroup_root.display().to_string();
    let base = [
        "check",
        "-o",
        "json",
        "--node-name",
        "node1",
        "--kubeconfig",
        &kubeconfig,
        "--cgroup-root",
        &cgroup,
    ];
    let done = agent.cli(&[&base, more].concat()).unwrap();
    let rows = serde_json::from_slice(&done.stdout)
        .unwrap_or_else(|e| panic!("{more:?}: {e}: {}", String::from_utf8_lossy(&done.stderr)));
    (done.status.code(), rows)
}

fn dsr(lab: &Lab, dispatch: &str, more: &[&str]) -> (Option<i32>, Vec<Value>) {
    let dispatch = format!("loadBalancer.dsrDispatch={dispatch}");
    check(lab, &[&["--set", "loadBalancer.mode=dsr", "--set", &dispatch], more].concat())
}

/// Verdict, what was found and what to do, of each row of a check.
fn of<'a>(rows: &'a [Value], check: &str) -> Vec<(&'a str, String)> {
    let rows = rows.iter().filter(|row| row["check"] == check);
    rows.map(|row| {
        (row["verdict"].as_str().unwrap(), format!("{} {} {}", row["about"], row["found"], row["todo"]))
    })
    .collect()
}

fn good_networks_pass(lab: &Lab) {
    for dispatch in ["opt", "ipip", "geneve"] {
        let (code, rows) = dsr(lab, dispatch, &["--set", "loadBalancer.acceleration=native"]);
        assert_eq!(code, Some(0), "{rows:?}");
        assert!(rows.iter().all(|row| row["verdict"] == "PASS"), "{rows:?}");
        for check in ["kernel", "capabilities", "bpffs", "cgroup2", "programs", "api-server", "mtu", "xdp"] {
            assert_eq!(of(&rows, check).len(), 1, "{check}: {rows:?}");
        }
        let network = of(&rows, "network");
        let [v4, v6] = &network[..] else { panic!("{network:?}") };
        let pod = lab.nodes[1].pods[0].addresses;
        assert!(v4.1.contains("node2") && v4.1.contains(&pod.v4.to_string()), "a pod is asked: {v4:?}");
        assert!(v6.1.contains("node2") && v6.1.contains(&pod.v6.to_string()), "{v6:?}");
    }
}

fn nothing_is_left_behind(lab: &Lab) {
    assert!(!lab.nodes[0].agent.bpf_root.exists(), "no pins");
    let link = sh::output("ip", &["-n", lab.nodes[0].host.netns.name(), "link", "show"]).unwrap();
    assert!(!link.contains("xdp"), "{link}");
}

/// A filter between the nodes, as some routers and clouds are one.
fn filter(lab: &Lab, rules: &str) {
    let router = lab.topology.netns("router");
    let table = format!("table bridge wan {{ chain c {{ type filter hook forward priority 0; {rules} }}; }}");
    for command in ["add table bridge wan; delete table bridge wan", &table] {
        sh::output("ip", &["netns", "exec", &router, "nft", command]).unwrap();
    }
}

fn only_what_is_lost_fails(lab: &Lab) {
    let cases = [
        ("opt", "ip hdrlength > 5 drop;", ["FAIL", "PASS"]),
        ("opt", "ip6 nexthdr 60 drop;", ["PASS", "FAIL"]),
        ("ipip", "ip hdrlength > 5 drop; ip6 nexthdr 60 drop;", ["PASS", "PASS"]),
        ("ipip", "ip protocol 4 drop; ip6 nexthdr 41 drop;", ["FAIL", "FAIL"]),
        ("opt", "ip protocol 4 drop; ip6 nexthdr 41 drop;", ["PASS", "PASS"]),
        ("geneve", "ip protocol 4 drop; ip6 nexthdr 60 drop;", ["PASS", "PASS"]),
        ("geneve", "udp dport 6081 drop;", ["FAIL", "FAIL"]),
    ];
    for (dispatch, rules, expected) in cases {
        filter(lab, rules);
        let (code, rows) = dsr(lab, dispatch, &[]);
        let network = of(&rows, "network");
        let verdicts: Vec<&str> = network.iter().map(|row| row.0).collect();
        assert_eq!(verdicts, expected, "{dispatch} where {rules} {network:?}");
        assert_eq!(code, Some(i32::from(expected.contains(&"FAIL"))), "{dispatch} where {rules}");
        for (verdict, text) in &network {
            assert_eq!(text.contains("are lost"), *verdict == "FAIL", "{text}");
            assert_eq!(text.contains("loadBalancer.dsrDispatch"), *verdict == "FAIL", "{text}");
        }
    }
    filter(lab, "");
}

fn a_named_peer_is_asked_and_a_silent_one_tells_nothing(lab: &Lab) {
    let node = lab.nodes[1].addresses.v4.to_string();
    let (code, rows) = dsr(lab, "opt", &["--peer", &node]);
    let network = of(&rows, "network");
    assert!(code == Some(0) && network.len() == 1 && network[0].0 == "PASS", "{network:?}");
    assert!(network[0].1.contains(&node), "{network:?}");
    filter(lab, "ip protocol icmp drop;");
    let (code, rows) = dsr(lab, "opt", &["--peer", &node]);
    let network = of(&rows, "network");
    assert!(code == Some(0) && network[0].0 == "WARN", "{network:?}");
    assert!(network[0].1.contains("does not answer pings"), "{network:?}");
    filter(lab, "");
}

fn a_device_without_native_xdp_and_a_narrow_one_fail(lab: &Lab) {
    let netns = &lab.nodes[0].host.netns;
    netns.ip(&["link add none0 type bridge".into(), "link set none0 mtu 1290 up".into()]).unwrap();
    let devices = ["--set", "devices=eth0,none0"];
    for (acceleration, verdict) in [("native", "FAIL"), ("best-effort", "WARN")] {
        let set = format!("loadBalancer.acceleration={acceleration}");
        let (code, rows) = check(lab, &[&devices[..], &["--set", &set]].concat());
        let xdp = of(&rows, "xdp");
        assert_eq!((xdp[0].0, xdp[1].0), ("PASS", verdict), "{xdp:?}");
        assert!(xdp[1].1.contains("none0") && xdp[1].1.contains("takes no XDP program"), "{xdp:?}");
        assert_eq!(code, Some(i32::from(verdict == "FAIL")));
    }
    let (code, rows) = dsr(lab, "opt", &devices);
    let mtu = of(&rows, "mtu");
    assert_eq!((code, mtu[0].0, mtu[1].0), (Some(1), "PASS", "FAIL"), "{mtu:?}");
    assert!(mtu[1].1.contains("none0") && mtu[1].1.contains("1304"), "{mtu:?}");
    netns.ip(&["link del none0".into()]).unwrap();
}

fn people_read_a_table(lab: &Lab) {
    let agent = &lab.nodes[0].agent;
    let cgroup = agent.cgroup_root.display().to_string();
    let done = agent.cli(&["check", "--cgroup-root", &cgroup, "--kubeconfig", "/nowhere"]).unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert_eq!(done.status.code(), Some(1), "{text}");
    let line = |check: &str| {
        let found = text.lines().find(|line| line.starts_with(check));
        found.unwrap_or_else(|| panic!("{check}: {text}")).split_whitespace().collect::<Vec<_>>()
    };
    assert_eq!(line("CHECK"), ["CHECK", "ABOUT", "VERDICT", "FOUND"]);
    assert_eq!(line("kernel")[1..3], ["-", "PASS"]);
    assert_eq!(line("api-server")[2], "FAIL");
    assert!(text.contains("/nowhere"), "{text}");
    assert_eq!(line("dsr")[2], "PASS");
}

/// With nothing named, it is the agent's; and what is added on top is what a change would come to.
fn a_running_agent_s_configuration_is_looked_at(lab: &mut Lab) {
    let agent = &mut lab.nodes[0].agent;
    agent.extra = ["--set", "loadBalancer.mode=dsr", "--set", "loadBalancer.acceleration=native"]
        .map(String::from)
        .into();
    agent.start().unwrap();
    agent.wait_ready(Duration::from_secs(30)).unwrap();
    filter(lab, "ip hdrlength > 5 drop;");
    let attached = || json(&lab.nodes[0].agent, "status")["attachments"].clone();
    let before = attached();
    for (more, verdict) in [(&[][..], "FAIL"), (&["--set", "loadBalancer.dsrDispatch=ipip"], "PASS")] {
        let done = lab.nodes[0].agent.cli(&[&["check", "-o", "json"], more].concat()).unwrap();
        let rows: Vec<Value> = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(of(&rows, "network")[0].0, verdict, "{rows:?}");
        assert!(of(&rows, "xdp")[0].1.contains("runs our program"), "{rows:?}");
        assert_eq!(done.status.code(), Some(i32::from(verdict == "FAIL")));
    }
    assert_eq!(attached(), before, "nothing of the agent's is touched");
}
