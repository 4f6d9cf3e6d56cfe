//! `cargo xtask deny`: licences, bans and sources of every dependency, by `deny.toml`.

use anyhow::{Result, bail};

use crate::setup::{self, Purpose};
use crate::{sh, versions};

/// The verb.
pub fn main(args: &[String]) -> Result<()> {
    if !args.is_empty() {
        bail!("usage: cargo xtask deny");
    }
    setup::main_for(&[Purpose::Build])?;
    let deny = sh::cache().join("bin/cargo-deny");
    let installed = sh::output(sh::cmd(&deny).arg("--version")).unwrap_or_default();
    if installed.trim() != format!("cargo-deny {}", versions::CARGO_DENY) {
        sh::say("building cargo-deny into .shunt-cache/bin (a few minutes, once)");
        let mut install = sh::cargo();
        install.args([
            "install",
            "cargo-deny",
            "--version",
            versions::CARGO_DENY,
            "--locked",
            "--force",
            "--root",
        ]);
        sh::run(install.arg(sh::cache()))?;
    }
    for manifest in ["Cargo.toml", "crates/ebpf/Cargo.toml"] {
        let mut check = sh::cmd(&deny);
        check.args(["--manifest-path", manifest, "--config", "deny.toml", "check"]);
        // Advisories need a database from the network; they are looked up where that is at hand.
        sh::run(check.args(["licenses", "bans", "sources"]))?;
    }
    Ok(())
}
