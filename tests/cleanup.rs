//! `shunt cleanup` leaves a node as it was before Shunt came.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use aya::maps::{MapInfo, loaded_maps};
use aya::programs::{ProgramInfo, loaded_links, loaded_programs};
use shunt_e2e::{eventually, eventually_answers, eventually_refused, json, node_port};
use shunt_lab::agent::Agent;
use shunt_lab::cluster::{Lab, http};
use shunt_lab::demo::apply_examples;
use shunt_lab::net::netns::Netns;
use shunt_lab::sh;
use shunt_lab::topology::{Style, Topology};
use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

#[test]
fn nothing_is_left_beside_routes_to_each_pod() {
    // 10 socket hooks, 2 on the device, 2 on each of 2 pods.
    nothing_is_left(Style::Routed, 16);
}

#[test]
fn nothing_is_left_beside_a_vxlan_overlay() {
    // The overlay is a device too.
    nothing_is_left(Style::Vxlan, 18);
}

/// The agent's own way of attaching is held to it here; the datapath's tests do the same with clsact filters, which no
/// setting asks for where the kernel has TCX.
fn nothing_is_left(style: Style, attachments: usize) {
    let mut lab = Lab::without_agents(Topology::new(format!("cleanup-{style}"), style)).unwrap();
    apply_examples(&lab).unwrap();
    let before = trace(&lab.nodes[0].host.netns);
    let ours = up(&mut lab);
    let attached = json(&lab.nodes[0].agent, "status")["attachments"].as_array().map_or(0, Vec::len);
    assert_eq!(attached, attachments);

    let refused = lab.nodes[0].agent.cli(&["cleanup"]).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("an agent runs") && said.contains("--force"), "{said}");
    assert_eq!(
        json(&lab.nodes[0].agent, "status")["attachments"].as_array().map_or(0, Vec::len),
        attachments
    );

    // Without its agent the datapath still serves; only cleanup takes it away.
    lab.nodes[0].agent.term().unwrap();
    eventually_answers(&lab.client, node_port(&lab, 0, 30081));
    let said = lab.nodes[0].agent.ask(&["cleanup"]).unwrap();
    assert!(said.lines().count() > 20, "it tells what it removed:\n{said}");
    eventually_refused(&lab.client, node_port(&lab, 0, 30081));
    gone(&lab.nodes[0].agent, &ours);
    assert_eq!(trace(&lab.nodes[0].host.netns), before, "links and qdiscs");
    let again = lab.nodes[0].agent.ask(&["cleanup"]).unwrap();
    assert_eq!(again, "nothing to remove\n", "a second time there is nothing to do, and that is fine");
    pods_still_reach_each_other(&lab);

    // By force under a running agent; then that one ends, and another begins anew.
    let ours = up(&mut lab);
    lab.nodes[0].agent.ask(&["cleanup", "--force"]).unwrap();
    eventually_refused(&lab.client, node_port(&lab, 0, 30081));
    assert_eq!(trace(&lab.nodes[0].host.netns), before, "links and qdiscs");
    lab.nodes[0].agent.term().unwrap();
    let said = lab.nodes[0].agent.ask(&["cleanup"]).unwrap();
    assert!(said.contains("removed socket "), "{said}");
    gone(&lab.nodes[0].agent, &ours);
    up(&mut lab);
}

/// Starts the first node's agent and waits until it serves; the BPF objects that are then its own.
fn up(lab: &mut Lab) -> Objects {
    lab.nodes[0].agent.start().unwrap();
    lab.nodes[0].agent.wait_ready(Duration::from_secs(30)).unwrap();
    eventually_answers(&lab.client, node_port(lab, 0, 30081));
    let ours = Objects::pinned(&lab.nodes[0].agent.bpf_root);
    assert!(ours.programs.len() >= 14 && ours.maps.len() >= 10, "{ours:?}");
    assert!(!ours.links().is_empty());
    ours
}

/// Waits until nothing of an agent that has ended is in the kernel or among files but for the lab's log of it.
fn gone(agent: &Agent, ours: &Objects) {
    // The kernel frees programs and maps a moment after their last user is gone.
    eventually("no program, map or link of ours is loaded", || {
        let left = (ours.left(), ours.links());
        if left == (Objects::default(), BTreeSet::new()) { Ok(()) } else { Err(format!("{left:?}")) }
    });
    assert!(!agent.bpf_root.exists());
    let names: Vec<_> =
        fs::read_dir(&agent.run_dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["agent.log"]);
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
    let mut text = sh::output("ip", &["-n", node.name(), "link"]).unwrap();
    text += &sh::output("tc", &["-n", node.name(), "qdisc", "show"]).unwrap();
    for side in ["ingress", "egress"] {
        text += &sh::output("tc", &["-n", node.name(), "filter", "show", "dev", "eth0", side]).unwrap();
    }
    text
}

/// Ids of BPF objects. Only those of one agent, so that whoever else loads programs on this machine is no matter.
#[derive(Debug, Default, PartialEq, Eq)]
struct Objects {
    programs: BTreeSet<u32>,
    maps: BTreeSet<u32>,
}

impl Objects {
    /// What is pinned below a root, and the maps of those programs.
    fn pinned(root: &Path) -> Self {
        let mut found = Self::default();
        let version = fs::read_dir(root).unwrap().next().unwrap().unwrap().path();
        for entry in fs::read_dir(version.join("programs")).unwrap() {
            let program = ProgramInfo::from_pin(entry.unwrap().path()).unwrap();
            found.programs.insert(program.id());
            found.maps.extend(program.map_ids().unwrap().unwrap_or_default());
        }
        for entry in fs::read_dir(version.join("maps")).unwrap() {
            found.maps.insert(MapInfo::from_pin(entry.unwrap().path()).unwrap().id());
        }
        found
    }

    /// Those that the kernel still has.
    fn left(&self) -> Self {
        // One that is freed while we look cannot be read.
        let programs = loaded_programs().flatten().map(|program| program.id());
        let maps = loaded_maps().flatten().map(|map| map.id());
        Self {
            programs: programs.filter(|id| self.programs.contains(id)).collect(),
            maps: maps.filter(|id| self.maps.contains(id)).collect(),
        }
    }

    /// The links to these programs.
    fn links(&self) -> BTreeSet<u32> {
        let ours = loaded_links().flatten().filter(|link| self.programs.contains(&link.program_id()));
        ours.map(|link| link.id()).collect()
    }
}
