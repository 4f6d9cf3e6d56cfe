//! `shunt cleanup`.

use super::output::put;
use super::{Common, Done, Failure};
use crate::agent::reserved_ports::ReservedPorts;
use crate::server::SOCKET;
use std::io::{BufRead, IsTerminal, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// Flags.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Do not ask, as without a terminal; also while an agent runs
    #[arg(short, long)]
    pub(super) force: bool,
}

pub(super) fn run(args: &Args, common: &Common) -> Done {
    let run_dir = common.run_dir.clone().unwrap_or_else(|| PathBuf::from("/run/shunt"));
    let socket = run_dir.join(SOCKET);
    let running = UnixStream::connect(&socket).is_ok();
    if running && !args.force {
        let at = socket.display();
        return Err(Failure::Problem(format!("an agent runs ({at}): stop it first, or use --force")));
    }
    if !args.force && std::io::stdin().is_terminal() && !agreed(std::io::stdin().lock()) {
        return Err(Failure::Problem("nothing was removed".into()));
    }
    let mut removed = shunt_datapath::cleanup::cleanup(&super::bpf_root(common))
        .map_err(|e| Failure::Problem(e.to_string()))?;
    // A running agent goes on answering on its socket.
    if !running && std::fs::remove_file(&socket).is_ok() {
        removed.push(format!("socket {}", socket.display()));
    }
    let ports = ReservedPorts::new(&run_dir);
    if ports.release().map_err(|e| Failure::Problem(format!("net.ipv4.ip_local_reserved_ports: {e}")))? {
        removed.push("nodePort.range from net.ipv4.ip_local_reserved_ports".into());
    }
    if !running && std::fs::remove_dir(&run_dir).is_ok() {
        removed.push(format!("directory {}", run_dir.display()));
    }
    let lines: String = removed.iter().map(|line| format!("removed {line}\n")).collect();
    put(if lines.is_empty() { "nothing to remove\n" } else { &lines })
}

/// Asks, and hears yes.
fn agreed(mut from: impl BufRead) -> bool {
    let question = "This takes every program, map and pin of Shunt off the node: its services are not served any more. Go on? [y/N] ";
    let mut stderr = std::io::stderr();
    let mut line = String::new();
    let asked = stderr.write_all(question.as_bytes()).and_then(|()| stderr.flush());
    asked.is_ok()
        && from.read_line(&mut line).is_ok()
        && matches!(line.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_one() {
        assert!(["y\n", "Yes\n", " y"].iter().all(|line| agreed(line.as_bytes())));
        assert!(!["", "\n", "n\n", "yep\n"].iter().any(|line| agreed(line.as_bytes())));
    }
}
