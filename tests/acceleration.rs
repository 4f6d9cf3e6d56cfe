//! `loadBalancer.acceleration` where one device cannot run XDP in its driver: `native` does not start, `best-effort` leaves
//! that device to tc.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use shunt_e2e::wire::as_hardware;
use shunt_e2e::{eventually_answers, json};
use shunt_lab::agent::binary;
use shunt_lab::cluster::Lab;
use shunt_lab::demo::apply_examples;
use shunt_lab::net::plan;
use shunt_lab::sh;
use shunt_lab::topology::{Style, Topology};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

#[test]
fn a_device_without_native_xdp_keeps_native_from_starting_and_is_served_by_tc_with_best_effort() {
    let shape = Topology { nodes: 2, pods: 1, devices: 2, ..Topology::new("acceleration", Style::Routed) };
    let mut lab = Lab::without_agents(shape).unwrap();
    a_macvlan_on_the_second_device(&lab);
    native_refuses(&lab);
    lab.nodes[0].agent.extra = settings("best-effort");
    for node in &mut lab.nodes {
        node.agent.start().unwrap();
    }
    lab.nodes.iter().for_each(|node| node.agent.wait_ready(Duration::from_secs(30)).unwrap());
    as_hardware(&lab);
    apply_examples(&lab).unwrap();
    status_tells_device_by_device(&lab);
    both_serve(&lab);
}

fn settings(acceleration: &str) -> Vec<String> {
    let set = [
        format!("loadBalancer.acceleration={acceleration}"),
        "devices=eth0,eth1,mac0".into(),
        "nodePort.addresses=192.168.60.0/24,192.168.61.0/24,fd00:60::/64,fd00:61::/64".into(),
    ];
    set.into_iter().flat_map(|s| ["--set".into(), s]).collect()
}

/// The kernel's macvlan has no `ndo_bpf`, as many NICs have not.
fn a_macvlan_on_the_second_device(lab: &Lab) {
    let mut lines =
        vec!["link add link eth1 name mac0 type macvlan mode bridge".into(), "link set mac0 up".into()];
    lines.extend([false, true].map(|v6| {
        let more = if v6 { "/64 dev mac0 nodad" } else { "/24 dev mac0" };
        format!("addr add {}{more}", macvlan(v6))
    }));
    lab.nodes[0].host.netns.ip(&lines).unwrap();
}

/// Its address, beside those of the second device.
fn macvlan(v6: bool) -> IpAddr {
    let at: [IpAddr; 2] = [[192, 168, 61, 99].into(), [0xfd00, 0x61, 0, 0, 0, 0, 0, 0x99].into()];
    at[usize::from(v6)]
}

fn native_refuses(lab: &Lab) {
    let node = &lab.nodes[0];
    // It ends by itself; `timeout` (exit code 124) is for when it does not.
    let mut command = node.host.command("timeout").unwrap();
    command.arg("30").arg(binary().unwrap()).args(["agent", "--node-name", "node1"]);
    command.arg("--bpf-root").arg(&node.agent.bpf_root).arg("--cgroup-root").arg(&node.agent.cgroup_root);
    command.arg("--run-dir").arg(&node.agent.run_dir);
    command.arg("--kubeconfig").arg(lab.dir().join("agents.kubeconfig")).args(settings("native"));
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{said}");
    let last = said.lines().last().unwrap();
    for words in [
        "mac0 cannot run XDP natively: its driver takes no XDP program",
        "loadBalancer.acceleration",
        "devices",
    ] {
        assert!(last.contains(words), "no {words:?} in: {said}");
    }
    let link = sh::output("ip", &["-n", node.host.netns.name(), "link", "show"]).unwrap();
    assert!(!link.contains("xdp"), "the other device is left as it was: {link}");
}

fn status_tells_device_by_device(lab: &Lab) {
    let agent = &lab.nodes[0].agent;
    let status = json(agent, "status");
    let of = |device: &str| {
        let all = status["acceleration"].as_array().unwrap();
        all.iter().find(|row| row["device"] == device).unwrap_or_else(|| panic!("{device}: {status}")).clone()
    };
    assert_eq!(
        (&of("eth0")["runs"], of("eth0").get("why").and_then(|w| w.as_str())),
        (&"native".into(), None)
    );
    assert_eq!(
        (&of("mac0")["runs"], &of("mac0")["why"]),
        (&"tc".into(), &"its driver takes no XDP program".into())
    );
    let text = agent.ask(&["status"]).unwrap();
    assert!(
        text.contains("mac0 tc (its driver takes no XDP program)") && text.contains("eth0 native"),
        "{text}"
    );
    let netns = lab.nodes[0].host.netns.name();
    for (device, runs) in [("eth0", true), ("eth1", true), ("mac0", false)] {
        let link = sh::output("ip", &["-n", netns, "link", "show", device]).unwrap();
        assert_eq!(link.contains("prog/xdp id"), runs, "{link}");
    }
}

/// By either device, to the backend on the node and to the one elsewhere.
fn both_serve(lab: &Lab) {
    for v6 in [false, true] {
        for at in [plan::node_on(1, 0).of(v6), macvlan(v6)] {
            for port in [30081, 30082] {
                eventually_answers(&lab.client, SocketAddr::new(at, port));
            }
        }
    }
}
