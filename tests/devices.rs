//! Devices and addresses come and go while the agent runs: each is served from the moment it is there, and missed aloud.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use shunt_e2e::{
    eventually, eventually_answers, eventually_refused, eventually_silent, json as ask, node_port,
};
use shunt_lab::agent::Agent;
use shunt_lab::cluster::Lab;
use shunt_lab::demo::apply_examples;
use shunt_lab::topology::{Style, Topology};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

#[test]
fn devices_and_addresses_are_followed() {
    let mut lab = Lab::up(Topology { nodes: 2, ..Topology::new("devices", Style::Routed) }).unwrap();
    apply_examples(&lab).unwrap();
    a_device_that_vanishes_costs_nothing(&lab);
    an_uplink_added_live_serves(&lab);
    an_address_that_is_not_for_node_ports_has_none(&lab);
    a_listed_device_that_vanishes_is_named(&mut lab);
    an_address_added_live_is_served(&lab);
}

const UP9: [&str; 4] = [
    "link add up9 type veth peer name up9peer",
    "addr add 172.30.9.1/24 dev up9",
    "link set up9 up",
    "link set up9peer up",
];

fn has_up9(agent: &Agent) -> Result<(), String> {
    let devices = ask(agent, "status")["devices"].to_string();
    if devices.contains("up9") { Ok(()) } else { Err(devices) }
}

fn a_device_that_vanishes_costs_nothing(lab: &Lab) {
    let (node, agent) = (&lab.nodes[0].host.netns, &lab.nodes[0].agent);
    node.ip(&UP9.map(String::from)).unwrap();
    eventually("the new device is served", || has_up9(agent));
    node.ip(&["link del up9".into()]).unwrap();
    eventually("the device is forgotten", || match has_up9(agent) {
        Ok(()) => Err("it is still there".into()),
        Err(_) => Ok(()),
    });
    eventually("the log names it", || {
        let log = std::fs::read_to_string(agent.log()).unwrap();
        let said = |line: &&str| line.contains("a device is gone") && line.contains("up9");
        log.lines().find(said).map(drop).ok_or(log)
    });
    assert!(agent.cli(&["status", "--brief"]).unwrap().status.success());
    eventually_answers(&lab.client, node_port(lab, 0, 30081));
}

/// What the configuration lists by name is missed until it comes back.
fn a_listed_device_that_vanishes_is_named(lab: &mut Lab) {
    lab.nodes[1].agent.term().unwrap();
    lab.nodes[1].agent.extra =
        ["--set", "devices=eth0,up9", "--set", "nodePort.addresses=192.168.60.0/24,fd00:60::/64"]
            .map(String::from)
            .into();
    lab.nodes[1].agent.start().unwrap();
    let (node, agent) = (&lab.nodes[1].host.netns, &lab.nodes[1].agent);
    let missed = || {
        let done = agent.cli(&["status", "--brief"]).unwrap();
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        let named = said.contains("up9 is listed in `devices`") && said.contains("take it off the list");
        if named && done.status.code() == Some(1) { Ok(()) } else { Err(said) }
    };
    eventually("a listed device that is not there is named", missed);
    for _ in 0..2 {
        node.ip(&UP9.map(String::from)).unwrap();
        agent.wait_ready(Duration::from_secs(10)).unwrap();
        has_up9(agent).unwrap();
        node.ip(&["link del up9".into()]).unwrap();
        eventually("the device that vanished is named", missed);
        eventually_answers(&lab.client, node_port(lab, 1, 30082));
    }
    let log = std::fs::read_to_string(agent.log()).unwrap();
    let told = log.lines().filter(|line| line.contains("WARN") && line.contains("up9 is listed in")).count();
    assert_eq!(told, 3, "once each time:\n{log}");
}

/// A second uplink appears, with a client behind it.
fn an_uplink_added_live_serves(lab: &Lab) {
    let (node, client) = (&lab.nodes[0].host.netns, &lab.client.netns);
    let own = lab.nodes[0].addresses;
    let ip = |lines: &[&str]| lines.iter().map(ToString::to_string).collect::<Vec<_>>();
    node.ip(&[format!("link add up2 type veth peer name eth1 netns {}", client.name())]).unwrap();
    let addresses = ["addr add 172.30.1.1/24 dev up2", "addr add fd00:72::1/64 dev up2 nodad"];
    node.ip(&ip(&[&["link set up2 up"], &addresses[..]].concat())).unwrap();
    let addresses = ["addr add 172.30.1.2/24 dev eth1", "addr add fd00:72::2/64 dev eth1 nodad"];
    client.ip(&ip(&[&["link set eth1 up"], &addresses[..]].concat())).unwrap();
    let routes = [
        format!("route add {}/32 via 172.30.1.1 dev eth1", own.v4),
        format!("route add {}/128 via fd00:72::1 dev eth1", own.v6),
    ];
    client.ip(&routes).unwrap();
    let status = || ask(&lab.nodes[0].agent, "status")["devices"].to_string();
    eventually("the device is found with both addresses", || {
        let text = status();
        if text.contains("172.30.1.1") && text.contains("fd00:72::1") { Ok(()) } else { Err(text) }
    });
    // The local backend sees the client's address on the new link; the remote one is reached by the old uplink.
    for (v6, client_addr) in [(false, "172.30.1.2"), (true, "fd00:72::2")] {
        let at = |port| SocketAddr::new(own.of(v6), port);
        assert_eq!(eventually_answers(&lab.client, at(30081)), format!("pod1-1 {client_addr}"));
        assert_eq!(eventually_answers(&lab.client, at(30082)), format!("pod2-1 {}", own.of(v6)));
    }
    client.ip(&["link del eth1".into()]).unwrap();
    eventually("the device is forgotten", || {
        let text = status();
        if text.contains("172.30.1.1") { Err(text) } else { Ok(()) }
    });
    for v6 in [false, true] {
        eventually_answers(&lab.client, SocketAddr::new(own.of(v6), 30081));
    }
}

const ADDED: [&str; 2] = ["192.168.60.99", "fd00:60::99"];

/// Gives the first device of a node one more address of each family, or takes them.
fn change_addresses(lab: &Lab, node: usize, verb: &str) {
    let [v4, v6] = ADDED;
    // No duplicate address detection, which would make the new one wait.
    let more = if verb == "add" { " nodad" } else { "" };
    let lines = [format!("addr {verb} {v4}/24 dev eth0"), format!("addr {verb} {v6}/64 dev eth0{more}")];
    lab.nodes[node].host.netns.ip(&lines).unwrap();
}

fn added(port: u16) -> [SocketAddr; 2] {
    ADDED.map(|addr| SocketAddr::new(addr.parse().unwrap(), port))
}

/// By default NodePorts answer on the node's primary addresses alone; whatever else there is goes on.
fn an_address_that_is_not_for_node_ports_has_none(lab: &Lab) {
    let external = SocketAddr::new("198.51.100.10".parse().unwrap(), 80);
    change_addresses(lab, 0, "add");
    for addr in added(30081) {
        eventually_refused(&lab.client, addr);
    }
    eventually_answers(&lab.client, external);
    eventually_answers(&lab.client, node_port(lab, 0, 30081));
    change_addresses(lab, 0, "del");
    eventually_answers(&lab.client, external);
}

/// `nodePort.addresses` covers it on this node.
fn an_address_added_live_is_served(lab: &Lab) {
    let client: [IpAddr; 2] = ["192.168.50.2", "fd00:50::2"].map(|addr| addr.parse().unwrap());
    change_addresses(lab, 1, "add");
    for (i, addr) in added(30082).into_iter().enumerate() {
        assert_eq!(eventually_answers(&lab.client, addr), format!("pod2-1 {}", client[i]), "a local backend");
    }
    for (i, addr) in added(30081).into_iter().enumerate() {
        let own = lab.nodes[1].addresses.of(i == 1);
        assert_eq!(eventually_answers(&lab.client, addr), format!("pod1-1 {own}"), "a remote backend");
    }
    change_addresses(lab, 1, "del");
    for addr in added(30082) {
        eventually("its frontend goes", || {
            let rows = ask(&lab.nodes[1].agent, "bpf lb list").to_string();
            if rows.contains(&format!("{addr}/")) { Err(rows) } else { Ok(()) }
        });
        eventually_silent(&lab.client, addr);
    }
    eventually_answers(&lab.client, node_port(lab, 1, 30082));
}
