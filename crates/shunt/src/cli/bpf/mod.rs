//! `shunt bpf ...`: what the pinned maps hold, with or without an agent.

mod affinity;
mod ct;
mod lb;
mod maglev;
mod metrics;
mod nat;

use super::output::Output;
use super::{Common, Done, Failure};
use shunt_datapath::dump::Reader;

/// Subcommands.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    /// Frontends and backends
    #[command(subcommand)]
    Lb(Lb),
    /// Flows
    #[command(subcommand)]
    Ct(Ct),
    /// Address translations of flows
    #[command(subcommand)]
    Nat(List),
    /// Counters by reason
    #[command(subcommand)]
    Metrics(List),
}

#[derive(clap::Subcommand, Debug)]
pub(super) enum List {
    /// List them
    List(Output),
}

#[derive(clap::Subcommand, Debug)]
pub(super) enum Lb {
    /// List frontends with their backends
    List {
        #[command(flatten)]
        what: What,
        #[command(flatten)]
        output: Output,
    },
    /// Maglev lookup tables
    #[command(subcommand)]
    Maglev(Maglev),
}

/// What of it; frontends with the addresses of their backends when nothing is said.
#[derive(clap::Args, Clone, Copy, Debug)]
#[group(multiple = false)]
pub(super) struct What {
    /// Backend ids in place of addresses
    #[arg(long)]
    frontends: bool,
    /// Only backends
    #[arg(long)]
    backends: bool,
    /// The ranges of clients that may, or may not, use a service
    #[arg(long)]
    source_ranges: bool,
    /// Which backend session affinity keeps for each client
    #[arg(long)]
    affinity: bool,
}

#[derive(clap::Subcommand, Debug)]
pub(super) enum Ct {
    /// List flows
    List {
        #[arg(value_enum, default_value = "global")]
        table: Table,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(clap::Subcommand, Debug)]
pub(super) enum Maglev {
    /// List the tables of all services
    List(Output),
    /// Show the tables of one service
    Get {
        /// Its id, as `bpf lb list` has it
        service: u32,
        #[command(flatten)]
        output: Output,
    },
}

/// There is one table; the word is what fingers know.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Table {
    /// Every flow of the node
    Global,
}

pub(super) fn run(command: &Command, common: &Common) -> Done {
    let reader = Reader::open(&super::bpf_root(common)).map_err(problem)?;
    match command {
        Command::Lb(Lb::List { what, output }) if what.affinity => affinity::run(&reader, *output),
        Command::Lb(Lb::List { what, output }) => lb::run(&reader, *what, *output),
        Command::Lb(Lb::Maglev(Maglev::List(output))) => maglev::run(&reader, None, *output),
        Command::Lb(Lb::Maglev(Maglev::Get { service, output })) => {
            maglev::run(&reader, Some(*service), *output)
        }
        Command::Ct(Ct::List { table: Table::Global, output }) => ct::run(&reader, *output),
        Command::Nat(List::List(output)) => nat::run(&reader, *output),
        Command::Metrics(List::List(output)) => metrics::run(&reader, *output),
    }
}

fn problem(error: shunt_datapath::Error) -> Failure {
    Failure::Problem(error.to_string())
}
