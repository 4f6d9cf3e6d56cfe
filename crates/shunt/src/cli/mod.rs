//! The command line: one file a command.

mod agent;
mod bpf;
mod check;
mod cleanup;
mod client;
mod completion;
mod config;
mod kube_proxy;
mod output;
mod service;
mod status;

use clap::{Parser, Subcommand};
use shunt_common::Direction;
use std::path::PathBuf;
use std::process::ExitCode;

/// Kubernetes Services in eBPF, beside any CNI.
#[derive(Parser, Debug)]
#[command(name = "shunt", version, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Flags of every command.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Common {
    /// Directory of the agent's socket [default: /run/shunt]
    #[arg(long, global = true, value_name = "DIR", env = "SHUNT_RUN_DIR")]
    run_dir: Option<PathBuf>,
    /// Directory of pinned maps, links and programs [default: /sys/fs/bpf/shunt]
    #[arg(long, global = true, value_name = "DIR", env = "SHUNT_BPF_ROOT")]
    bpf_root: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the node's agent
    Agent(agent::Args),
    /// Tell how the agent and its datapath are
    Status(status::Args),
    /// What is served
    #[command(subcommand)]
    Service(service::Command),
    /// What the pinned maps hold; works while no agent runs
    #[command(subcommand)]
    Bpf(bpf::Command),
    /// Configuration with where each value came from
    #[command(subcommand)]
    Config(config::Command),
    /// Tell whether this node and its network can carry a configuration, without starting anything
    Check(check::Args),
    /// Remove every trace of Shunt from this node
    Cleanup(cleanup::Args),
    /// Print a script that completes commands in a shell
    Completion(completion::Args),
}

/// Runs a command; answers its exit code.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse_from(kube_proxy::arguments(std::env::args_os().collect()));
    let done = match &cli.command {
        Command::Agent(args) => agent::run(args, &cli.common),
        Command::Status(args) => status::run(args, &cli.common),
        Command::Service(command) => service::run(command, &cli.common),
        Command::Bpf(command) => bpf::run(command, &cli.common),
        Command::Config(command) => config::run(command, &cli.common),
        Command::Check(args) => check::run(args, &cli.common),
        Command::Cleanup(args) => cleanup::run(args, &cli.common),
        Command::Completion(args) => completion::run(args),
    };
    done.unwrap_or_else(|failure| failure.report())
}

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something is wrong: exit code 1.
    Problem(String),
    /// It was asked wrongly: exit code 2, as clap's own.
    Usage(String),
    /// The agent does not answer: exit code 3.
    Unreachable(String),
}

impl Failure {
    fn report(self) -> ExitCode {
        let (code, message) = match self {
            Self::Problem(message) => (1, message),
            Self::Usage(message) => (2, message),
            Self::Unreachable(message) => (3, message),
        };
        eprintln!("shunt: {message}");
        ExitCode::from(code)
    }
}

type Done = Result<ExitCode, Failure>;

/// Where pins are.
fn bpf_root(common: &Common) -> PathBuf {
    common.bpf_root.clone().unwrap_or_else(|| PathBuf::from("/sys/fs/bpf/shunt"))
}

/// The word for a direction in listings and metrics.
pub(crate) const fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn fingers_that_know_other_tools_find_their_commands() {
        for line in [
            "shunt status --brief",
            "shunt status --wait --verbose",
            "shunt service list -o json",
            "shunt bpf lb list --backends --no-headers",
            "shunt bpf ct list global",
            "shunt bpf nat list",
            "shunt bpf metrics list -o yaml",
            "shunt config view --bpf-root /b",
            "shunt check --set loadBalancer.mode=dsr --peer 192.0.2.2 --peer 2001:db8::2 -o json",
            "shunt cleanup -f",
            "shunt agent --manifests m --node-name n --set a=b --set c=d",
        ] {
            Cli::try_parse_from(line.split(' ')).unwrap_or_else(|e| panic!("{line}: {e}"));
        }
    }
}
