//! `cargo xtask bench`: every figure that Shunt claims, as a table, with raw results kept beside it.
//!
//! A figure is only worth something beside another one of the same run, so each bench brings its peer: the packet bench
//! a program that parses, rewrites and redirects with no lookup; the connect bench the pod's own address, and the rules
//! that kube-proxy would have written for the same services; the forward bench these rules, and a node that only routes.

mod connect;
mod control;
mod forward;
mod frames;
mod packets;
mod peers;
mod probe;
mod process;
mod report;
mod rules;
mod services;
mod stats;

#[path = "../../crates/datapath/tests/packets/coverage.rs"]
#[allow(missing_docs, reason = "what the packet cases' own node notes; nothing here")]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "written for tests, where a panic is the report")]
mod coverage;
#[path = "../../crates/datapath/tests/packets/packet.rs"]
#[allow(dead_code, missing_docs, reason = "the packet cases' own builders, used in part")]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "written for tests, where a panic is the report")]
mod packet;
#[path = "../../crates/datapath/tests/packets/world.rs"]
#[allow(dead_code, missing_docs, reason = "the packet cases' own node, used in part")]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "written for tests, where a panic is the report")]
mod world;

/// The packet cases' node is driven by the tc programs here.
const AT_DRIVER: bool = false;

/// A bench: its name on the command line, and what runs.
type Bench = (&'static str, fn() -> anyhow::Result<report::Report>);

const BENCHES: [Bench; 4] = [
    ("packets", packets::run),
    ("control", control::run),
    ("connect", connect::run),
    ("forward", forward::run),
];

fn main() -> anyhow::Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if wanted.first().is_some_and(|first| first == probe::VERB) {
        return probe::main(&wanted[1..]);
    }
    if let Some(unknown) = wanted.iter().find(|w| BENCHES.iter().all(|(name, _)| name != w)) {
        anyhow::bail!(
            "no bench {unknown:?}; there are packets, control, connect and forward (all of them when none is named)"
        );
    }
    for (name, run) in BENCHES {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            run()?.finish()?;
        }
    }
    Ok(())
}
