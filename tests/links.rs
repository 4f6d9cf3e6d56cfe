//! Clients behind links of other kinds than plain Ethernet: a VLAN, and a link whose packets begin with their IP header.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use shunt_e2e::{
    eventually, eventually_answers, eventually_answers_by, json as ask, long_answer_is_whole, restart_with,
};
use shunt_lab::cluster::{Lab, probe};
use shunt_lab::demo::apply_examples;
use shunt_lab::net::{netns::Netns, tun};
use shunt_lab::pattern::digest;
use shunt_lab::probe::{Answer, Datagram};
use shunt_lab::sh;
use shunt_lab::topology::{Style, Topology};
use std::io::Write;
use std::net::SocketAddr;

/// The node's end of the link, and the client's.
const NODE: [&str; 2] = ["172.30.7.1", "fd00:77::1"];
const CLIENT: [&str; 2] = ["172.30.7.2", "fd00:77::2"];
/// Bytes of a long transfer.
const LONG: u64 = 3_000_000;
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

/// The programs that run on a node's device, by their hooks' names.
fn hooks(lab: &Lab, node: usize, device: &str) -> Vec<String> {
    let status = ask(&lab.nodes[node].agent, "status");
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
    assert_eq!(hooks(&lab, 0, "tun7"), ["l3_egress", "l3_ingress"]);
    everything_works(&lab, "a tun device");
}

/// Direct server return, first between nodes on Ethernet for a client behind such a link, then with such a link between the nodes,
/// too; replies leave the backend's node by one in any case.
#[test]
fn direct_return_works_by_links_without_ethernet() {
    let mut lab = lab("tun-dsr");
    let [first, second] = [0, 1].map(|i| lab.nodes[i].host.netns.clone());
    let [first, second] = [&first, &second];
    tun::connect("tun7", [first, &lab.client.netns]).unwrap();
    tun::connect("tun8", [second, &lab.client.netns]).unwrap();
    tun::connect("tun9", [first, second]).unwrap();
    // Reverse path filters refuse everything on a device without an address.
    for (netns, device, addr) in [
        (&lab.client.netns, "tun8", "172.30.8.2/24"),
        (second, "tun8", "172.30.8.1/24"),
        (first, "tun9", "172.30.9.1/24"),
        (second, "tun9", "172.30.9.2/24"),
    ] {
        netns.ip(&[format!("link set {device} up"), format!("addr add {addr} dev {device}")]).unwrap();
    }
    let routes = [format!("{}/32", CLIENT[0]), format!("{}/128", CLIENT[1])];
    second.ip(&routes.map(|to| format!("route add {to} dev tun8"))).unwrap();
    address(&lab, "tun7");
    for between in ["eth0", "tun9"] {
        if between == "tun9" {
            let pod = lab.nodes[1].pods[0].addresses;
            let lines = [false, true].map(|v6| format!("route replace {} dev tun9", pod.of(v6)));
            lab.nodes[0].host.netns.ip(&lines).unwrap();
        }
        for dispatch in ["opt", "ipip", "geneve"] {
            let dispatch = format!("loadBalancer.dsrDispatch={dispatch}");
            restart_with(&mut lab, &["loadBalancer.mode=dsr", &dispatch]);
            lab.settle().unwrap();
            for (node, device) in [(0, "tun7"), (0, "tun9"), (1, "tun8"), (1, "tun9")] {
                eventually("the programs are on the link", || match &hooks(&lab, node, device)[..] {
                    [a, b] if a == "l3_egress" && b == "l3_ingress" => Ok(()),
                    other => Err(format!("{device}: {other:?}")),
                });
            }
            for v6 in [false, true] {
                let what = format!("{dispatch} by {between}, v6: {v6}");
                let before = ["tun9", "tun8"].map(|device| passed(second, device));
                goes_straight(&lab, v6, &what);
                let after = ["tun9", "tun8"].map(|device| passed(second, device));
                assert_eq!(after[0][0] - before[0][0] > LONG, between == "tun9", "{what}: between the nodes");
                assert!(after[1][1] - before[1][1] > LONG, "{what}: replies leave straight for the client");
            }
        }
    }
}

/// Bytes that came in and went out by a device.
fn passed(netns: &Netns, device: &str) -> [u64; 2] {
    let text = sh::output("ip", &["-n", netns.name(), "-j", "-s", "link", "show", "dev", device]).unwrap();
    let links: serde_json::Value = serde_json::from_str(&text).unwrap();
    ["rx", "tx"].map(|way| links[0]["stats64"][way]["bytes"].as_u64().unwrap())
}

/// TCP and UDP, and transfers both ways, to a backend on the other node, which sees its client.
fn goes_straight(lab: &Lab, v6: bool, what: &str) {
    let at = SocketAddr::new(lab.nodes[0].addresses.of(v6), 30082);
    let seen = format!("pod2-1 {}", CLIENT[usize::from(v6)]);
    for _ in 0..2 {
        assert_eq!(eventually_answers(&lab.client, at), seen, "{what}");
        let got: Datagram = probe(&lab.client, &["udp", &at.to_string()]).unwrap();
        assert_eq!(got, Datagram { answer: Answer::Ok(seen.clone()), from: Some(at) }, "{what}");
    }
    long_answer_is_whole(&lab.client, at, LONG as usize, what);
    let sent: Answer = probe(&lab.client, &["send", &at.to_string(), "--bytes", &LONG.to_string()]).unwrap();
    assert_eq!(sent, Answer::Ok(digest(LONG as usize)), "{what}");
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
    assert_eq!(hooks(&lab, 0, "up7.10"), ["tc_egress", "tc_ingress"]);
    everything_works(&lab, "a VLAN");
}
