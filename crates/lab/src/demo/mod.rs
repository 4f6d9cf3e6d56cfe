//! The main job, shown: services of every kind, from everywhere, really asked.

mod apply;
mod rows;
mod scale;
mod table;

use crate::cluster::Lab;
use crate::topology::Topology;
use crate::{state, up};
use anyhow::{Result, bail};
use std::time::Instant;

pub use apply::apply_examples;
pub use rows::{Check, Outcome, checks, cluster_ip, ingress_ip, run as run_check};
pub use scale::run as scale;

/// Runs the demo; an error when any row failed or anything was left behind.
pub fn run(topology: Topology, keep: bool) -> Result<()> {
    if topology.nodes < 2 || topology.pods < 2 {
        bail!("the demo needs at least 2 nodes of 2 pods: it shows local and remote backends");
    }
    let start = Instant::now();
    let name = topology.name.clone();
    println!(
        "Building a cluster: {} nodes, {} pods each, {} network ...",
        topology.nodes, topology.pods, topology.style
    );
    let lab = Lab::up(topology)?;
    println!("up in {:.1} s; applying examples/*.yaml {}", start.elapsed().as_secs_f64(), apply::means());
    apply_examples(&lab)?;
    let failed = table::print(&lab)?;
    let lost = scale(&lab)?;
    show(&lab)?;
    if keep {
        println!();
        up::stay(&lab)?;
    }
    drop(lab);
    let left = state::leftovers(&name)?;
    let end = if left.is_empty() { "nothing is left" } else { "LEFT BEHIND:" };
    println!("\nTook {:.0} s; {end}.", start.elapsed().as_secs_f64());
    for thing in &left {
        println!("  {thing}");
    }
    if failed + lost + left.len() > 0 {
        bail!("{failed} rows failed, {lost} tries failed during scaling, {} things left behind", left.len());
    }
    Ok(())
}

fn show(lab: &Lab) -> Result<()> {
    for args in [["status"].as_slice(), &["service", "list"]] {
        println!("\n$ shunt {}   (on node1)", args.join(" "));
        print!("{}", lab.nodes[0].agent.ask(args)?);
    }
    Ok(())
}
