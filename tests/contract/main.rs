//! What Kubernetes' own end-to-end tests of Services do, step by step, on the lab: docs/SPECIFICATION.md says which case
//! stands for which of them. Every case runs for both families, from pods by both paths (their sockets, and packets of
//! pods that bypass the socket path), from nodes and from outside, as far as it concerns them.
//!
//! A file is a test and has a lab of its own; its cases run one after the other, and one that fails hides no other.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod affinity;
mod cluster;
mod conntrack;
mod networking;
mod opt_out;
mod placement;
mod policies;
mod services;

use cluster::Cluster;
use shunt_lab::topology::Style;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A case: its name, which the specification uses, and its steps.
type Case = (&'static str, fn(&Cluster));

/// Names the functions of a file as cases.
macro_rules! cases {
    ($($case:ident),+ $(,)?) => { &[$((stringify!($case), $case as fn(&crate::Cluster))),+] };
}
pub(crate) use cases;

/// Runs cases on a lab of their own.
fn run(name: &str, style: Style, cases: &[Case]) {
    run_with(name, style, &[], cases);
}

/// The same, with more arguments for the agents.
fn run_with(name: &str, style: Style, arguments: &[&str], cases: &[Case]) {
    let cluster = Cluster::up(name, style, arguments);
    let mut failed = Vec::new();
    for (name, case) in cases {
        let started = std::time::Instant::now();
        let passed = catch_unwind(AssertUnwindSafe(|| case(&cluster))).is_ok();
        println!("{name}: {} ({:?})", if passed { "ok" } else { "FAILED" }, started.elapsed());
        if !passed {
            failed.push(*name);
        }
        cluster.forget_services();
    }
    assert!(failed.is_empty(), "failed: {failed:?}");
}

/// Each name that docs/SPECIFICATION.md gives is a function of that file, and each case is on the page.
#[test]
fn the_specification_names_tests_that_exist() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("../docs/SPECIFICATION.md")).unwrap();
    let quoted: Vec<&str> = page.split('`').skip(1).step_by(2).filter(|text| text.contains("::")).collect();
    assert!(quoted.len() > 60, "{} names", quoted.len());
    for name in quoted {
        let (packets, name) = match name.strip_prefix("datapath: ") {
            Some(name) => (true, name),
            None => (false, name),
        };
        let (file, function) = name.rsplit_once("::").unwrap();
        let file = file.trim_start_matches("contract::");
        let folders = if packets { &["../crates/datapath/tests/packets"][..] } else { &["contract", "."] };
        let paths = folders.iter().map(|folder| root.join(folder).join(format!("{file}.rs")));
        let sources =
            paths.chain([root.join("contract/main.rs")]).filter_map(|p| std::fs::read_to_string(p).ok());
        let found = sources.into_iter().any(|text| text.contains(&format!("fn {function}(")));
        assert!(found, "no test {name}");
    }
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| test"));
    for row in rows {
        assert!(row.split('|').nth(2).is_some_and(|cell| !cell.trim().is_empty()), "an empty row: {row}");
    }
}
