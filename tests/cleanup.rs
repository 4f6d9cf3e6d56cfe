//! `shunt cleanup` leaves a node as it was before Shunt came.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use shunt_e2e::{eventually_answers, json, node_port};
use shunt_lab::cluster::{Lab, http};
use shunt_lab::demo::apply_examples;
use shunt_lab::net::netns::Netns;
use shunt_lab::sh;
use shunt_lab::topology::{Style, Topology};
use std::collections::BTreeSet;
use std::net::SocketAddr;

#[test]
fn nothing_is_left_of_programs_links_maps_pins_and_qdiscs() {
    let mut lab = Lab::without_agents(Topology::new("cleanup", Style::Routed)).unwrap();
    apply_examples(&lab).unwrap();
    let before = trace(&lab.nodes[0].host.netns);
    let loaded_before = Loaded::now();

    lab.nodes[0].agent.start().unwrap();
    lab.nodes[0].agent.wait_ready(std::time::Duration::from_secs(30)).unwrap();
    eventually_answers(&lab.client, node_port(&lab, 0, 30081));
    let attached = json(&lab.nodes[0].agent, "status")["attachments"].as_array().map_or(0, Vec::len);
    assert!(attached >= 14, "10 socket hooks, 2 on the device, 2 on each of 2 pods; got {attached}");
    let during = Loaded::now();
    assert!(
        during.programs.len() > loaded_before.programs.len() && during.maps.len() > loaded_before.maps.len()
    );

    // Without its agent the datapath still serves; only cleanup takes it away.
    lab.nodes[0].agent.term().unwrap();
    eventually_answers(&lab.client, node_port(&lab, 0, 30081));
    let said = lab.nodes[0].agent.ask(&["cleanup"]).unwrap();
    assert!(said.lines().count() > 20, "it tells what it removed:\n{said}");
    assert!(!lab.nodes[0].agent.bpf_root.exists());
    assert_eq!(trace(&lab.nodes[0].host.netns), before, "links and qdiscs");
    let after = Loaded::now();
    let ours = |all: &BTreeSet<u32>, was: &BTreeSet<u32>| all.difference(was).copied().collect::<Vec<_>>();
    assert_eq!(ours(&after.programs, &loaded_before.programs), Vec::<u32>::new(), "programs in the kernel");
    assert_eq!(ours(&after.links, &loaded_before.links), Vec::<u32>::new(), "BPF links");
    assert_eq!(ours(&after.maps, &loaded_before.maps), Vec::<u32>::new(), "maps");

    let again = lab.nodes[0].agent.cli(&["cleanup"]).unwrap();
    assert!(again.status.success(), "a second time there is nothing to do, and that is fine");
    pods_still_reach_each_other(&lab);
}

fn pods_still_reach_each_other(lab: &Lab) {
    let (from, to) = (&lab.nodes[0].pods[0], &lab.nodes[1].pods[0]);
    for v6 in [false, true] {
        let addr = SocketAddr::new(to.addresses.of(v6), 8080);
        assert!(http(&from.place, addr, "/").unwrap().body().is_some(), "{addr}");
    }
}

/// What tools show of a node's interfaces.
fn trace(node: &Netns) -> String {
    let mut text = sh::output("ip", &["-n", node.name(), "-d", "link"]).unwrap();
    text += &sh::output("tc", &["-n", node.name(), "qdisc", "show"]).unwrap();
    for side in ["ingress", "egress"] {
        text += &sh::output("tc", &["-n", node.name(), "filter", "show", "dev", "eth0", side]).unwrap();
    }
    text
}

/// Everything of BPF that the kernel has, by id. Programs that other tests load come and go, so this test's lab must be
/// the only one, which its lock sees to; packet tests run in another process before or after.
struct Loaded {
    programs: BTreeSet<u32>,
    maps: BTreeSet<u32>,
    links: BTreeSet<u32>,
}

impl Loaded {
    fn now() -> Self {
        // The kernel frees programs and maps a moment after their last user is gone.
        std::thread::sleep(std::time::Duration::from_millis(500));
        Self {
            programs: aya::programs::loaded_programs().map(|p| p.unwrap().id()).collect(),
            maps: aya::maps::loaded_maps().map(|m| m.unwrap().id()).collect(),
            links: aya::programs::loaded_links().map(|l| l.unwrap().id()).collect(),
        }
    }
}
