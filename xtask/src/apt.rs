//! Debian and Ubuntu packages: what is known, and installing what is missing.

use anyhow::{Context, Result, bail};

use crate::sh;

/// The version that apt would install, if any.
pub fn candidate(package: &str) -> Option<String> {
    let policy = sh::output(sh::cmd("apt-cache").args(["policy", package])).ok()?;
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (version != "(none)").then(|| version.to_owned())
}

/// True where packages can be installed at all; else the reason why not.
pub fn usable() -> std::result::Result<(), &'static str> {
    if sh::which("apt-get").is_none() {
        return Err("this machine has no apt");
    }
    if !sh::is_root() {
        return Err("installing packages needs root");
    }
    Ok(())
}

/// Refreshes apt's lists.
pub fn update() -> Result<()> {
    sh::output(sh::cmd("apt-get").args(["-q", "update"]))
        .map(drop)
        .context("apt cannot read its sources; is the machine offline?")
}

/// Installs without asking, without recommended packages, and never by removing something that is there.
pub fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let attempt = || {
        let mut apt = sh::cmd("apt-get");
        apt.args(["-q", "-y", "--no-install-recommends", "--no-remove", "install"]).args(packages);
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        sh::output(&mut apt).map(drop)
    };
    if attempt().is_ok() {
        return Ok(());
    }
    // Old lists name files that the archive has dropped.
    update()?;
    match attempt() {
        Ok(()) => Ok(()),
        Err(error) => bail!("{error:#}"),
    }
}
