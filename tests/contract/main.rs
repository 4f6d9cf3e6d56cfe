//! What Kubernetes' own end-to-end tests of Services do, step by step, on the lab: docs/SPECIFICATION.md says which case
//! stands for which of them. Cases run for both families, from pods by both paths (their sockets, and packets of
//! pods that bypass the socket path), from nodes and from outside, as far as it concerns them; those about the API's objects rather than about addresses may do with
//! IPv4 (`model/tests/differential` and `tests/agreement` hold every row in both).
//!
//! A file is a test and has a lab of its own; its cases run one after the other, and one that fails hides no other.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod affinity;
mod cluster;
mod conntrack;
mod forbidden;
mod networking;
mod opt_out;
mod placement;
mod policies;
mod rolling;
mod safety;
mod services;
mod specification;

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
