//! `cargo xtask bench`: every figure that Shunt claims, as a table, with raw results kept beside it.
//!
//! A figure is only worth something beside another one of the same run, so each bench brings its peer: the packet bench
//! a program that parses, rewrites and redirects with no lookup.

mod packets;
mod report;
mod stats;

#[path = "../../crates/datapath/tests/packets/packet.rs"]
#[allow(dead_code, missing_docs, reason = "the packet cases' own builders, used in part")]
mod packet;
#[path = "../../crates/datapath/tests/packets/world.rs"]
#[allow(dead_code, missing_docs, reason = "the packet cases' own node, used in part")]
mod world;

fn main() -> anyhow::Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let all = wanted.is_empty();
    let run = |name: &str| all || wanted.iter().any(|w| w == name);
    if run("packets") {
        packets::run()?.finish()?;
    }
    Ok(())
}
