//! `shunt-lab`: labs by hand, the demo, and what runs inside of labs.

use anyhow::{Context, Result};
use clap::Parser;
use shunt_lab::cluster::{self, Lab};
use shunt_lab::net::netns;
use shunt_lab::topology::{Style, Topology, netns_prefix};
use shunt_lab::{cgroup, demo, netexec, place::Place, probe};
use std::process::ExitCode;

/// Clusters of network namespaces on this machine, with Shunt on every node.
#[derive(Parser, Debug)]
#[command(name = "shunt-lab", version)]
enum Cli {
    /// Show the main job: every kind of service, asked from everywhere
    Demo {
        #[command(flatten)]
        shape: Shape,
        /// Leave the lab up until Ctrl-C
        #[arg(long)]
        keep: bool,
    },
    /// Bring a lab up until Ctrl-C
    Up {
        #[command(flatten)]
        shape: Shape,
    },
    /// Remove what a lab left behind
    Down {
        /// Its name; every lab when not given
        name: Option<String>,
    },
    /// Run a command in a place of a lab: a node, a pod or the client
    Exec {
        /// `node1`, `pod1-2`, `client`, `router`
        place: String,
        /// The lab
        #[arg(long, default_value = "demo")]
        name: String,
        /// The command
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Labs that are up
    List,
    /// Serve as a pod does
    Netexec(netexec::Args),
    /// Ask as a client does
    #[command(subcommand)]
    Probe(probe::Args),
}

/// The shape of a lab.
#[derive(clap::Args, Clone, Debug)]
struct Shape {
    /// Name
    #[arg(long, default_value = "demo")]
    name: String,
    /// What the CNI does: routed, bridge or vxlan
    #[arg(long, default_value = "routed")]
    style: Style,
    /// Number of nodes
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Pods on each node
    #[arg(long, default_value_t = 2)]
    pods: usize,
}

impl Shape {
    fn topology(self) -> Topology {
        Topology { nodes: self.nodes, pods: self.pods, ..Topology::new(self.name, self.style) }
    }
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("shunt-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    match cli {
        Cli::Demo { shape, keep } => demo::run(shape.topology(), keep)?,
        Cli::Up { shape } => up(shape.topology())?,
        Cli::Down { name } => {
            let names = name.map_or_else(cluster::names, |name| vec![name]);
            names.iter().for_each(|name| cluster::clean(name));
        }
        Cli::Exec { place, name, command } => return exec(&name, &place, &command),
        Cli::List => cluster::names().iter().for_each(|name| println!("{name}")),
        Cli::Netexec(args) => netexec::run(&args)?,
        Cli::Probe(args) => probe::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn up(topology: Topology) -> Result<()> {
    let lab = Lab::up(topology)?;
    println!("up; export KUBECONFIG={}", lab.kubeconfig().display());
    demo::wait_for_interrupt()
}

/// Runs a command where a lab's processes run.
fn exec(lab: &str, name: &str, command: &[String]) -> Result<ExitCode> {
    let wanted = format!("{}{name}", netns_prefix(lab));
    let netns = netns::with_prefix(&wanted).into_iter().find(|netns| netns.name() == wanted);
    let netns = netns.with_context(|| format!("lab {lab} has no {name}"))?;
    // A node's own processes are in NODE/host, a pod's in NODE/POD.
    let root = cgroup::root(lab)?;
    let node =
        name.strip_prefix("pod").and_then(|rest| rest.split_once('-')).map(|(node, _)| format!("node{node}"));
    let cgroup = match node {
        Some(node) => root.join(node).join(name),
        None => root.join(name).join("host"),
    };
    let place = Place { name: name.to_owned(), netns, cgroup: cgroup.is_dir().then_some(cgroup) };
    let (program, args) = command.split_first().context("no command")?;
    let status = place.command(program)?.args(args).status().with_context(|| program.clone())?;
    Ok(ExitCode::from(status.code().unwrap_or(1) as u8))
}
