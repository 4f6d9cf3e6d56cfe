//! Next hops that are not resolved yet, move to another MAC, or are no longer the way: flows follow.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use shunt_e2e::hold;
use shunt_lab::cluster::{Lab, finish, http};
use shunt_lab::demo::apply_examples;
use shunt_lab::net::plan;
use shunt_lab::place::Process;
use shunt_lab::probe::{Answer, Held};
use shunt_lab::topology::{Style, Topology};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A flow asks for its way once a second; the rest is for TCP to send again, and for a busy machine.
const LONGEST_STALL: u64 = 2500;

/// To a NodePort of the first node, whose one backend is on the second.
fn to(lab: &Lab, v6: bool, port: u16) -> SocketAddr {
    SocketAddr::new(lab.nodes[0].addresses.of(v6), port)
}

fn up(name: &str) -> Lab {
    let lab = Lab::up(Topology { nodes: 2, ..Topology::new(name, Style::Routed) }).unwrap();
    apply_examples(&lab).unwrap();
    lab
}

fn ip(lab: &Lab, node: usize, line: String) {
    lab.nodes[node - 1].host.netns.ip(&[line]).unwrap();
}

#[test]
fn a_next_hop_that_nobody_has_resolved_yet_costs_no_flow_a_packet() {
    let lab = up("neigh-none");
    for v6 in [false, true] {
        assert!(matches!(http(&lab.client, to(&lab, v6, 30082), "/").unwrap(), Answer::Ok(_)));
        for round in 0..5 {
            // In both directions: the node's neighbours are the backend's node and the router.
            ip(&lab, 1, "neigh flush all".into());
            let begun = Instant::now();
            let answer = http(&lab.client, to(&lab, v6, 30082), "/").unwrap();
            assert!(matches!(answer, Answer::Ok(_)), "round {round}: {answer:?}");
            // A SYN that is lost is sent again after a second.
            assert!(begun.elapsed() < Duration::from_millis(900), "round {round}: {:?}", begun.elapsed());
        }
    }
}

#[test]
fn a_next_hop_that_moves_to_another_mac_is_followed() {
    let lab = up("neigh-moves");
    let holder = holder(&lab);
    // It tells its neighbours, as a virtual router or a machine that moves does.
    for (key, value) in [("ipv4/conf/eth0/arp_notify", "1"), ("ipv6/conf/eth0/ndisc_notify", "1")] {
        let write = move || std::fs::write(format!("/proc/sys/net/{key}"), value);
        lab.nodes[1].host.netns.run(write).unwrap().unwrap();
    }
    for n in 1..=3 {
        ip(&lab, 2, format!("link set eth0 address 02:00:00:00:77:0{n}"));
        std::thread::sleep(Duration::from_secs(2));
    }
    assert_held(holder);
}

#[test]
fn a_route_that_changes_is_followed() {
    let lab = up("neigh-route");
    let holder = holder(&lab);
    let router = plan::router_to_nodes();
    for _ in 0..2 {
        for v6 in [false, true] {
            let pods = &plan::pod_cidrs(2)[usize::from(v6)];
            ip(&lab, 1, format!("route replace {pods} via {}", router.of(v6)));
        }
        std::thread::sleep(Duration::from_secs(2));
        for v6 in [false, true] {
            let pods = &plan::pod_cidrs(2)[usize::from(v6)];
            ip(&lab, 1, format!("route replace {pods} via {}", lab.nodes[1].addresses.of(v6)));
        }
        std::thread::sleep(Duration::from_secs(2));
    }
    assert_held(holder);
}

/// Connections and streams of datagrams through the first node to the second.
fn holder(lab: &Lab) -> Process {
    let to = |port| [to(lab, false, port), to(lab, true, port)];
    hold(&lab.client, 10, &to(30007), &to(30082))
}

fn assert_held(holder: Process) {
    let held: Held = finish(holder).unwrap();
    assert!(held.broken.is_empty(), "broken: {:?}", held.broken);
    println!(
        "the longest stall was {} ms, {} of {} datagrams were lost",
        held.longest_stall, held.lost, held.sent
    );
    assert!(held.longest_stall < LONGEST_STALL, "{held:?}");
    assert!(held.sent > 100, "{held:?}");
}
