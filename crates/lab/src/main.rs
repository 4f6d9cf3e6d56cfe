//! `shunt-lab`: labs by hand, the demo, and what runs inside of labs.

use anyhow::Result;
use clap::Parser;
use shunt_lab::topology::{Families, Style, Topology};
use shunt_lab::{demo, netexec, probe, state, supervise, up};
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
        /// Leave it up in the background, until `shunt-lab down`
        #[arg(long)]
        detach: bool,
        /// Leave Shunt out: what pods and nodes can do alone
        #[arg(long)]
        without_agents: bool,
    },
    /// Take a lab down, or remove what a killed one left behind
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
    /// Labs that are up, and those that were killed and left something behind
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
    /// Address families: v4, v6 or both
    #[arg(long, default_value = "both")]
    families: Families,
    /// Devices of each node that face the network
    #[arg(long, default_value_t = 1)]
    devices: usize,
    /// MTU of the network between nodes, in bytes
    #[arg(long, default_value_t = 1500)]
    mtu: u32,
    /// Another process cleans up behind this one
    #[arg(long, hide = true)]
    watched: bool,
}

impl Shape {
    fn topology(self) -> Topology {
        let Self { name, style, nodes, pods, families, devices, mtu, watched: _ } = self;
        Topology { name, nodes, pods, style, families, devices, mtu }
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
    let code = match cli {
        Cli::Up { shape, detach: true, .. } => up::detach(&shape.name).map(|()| 0)?,
        Cli::Demo { shape, .. } | Cli::Up { shape, .. } if !shape.watched => {
            supervise::supervise(&shape.name)?
        }
        Cli::Demo { shape, keep } => demo::run(shape.topology(), keep).map(|()| 0)?,
        Cli::Up { shape, without_agents, .. } => up::up(shape.topology(), !without_agents).map(|()| 0)?,
        Cli::Down { name } => {
            let names = name.map_or_else(state::names, |name| vec![name]);
            names.iter().for_each(|name| state::end(name));
            0
        }
        Cli::Exec { place, name, command } => up::exec(&name, &place, &command)?,
        Cli::List => {
            list();
            0
        }
        Cli::Netexec(args) => netexec::run(&args).map(|()| 0)?,
        Cli::Probe(args) => probe::run(&args).map(|()| 0)?,
    };
    Ok(ExitCode::from(code))
}

fn list() {
    for name in state::names() {
        match state::owner(&name) {
            Some(pid) => println!("{name:<20} up, in process {pid}"),
            None => println!("{name:<20} killed; `shunt-lab down {name}` removes what it left behind"),
        }
    }
}
