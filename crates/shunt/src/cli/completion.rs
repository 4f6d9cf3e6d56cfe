//! `shunt completion`.

use super::output::put;
use super::{Cli, Done};
use clap::CommandFactory;
use clap_complete::Shell;

/// Flags.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

pub(super) fn run(args: &Args) -> Done {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "shunt", &mut script);
    put(&String::from_utf8_lossy(&script))
}
