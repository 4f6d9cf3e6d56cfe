//! The programs that run inside the guest, linked statically: the guest has no C library.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::{binaries, sh};

/// A program for the guest.
pub struct Program {
    /// Its name there.
    pub name: &'static str,
    /// The file here.
    pub path: PathBuf,
    /// What it is called with, and `NAME=VALUE` before.
    pub env: &'static str,
    pub args: &'static str,
    /// What it starts in its turn, put beside it.
    pub beside: Vec<PathBuf>,
}

/// Builds all of them, as the release binaries are built, so that dependencies are compiled once.
pub fn build() -> Result<Vec<Program>> {
    sh::say("test-kernels: building the programs that run in the guests");
    let verifier = executable("shunt-datapath", &["build", "--example", "verifier"], "verifier")?;
    let packets = executable("shunt-datapath", &["test", "--no-run", "--test", "packets"], "packets")?;
    let links = executable("shunt-e2e", &["test", "--no-run", "--test", "links"], "links")?;
    let shunt = binaries::build()?;
    let lab = shunt.with_file_name("shunt-lab");
    Ok(vec![
        Program { name: "verifier", path: verifier, env: "", args: "", beside: Vec::new() },
        // The verifier takes twice as long for both families, and seconds here.
        Program {
            name: "packets",
            path: packets,
            env: "PACKET_CASES_ONE_FAMILY=1",
            args: "--test-threads=1",
            beside: Vec::new(),
        },
        // The agent itself, on a lab, with links that the kernel of who runs the other tests may not have.
        Program {
            name: "links",
            path: links,
            env: "SHUNT_BIN=/tests/shunt LAB_PATIENCE=20",
            args: "--nocapture --test-threads=1 clients_behind_a_vlan_are_served",
            beside: vec![shunt, lab],
        },
    ])
}

fn executable(package: &str, verb: &[&str], name: &str) -> Result<PathBuf> {
    let mut cargo = sh::cargo();
    cargo.args(verb).args(["--package", package, "--release", "--locked", "--target"]);
    cargo.arg(binaries::host()?).arg("--message-format=json-render-diagnostics");
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static").stdin(Stdio::null()).stderr(Stdio::inherit());
    let out = cargo.output().context("cannot run cargo")?;
    if !out.status.success() {
        bail!("cargo {} failed", verb.join(" "));
    }
    let messages = String::from_utf8_lossy(&out.stdout);
    let wanted = format!("\"name\":\"{name}\"");
    let path = messages.lines().filter(|line| line.contains(&wanted)).find_map(|line| {
        let (_, rest) = line.split_once("\"executable\":\"")?;
        rest.split_once('"').map(|(path, _)| PathBuf::from(path))
    });
    path.with_context(|| format!("cargo does not say where {name} is"))
}
