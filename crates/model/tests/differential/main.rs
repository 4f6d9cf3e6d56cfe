//! Shunt against kube-proxy: for many clusters made from seeds, what becomes of a new connection by the rows that the
//! model writes is what becomes of it by the nftables rules that kube-proxy writes.
//!
//! `SHUNT_DIFFERENTIAL_SEED=7 cargo test -p shunt-model --test differential` looks at one cluster alone.

// A test that cannot go on should say where.
#![allow(clippy::unwrap_used)]

mod cluster;
#[path = "../common/mod.rs"]
mod common;
mod compare;
mod kernel;
mod known;
mod kube;
mod probe;
mod random;
mod rules;
mod shrink;

use cluster::{Cluster, NODES};
use compare::{Tally, compare};

/// Clusters; each is looked at from each of its nodes.
const CLUSTERS: u64 = 250;

fn seeds() -> Vec<u64> {
    match std::env::var("SHUNT_DIFFERENTIAL_SEED") {
        Ok(seed) => vec![seed.parse().expect("SHUNT_DIFFERENTIAL_SEED is a number")],
        Err(_) => (0..CLUSTERS).collect(),
    }
}

fn all_nodes(cluster: &Cluster, tally: &mut Tally) {
    (1..=NODES).for_each(|n| compare(cluster, n, tally));
}

fn differs(cluster: &Cluster) -> bool {
    let mut tally = Tally::default();
    (1..=NODES).any(|n| {
        compare(cluster, n, &mut tally);
        !tally.differences.is_empty()
    })
}

/// A cluster made small, with what differs in it.
fn report(cluster: &Cluster) -> String {
    let small = shrink::shrink(cluster, differs);
    let mut tally = Tally::default();
    all_nodes(&small, &mut tally);
    let cases: Vec<_> = tally.differences.iter().take(5).map(ToString::to_string).collect();
    format!(
        "seed {} differs {} times:\n{}\n{}",
        cluster.seed,
        tally.differences.len(),
        cases.join("\n"),
        small.yaml()
    )
}

#[test]
fn a_new_connection_has_the_same_fate_as_by_the_rules_of_kube_proxy() {
    let (mut tally, mut failed) = (Tally::default(), Vec::new());
    let seeds = seeds();
    for seed in &seeds {
        let cluster = Cluster::new(*seed);
        all_nodes(&cluster, &mut tally);
        if !std::mem::take(&mut tally.differences).is_empty() {
            failed.push(cluster);
        }
    }
    println!("{} clusters, {} packets; the same: {:?}", seeds.len(), tally.packets, tally.fates);
    if !failed.is_empty() {
        let reports: Vec<_> = failed.iter().take(3).map(report).collect();
        panic!("{} clusters differ; the first:\n{}", failed.len(), reports.join("\n"));
    }
    for (index, known) in known::TABLE.iter().enumerate() {
        let count = tally.known.get(&index).copied().unwrap_or_default();
        println!("{count} differ, {:?}: {} ({})", known.state, known.what, known.why);
        // A row that nothing falls under explains nothing.
        assert!(seeds.len() == 1 || count > 0, "no packet differs so: {}", known.what);
    }
}
