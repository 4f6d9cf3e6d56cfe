//! Clients behind links of other kinds than plain Ethernet: a VLAN, and a link whose packets begin with their IP header.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use shunt_e2e::{eventually, eventually_answers, eventually_answers_by, json as ask, long_answer_is_whole};
use shunt_lab::cluster::{Lab, probe};
use shunt_lab::demo::apply_examples;
use shunt_lab::net::{netns::Netns, tun};
use shunt_lab::probe::Datagram;
use shunt_lab::topology::{Style, Topology};
use std::io::Write;
use std::net::SocketAddr;

/// The node's end of the link, and the client's.
const NODE: [&str; 2] = ["172.30.7.1", "fd00:77::1"];
const CLIENT: [&str; 2] = ["172.30.7.2", "fd00:77::2"];
/// A load balancer's address that the examples have.
const EXTERNAL: [&str; 2] = ["198.51.100.10", "fd00:e::10"];

fn lab(name: &str) -> Lab {
    let lab = Lab::up(Topology { nodes: 2, ..Topology::new(name, Style::Routed) }).unwrap();
    apply_examples(&lab).unwrap();
    lab.settle().unwrap();
    lab
}

/// Gives a link's ends addresses, and sends what the client sends to the first node by the link.
fn address(lab: &Lab, device: &str) {
    let own = lab.nodes[0].addresses;
    let ends = |[v4, v6]: [&str; 2]| {
        vec![
            format!("link set {device} up"),
            format!("addr add {v4}/24 dev {device}"),
            format!("addr add {v6}/64 dev {device} nodad"),
        ]
    };
    lab.nodes[0].host.netns.ip(&ends(NODE)).unwrap();
    let mut lines = ends(CLIENT);
    for (to, via) in [(own.v4.to_string(), NODE[0]), (EXTERNAL[0].into(), NODE[0])] {
        lines.push(format!("route add {to}/32 via {via} dev {device}"));
    }
    for (to, via) in [(own.v6.to_string(), NODE[1]), (EXTERNAL[1].into(), NODE[1])] {
        lines.push(format!("route add {to}/128 via {via} dev {device}"));
    }
    lab.client.netns.ip(&lines).unwrap();
    eventually("the device is found with both addresses", || {
        let devices = ask(&lab.nodes[0].agent, "status")["devices"].to_string();
        if NODE.iter().all(|addr| devices.contains(addr)) { Ok(()) } else { Err(devices) }
    });
}

/// NodePorts and a load balancer's address, both families, both protocols, with the backend here and elsewhere; long answers,
/// and datagrams in fragments.
fn everything_works(lab: &Lab, link: &str) {
    let own = lab.nodes[0].addresses;
    for v6 in [false, true] {
        let at = |port| SocketAddr::new(own.of(v6), port);
        // The local backend sees the client's own address; the remote one is reached from the node's.
        let local = eventually_answers(&lab.client, at(30081));
        assert_eq!(local, format!("pod1-1 {}", CLIENT[usize::from(v6)]), "{link}");
        let remote = eventually_answers(&lab.client, at(30082));
        assert_eq!(remote, format!("pod2-1 {}", own.of(v6)), "{link}");
        let external = SocketAddr::new(EXTERNAL[usize::from(v6)].parse().unwrap(), 80);
        for by_udp in [false, true] {
            // More than once: established flows are sent by their cached route.
            for port in [30081, 30082, 30081, 30082] {
                eventually_answers_by(&lab.client, at(port), by_udp);
            }
        }
        for _ in 0..8 {
            eventually_answers(&lab.client, external);
        }
        for port in [30081, 30082] {
            long_answer_is_whole(&lab.client, at(port), 3_000_000, link);
            let echo = format!("echo {}", "m".repeat(8192));
            let got: Datagram = probe(&lab.client, &["udp", &at(port).to_string(), &echo]).unwrap();
            assert_eq!(got.answer.body().map(str::len), Some(8192), "{link}: {port}: {:?}", got.answer);
        }
    }
}

/// The programs that run on the first node's device, by their hooks' names.
fn hooks(lab: &Lab, device: &str) -> Vec<String> {
    let status = ask(&lab.nodes[0].agent, "status");
    let all = status["attachments"].as_array().cloned().unwrap_or_default();
    let on = all.iter().filter(|a| a["interface"] == device);
    let mut hooks: Vec<String> = on.map(|a| a["hook"].as_str().unwrap_or_default().to_owned()).collect();
    hooks.sort();
    hooks
}

#[test]
fn clients_behind_a_link_without_ethernet_are_served() {
    let lab = lab("tun");
    tun::connect("tun7", [&lab.nodes[0].host.netns, &lab.client.netns]).unwrap();
    address(&lab, "tun7");
    assert_eq!(hooks(&lab, "tun7"), ["l3_egress", "l3_ingress"]);
    everything_works(&lab, "a tun device");
}

#[test]
fn clients_behind_a_vlan_are_served() {
    let lab = lab("vlan");
    let (node, client) = (&lab.nodes[0].host.netns, &lab.client.netns);
    node.ip(&[
        format!("link add up7 type veth peer name up7 netns {}", client.name()),
        "link set up7 up".into(),
    ])
    .unwrap();
    client.ip(&["link set up7 up".into()]).unwrap();
    let tagged = |netns: &Netns| netns.ip(&["link add link up7 name up7.10 type vlan id 10".into()]);
    if let Err(error) = tagged(node) {
        let why =
            format!("not run: clients_behind_a_vlan_are_served: this kernel makes no VLANs: {error:#}\n");
        let _ = std::io::stderr().write_all(why.replace('\n', " ").trim_end().as_bytes());
        let _ = std::io::stderr().write_all(b"\n");
        return;
    }
    tagged(client).unwrap();
    address(&lab, "up7.10");
    assert_eq!(hooks(&lab, "up7.10"), ["tc_egress", "tc_ingress"]);
    everything_works(&lab, "a VLAN");
}
