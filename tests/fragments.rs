//! Datagrams longer than any link reach NodePorts from outside, and answers as long come back.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use shunt_e2e::restart_with;
use shunt_lab::cluster::{Lab, probe};
use shunt_lab::demo::apply_examples;
use shunt_lab::probe::Datagram;
use shunt_lab::topology::{Style, Topology};
use std::net::SocketAddr;

/// In six fragments of a 1500 byte link.
const BYTES: usize = 8192;

#[test]
fn datagrams_in_fragments_reach_node_ports_and_come_back() {
    let mut lab =
        Lab::without_agents(Topology { nodes: 2, ..Topology::new("fragments", Style::Routed) }).unwrap();
    restart_with(&mut lab, &[]);
    apply_examples(&lab).unwrap();
    come_back(&lab, "snat");
    for dispatch in ["opt", "ipip", "geneve"] {
        restart_with(&mut lab, &["loadBalancer.mode=dsr", &format!("loadBalancer.dsrDispatch={dispatch}")]);
        come_back(&lab, dispatch);
    }
}

fn come_back(lab: &Lab, how: &str) {
    lab.settle().unwrap();
    let message = format!("echo {}", "m".repeat(BYTES));
    for v6 in [false, true] {
        // The pod of 30081 is on the node that is asked, that of 30082 on the other.
        for port in [30081, 30082] {
            let to = SocketAddr::new(lab.nodes[0].addresses.of(v6), port).to_string();
            // The first of a flow and of flows beside it, and one behind short ones.
            for words in [vec![&*message], vec![&message], vec!["who", "who", &message, "who", &message]] {
                let got: Datagram = probe(&lab.client, &[&["udp", &to][..], &words].concat()).unwrap();
                assert_eq!(got.answer.body().map(str::len), Some(BYTES), "{how}: {to}: {:?}", got.answer);
            }
        }
    }
}
