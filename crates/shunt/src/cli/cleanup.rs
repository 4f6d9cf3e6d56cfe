//! `shunt cleanup`.

use super::output::put;
use super::{Common, Done, Failure};
use crate::agent::reserved_ports::ReservedPorts;
use crate::server::SOCKET;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// Flags.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Do not ask; also while an agent runs
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
