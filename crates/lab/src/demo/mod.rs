//! The main job, shown: services of every kind, from everywhere, really asked.

mod rows;
mod scale;
mod table;

use crate::cluster::Lab;
use crate::topology::Topology;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use rows::{Check, Outcome, checks, cluster_ip, ingress_ip, run as run_check};
pub use scale::run as scale;

/// The manifests that the demo applies.
pub const EXAMPLES: [&str; 4] = ["web.yaml", "one-pod.yaml", "outside.yaml", "empty.yaml"];

/// Runs the demo; an error when any row failed or anything was left behind.
pub fn run(topology: Topology, keep: bool) -> Result<()> {
    let start = Instant::now();
    let name = topology.name.clone();
    println!(
        "Building a cluster: {} nodes, {} pods each, {} network ...",
        topology.nodes, topology.pods, topology.style
    );
    let lab = Lab::up(topology)?;
    println!("up in {:.1} s; applying examples/*.yaml through the API", start.elapsed().as_secs_f64());
    apply_examples(&lab)?;
    let failed = table::print(&lab)?;
    let lost = scale(&lab)?;
    show(&lab)?;
    if keep {
        return kept(lab);
    }
    drop(lab);
    let left = leftovers(&name)?;
    println!(
        "\nTook {:.0} s; {}.",
        start.elapsed().as_secs_f64(),
        if left.is_empty() { "nothing is left" } else { "LEFT BEHIND:" }
    );
    for thing in &left {
        println!("  {thing}");
    }
    if failed + lost + left.len() > 0 {
        bail!("{failed} rows failed, {lost} tries failed during scaling, {} things left behind", left.len());
    }
    Ok(())
}

/// Applies the examples with the stock kubectl and waits until they are programmed.
pub fn apply_examples(lab: &Lab) -> Result<()> {
    let folder = examples()?;
    for file in EXAMPLES {
        lab.kubectl(&["apply", "-f", &folder.join(file).display().to_string()])?;
    }
    lab.settle()
}

/// The examples: of the source tree that this was built from, or of the one we stand in.
fn examples() -> Result<PathBuf> {
    let here = [Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples"), PathBuf::from("examples")];
    here.into_iter().find(|dir| dir.is_dir()).context("no examples folder; run this in the source tree")
}

fn show(lab: &Lab) -> Result<()> {
    for args in [["status"].as_slice(), &["service", "list"]] {
        println!("\n$ shunt {}   (on node1)", args.join(" "));
        print!("{}", lab.nodes[0].agent.ask(args)?);
    }
    Ok(())
}

fn kept(lab: Lab) -> Result<()> {
    let name = lab.topology.name.clone();
    println!("\nThe lab stays up until you press Ctrl-C.");
    println!("  a shell on a node:    shunt-lab exec node1 -- bash       (also pod1-1, client)");
    println!("  kubectl:              export KUBECONFIG={}", lab.kubeconfig().display());
    println!(
        "  the agent's commands: shunt --run-dir {0} --bpf-root {1} status",
        lab.nodes[0].agent.run_dir.display(),
        lab.nodes[0].agent.bpf_root.display()
    );
    println!("  its name:             {name}");
    wait_for_interrupt()
}

/// Returns at SIGINT or SIGTERM.
pub fn wait_for_interrupt() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = term.recv() => {}
        }
        Ok(())
    })
}

/// What a lab has left behind: nothing, if all is well.
pub fn leftovers(name: &str) -> Result<Vec<String>> {
    let mut left = Vec::new();
    for netns in crate::net::netns::with_prefix(&crate::topology::netns_prefix(name)) {
        left.push(format!("network namespace {}", netns.name()));
    }
    let cgroup = crate::cgroup::root(name)?;
    if cgroup.exists() {
        left.push(format!("cgroup {}", cgroup.display()));
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    left.extend(
        mounts.lines().filter(|m| m.contains(&format!("shunt-lab/{name}/"))).map(|m| format!("mount {m}")),
    );
    Ok(left)
}

/// How long a row may be tried before it counts as failed: the network of a new lab needs a moment.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
