//! The peers: rule sets of the structure that kube-proxy 1.36 writes, for the same services, loaded into a node's own
//! network namespace.

mod iptables;
mod nftables;

use crate::services::Service;
use anyhow::{Context, Result, bail};
use shunt_lab::place::Place;
use std::io::Write;
use std::net::Ipv4Addr;
use std::process::Stdio;

/// Pods of the whole lab: what the peers do not masquerade.
const PODS: &str = "10.244.0.0/16";
/// The mark that asks for masquerading.
const MASQUERADE: &str = "0x4000";

/// Loads kube-proxy's nftables mode into a node.
pub fn load_nftables(node: &Place, address: Ipv4Addr, services: &[Service]) -> Result<()> {
    load(node, "nft", &["-f", "-"], &nftables::rules(address, services))
}

/// Loads kube-proxy's iptables mode into a node; says by which program.
pub fn load_iptables(node: &Place, services: &[Service]) -> Result<&'static str> {
    let text = iptables::rules(services);
    // The older kernel interface is the faster one, and a rival wherever it is still there.
    match load(node, "iptables-legacy-restore", &[], &text) {
        Ok(()) => Ok("iptables-legacy"),
        Err(legacy) => match load(node, "iptables-nft-restore", &[], &text) {
            Ok(()) => Ok("iptables-nft"),
            Err(error) => Err(error.context(format!("{legacy:#}"))),
        },
    }
}

fn load(node: &Place, program: &str, args: &[&str], text: &str) -> Result<()> {
    let mut command = node.outside_cgroup().command(program)?;
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child =
        command.spawn().with_context(|| format!("{program}: `cargo xtask setup --for bench` installs it"))?;
    // A program that stops reading says why itself.
    let written = child.stdin.take().context("a pipe")?.write_all(text.as_bytes());
    let done = child.wait_with_output()?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        bail!("{program}: {}", said.lines().take(3).collect::<Vec<_>>().join("; "));
    }
    written.with_context(|| program.to_owned())
}
