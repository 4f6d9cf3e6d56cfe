//! Asking from any place of a lab: a probe is a process of its own, since only a process can be in a node's cgroup.

use crate::cluster::lab_binary;
use crate::place::{Place, Process};
use crate::probe::{Answer, Datagram, Tries};
use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use std::net::SocketAddr;
use std::process::Stdio;

/// Runs a probe process in a place and reads what it found.
pub fn probe<T: DeserializeOwned>(place: &Place, args: &[&str]) -> Result<T> {
    let mut command = place.command(lab_binary()?)?;
    let done = command.arg("probe").args(args).stdin(Stdio::null()).output()?;
    if !done.status.success() {
        bail!("probe {} from {}: {}", args.join(" "), place.name, String::from_utf8_lossy(&done.stderr));
    }
    serde_json::from_slice(&done.stdout).with_context(|| format!("probe {}", args.join(" ")))
}

/// One HTTP GET from a place.
pub fn http(place: &Place, addr: SocketAddr, path: &str) -> Result<Answer> {
    probe(place, &["http", &addr.to_string(), path])
}

/// One UDP exchange from a place.
pub fn udp(place: &Place, addr: SocketAddr, connected: bool) -> Result<Datagram> {
    let addr = addr.to_string();
    let mut args = vec!["udp", &addr];
    if connected {
        args.push("--connected");
    }
    probe(place, &args)
}

/// Some HTTP GETs from a place, each on its own connection.
pub fn repeat(place: &Place, addr: SocketAddr, count: u32) -> Result<Tries> {
    probe(place, &["repeat", &addr.to_string(), "--count", &count.to_string()])
}

/// Some UDP exchanges from a place, each from its own socket, connected and unconnected in turn.
pub fn repeat_udp(place: &Place, addr: SocketAddr, count: u32) -> Result<Tries> {
    probe(place, &["repeat", "--udp", &addr.to_string(), "--count", &count.to_string()])
}

/// A probe that runs until its standard input is closed.
pub fn background(place: &Place, args: &[String]) -> Result<Process> {
    let mut command = place.command(lab_binary()?)?;
    command.arg("probe").args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    Ok(Process::new(command.spawn()?))
}

/// Ends a background probe and reads what it found: its last line.
pub fn finish<T: DeserializeOwned>(mut process: Process) -> Result<T> {
    drop(process.child().stdin.take());
    let mut text = String::new();
    let mut out = process.child().stdout.take().context("a pipe")?;
    std::io::Read::read_to_string(&mut out, &mut text)?;
    process.child().wait()?;
    let last = text.lines().last().context("the probe said nothing")?;
    serde_json::from_str(last).with_context(|| text.clone())
}
