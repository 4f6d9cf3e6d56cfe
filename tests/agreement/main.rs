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
use shunt_common::Proto;
use std::collections::BTreeMap;
use std::sync::Mutex;

#[test]
fn the_rows_of_a_node_and_its_sockets_agree_on_every_flow() {
    let world = World::up();
    let flows = flow::read(table::FLOWS, &world);
    // Both families and both protocols of most rows.
    assert!(flows.len() > 3 * table::FLOWS.lines().count(), "{} flows", flows.len());
    let maps: Vec<_> = world.lab.nodes.iter().map(|node| rows::of(&node.agent.bpf_root)).collect();
    // The sockets of one client take turns: a flow of it that is translated on its way may be given the tuple, on the wire, of a
    // connection that it has with that backend directly (docs/SPECIFICATION.md, G).
    let mut turns: BTreeMap<_, Vec<&Flow>> = BTreeMap::new();
    for flow in &flows {
        let client = flow.from.as_ref().unwrap().place.netns.name().to_owned();
        turns.entry((client, flow.proto == Proto::Udp)).or_default().push(flow);
    }
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let (maps, world, wrong) = (&maps, &world, &wrong);
        for flows in turns.values() {
            scope.spawn(move || {
                for flow in flows {
                    let differs = differs(flow, &evaluate(flow, maps, world), &observe(flow));
                    wrong.lock().unwrap().extend(differs);
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    println!("{} flows, {} differ", flows.len(), wrong.len());
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), flows.len(), wrong.join("\n"));
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
