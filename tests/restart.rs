//! Agents may die and come back: connections, streams and new connections do not notice.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use shunt_e2e::hold;
use shunt_lab::cluster::{Lab, finish, repeat};
use shunt_lab::demo::{apply_examples, cluster_ip};
use shunt_lab::probe::Held;
use shunt_lab::topology::{Style, Topology};
use std::net::SocketAddr;
use std::time::Duration;

/// No answer may take longer, in milliseconds, whatever happens to agents: the datapath does not wait for them. Answers
/// take less than ten here; the rest is for a machine that is busy with other things.
const LONGEST_STALL: u64 = 500;

#[test]
fn connections_and_streams_survive_beside_a_vxlan_overlay() {
    survive(Style::Vxlan, 100);
}

#[test]
fn connections_and_streams_survive_beside_a_bridge_on_each_node() {
    survive(Style::Bridge, 30);
}

#[test]
fn connections_and_streams_survive_beside_routes_to_each_pod() {
    survive(Style::Routed, 30);
}

/// Every agent dies and comes back while so many connections from outside to NodePorts of two nodes, both families, and
/// as many from a pod to the ClusterIP are open.
fn survive(style: Style, connections: usize) {
    let mut lab = Lab::up(Topology::new(format!("restart-{style}"), style)).unwrap();
    apply_examples(&lab).unwrap();
    let node = |i: usize, v6, port| SocketAddr::new(lab.nodes[i].addresses.of(v6), port);
    let web = |v6, port| SocketAddr::new(cluster_ip(&lab, "web", v6).unwrap(), port);
    let outside = hold(
        &lab.client,
        connections,
        &[node(0, false, 30007), node(1, true, 30007), node(1, false, 30007), node(0, true, 30007)],
        &[node(0, false, 30080), node(0, true, 30080), node(0, false, 30082)],
    );
    let inside = hold(
        &lab.nodes[0].pods[0].place,
        connections,
        &[web(false, 7), web(true, 7)],
        &[web(false, 80), web(true, 80)],
    );
    let holders = [outside, inside];

    std::thread::sleep(Duration::from_millis(500));
    for node in &mut lab.nodes {
        node.agent.kill();
    }
    std::thread::sleep(Duration::from_secs(1));
    while_no_agent_runs(&lab);
    for node in &mut lab.nodes {
        node.agent.start().unwrap();
    }
    for node in &lab.nodes {
        node.agent.wait_ready(Duration::from_secs(30)).unwrap();
    }
    std::thread::sleep(Duration::from_secs(1));

    for holder in holders {
        let held: Held = finish(holder).unwrap();
        assert_eq!(held.opened, connections);
        assert!(held.broken.is_empty(), "broken: {:?}", held.broken);
        assert!(held.exchanges >= 10 * connections as u64, "{held:?}");
        assert!(held.sent >= 500, "{held:?}");
        assert_eq!(held.lost, 0, "{held:?}");
        println!("{style}: the longest stall was {} ms", held.longest_stall);
        assert!(held.longest_stall < LONGEST_STALL, "{held:?}");
    }
}

/// The datapath goes on by itself: new connections are balanced too.
fn while_no_agent_runs(lab: &Lab) {
    for v6 in [false, true] {
        let node_port = SocketAddr::new(lab.nodes[0].addresses.of(v6), 30080);
        let web = SocketAddr::new(cluster_ip(lab, "web", v6).unwrap(), 80);
        for (place, addr) in [(&lab.client, node_port), (&lab.nodes[1].pods[0].place, web)] {
            let tries = repeat(place, addr, 40).unwrap();
            assert!(tries.failures.is_empty(), "{:?}", tries.failures);
            assert!(tries.bodies.len() >= 3, "balanced over {:?}", tries.bodies);
        }
    }
}
