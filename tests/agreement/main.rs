//! "From X to Y expect Z", three times over: what the table says, what the rows in a node's maps say to
//! `shunt_model::fate`, and what real sockets on the lab see. All three are the same, for every row.
//!
//! `table.rs` is the only place with services and flows: a row that is added there is evaluated and driven.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod evaluate;
mod flow;
mod observe;
mod rows;
mod setup;
mod table;

use evaluate::{Evaluated, evaluate};
use flow::Flow;
use observe::{Seen, observe};
use setup::World;
use std::collections::VecDeque;
use std::sync::Mutex;

/// How many flows are driven at once: most of their time they wait, for a process to start or for silence to last.
const AT_ONCE: usize = 8;

#[test]
fn the_rows_of_a_node_and_its_sockets_agree_on_every_flow() {
    let world = World::up();
    let flows = flow::read(table::FLOWS, &world);
    // Both families and both protocols of most rows.
    assert!(flows.len() > 3 * table::FLOWS.lines().count(), "{} flows", flows.len());
    let maps: Vec<_> = world.lab.nodes.iter().map(|node| rows::of(&node.agent.bpf_root)).collect();
    // One after the other: the packet path may give a pod's flow the tuple, on the wire, of a direct connection that another
    // socket of the pod has with that backend (docs/SPECIFICATION.md, G).
    let (by_packets, by_sockets): (Vec<_>, Vec<_>) =
        flows.iter().partition(|flow| flow.from.as_ref().unwrap().place.cgroup.is_none());
    assert!(!by_packets.is_empty() && !by_sockets.is_empty());
    let wrong = [by_sockets, by_packets]
        .map(|flows| drive(flows, |flow| differs(flow, &evaluate(flow, &maps, &world), &observe(flow))))
        .concat();
    println!("{} flows, {} differ", flows.len(), wrong.len());
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), flows.len(), wrong.join("\n"));
}

/// What differs, of all flows, many at a time.
fn drive(flows: Vec<&Flow>, differs: impl Fn(&Flow) -> Option<String> + Sync) -> Vec<String> {
    let (todo, wrong) = (Mutex::new(VecDeque::from(flows)), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(flow) = todo.lock().unwrap().pop_front() else { break };
                    wrong.lock().unwrap().extend(differs(flow));
                }
            });
        }
    });
    wrong.into_inner().unwrap()
}

/// Holds the three against each other; in words what differs.
fn differs(flow: &Flow, evaluated: &Evaluated, seen: &Seen) -> Option<String> {
    let mut what = Vec::new();
    if evaluated.fate != flow.fate {
        what.push(format!("the rows of {} say {:?}", evaluated.node, evaluated.fate));
    }
    if !evaluated.shows_as(flow, seen) {
        what.push(format!("the client sees {seen}"));
    }
    (!what.is_empty()).then(|| format!("{flow}, but {}", what.join(", and ")))
}

#[test]
fn a_difference_names_the_row_and_the_node() {
    let pods = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let flow = Flow::example("in1 ip/web = pod1-1 pod2-1");
    let said = |fate: &str| Evaluated::example("node1", fate, &["pod1-1", "pod2-1"]);
    let good = said("pod1-1 pod2-1");
    assert_eq!(differs(&flow, &good, &Seen::Pods(pods(&["pod1-1", "pod2-1"]))), None);
    for seen in [
        Seen::Pods(pods(&["pod1-1"])),
        Seen::Pods(pods(&["pod1-1", "pod1-2", "pod2-1"])),
        Seen::Refused,
        Seen::Silent,
    ] {
        let text = differs(&flow, &good, &seen).unwrap();
        assert!(text.contains("in1 ip/web") && text.ends_with(&format!("the client sees {seen}")), "{text}");
    }
    let text = differs(&flow, &said("pod1-1"), &Seen::Pods(pods(&["pod1-1", "pod2-1"]))).unwrap();
    assert!(text.contains("in1 ip/web") && text.contains("the rows of node1 say \"pod1-1\""), "{text}");
}
