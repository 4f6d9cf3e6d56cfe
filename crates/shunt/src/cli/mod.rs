//! The command line: one file a command.

mod agent;

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
}

/// Runs a command; answers its exit code.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Command::Agent(args) => agent::run(args, &cli.common),
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

/// The word for a direction in listings and metrics.
pub(crate) const fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}
