//! Every way to a service works beside every style of CNI: the rows of the demo, both families, and long transfers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use shunt_e2e::long_answer_is_whole;
use shunt_lab::cluster::Lab;
use shunt_lab::demo::{apply_examples, checks, run_check, scale};
use shunt_lab::topology::{Style, Topology};
use std::net::SocketAddr;

#[test]
fn beside_a_cni_that_routes_to_each_pod() {
    every_way_in(Style::Routed);
}

#[test]
fn beside_a_cni_with_a_bridge_on_each_node() {
    every_way_in(Style::Bridge);
}

#[test]
fn beside_a_cni_with_a_vxlan_overlay() {
    every_way_in(Style::Vxlan);
}

fn every_way_in(style: Style) {
    let lab = Lab::up(Topology::new(format!("ways-{style}"), style)).unwrap();
    apply_examples(&lab).unwrap();
    let rows = checks(&lab).unwrap();
    assert!(rows.len() >= 50, "{} rows", rows.len());
    let mut failed = Vec::new();
    for row in rows {
        let outcome = run_check(&row).unwrap();
        if !outcome.wrong.is_empty() {
            failed.push(format!("{}: {:?} to {}: {:?}", row.what, row.how, row.to, outcome.wrong));
        }
    }
    assert!(failed.is_empty(), "{style}:\n{}", failed.join("\n"));
    long_transfers(&lab);
    assert_eq!(scale(&lab).unwrap(), 0, "tries that failed while the service was scaled");
}

/// Bytes of a transfer: many times any buffer, so that segmentation offload and the MTU of the way both matter.
const LONG: usize = 20_000_000;

fn long_transfers(lab: &Lab) {
    for v6 in [false, true] {
        for (port, where_to) in [(30081, "a local backend"), (30082, "a remote backend")] {
            let addr = SocketAddr::new(lab.nodes[0].addresses.of(v6), port);
            long_answer_is_whole(&lab.client, addr, LONG, &format!("{LONG} bytes from {where_to}"));
        }
    }
}
