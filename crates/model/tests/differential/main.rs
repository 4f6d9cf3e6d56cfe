//! Shunt against kube-proxy: for many clusters made from seeds, what becomes of a new connection by the rows that the
//! model writes is what becomes of it by the nftables rules that kube-proxy writes.
//!
//! `SHUNT_DIFFERENTIAL=7 cargo test -p shunt-model --test differential` looks at the cluster of one seed alone, and with
//! a file's name in place of the 7 at a cluster as a failure has printed it.

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
mod seen;
mod shrink;

use cluster::{Cluster, NODES};
use compare::{Tally, compare};

/// Clusters; each is looked at from each of its nodes.
const CLUSTERS: u64 = 250;

fn clusters() -> Vec<Cluster> {
    let Ok(which) = std::env::var("SHUNT_DIFFERENTIAL") else {
        return (0..CLUSTERS).map(Cluster::new).collect();
    };
    match which.parse() {
        Ok(seed) => vec![Cluster::new(seed)],
        Err(_) => vec![Cluster::read(&std::fs::read_to_string(which).expect("a seed or a file"))],
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
    let clusters = clusters();
    for cluster in &clusters {
        all_nodes(cluster, &mut tally);
        if !std::mem::take(&mut tally.differences).is_empty() {
            failed.push(cluster);
        }
    }
    println!("{} clusters, {} packets; the same: {:?}", clusters.len(), tally.packets, tally.fates);
    if !failed.is_empty() {
        let reports: Vec<_> = failed.iter().take(3).map(|c| report(c)).collect();
        panic!("{} clusters differ; the first:\n{}", failed.len(), reports.join("\n"));
    }
    for (index, known) in known::TABLE.iter().enumerate() {
        let count = tally.known.get(&index).copied().unwrap_or_default();
        println!("{count} differ: {} ({})", known.what, known.why);
        // A row that nothing falls under explains nothing.
        assert!(clusters.len() == 1 || count > 0, "no packet differs so: {}", known.what);
    }
}
