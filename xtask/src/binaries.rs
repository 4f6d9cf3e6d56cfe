//! The release binaries: built static once, put where people look for them, and measured.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use object::Endianness;
use object::elf::{FileHeader64, PT_INTERP};
use object::read::elf::{FileHeader, ProgramHeader};

use crate::sh;

/// The largest that the agent may be: it is on every node.
const MOST_BYTES: u64 = 15_000_000;

/// Builds `shunt` and `shunt-lab` and returns where `shunt` is: `target/release/shunt`.
pub fn build() -> Result<PathBuf> {
    build_packages(&["shunt", "shunt-lab"])
}

/// Builds the packages whose only binaries are named like them, and returns where `shunt` is among them.
///
/// Static linking is asked for on a named target, so that it does not reach build scripts and procedural macros,
/// which cannot be static.
pub fn build_packages(packages: &[&str]) -> Result<PathBuf> {
    let target = host()?;
    let mut cargo = sh::cargo();
    cargo.args(["build", "--release", "--locked", "--target", &target]);
    for package in packages {
        cargo.args(["--package", package]);
    }
    if is_static_possible(&target) {
        cargo.env("RUSTFLAGS", "-C target-feature=+crt-static");
    }
    sh::run(&mut cargo)?;
    let made = target_dir().join(&target).join("release");
    let wanted = target_dir().join("release");
    fs::create_dir_all(&wanted)?;
    for name in packages {
        replace(&made.join(name), &wanted.join(name))?;
    }
    Ok(wanted.join("shunt"))
}

/// Refuses a binary that is too large, or that needs a loader where a static one is possible.
pub fn check(binary: &Path) -> Result<()> {
    let bytes = fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    let size = bytes.len() as u64;
    if size > MOST_BYTES {
        bail!("{} has {size} bytes, more than {MOST_BYTES}", binary.display());
    }
    let dynamic = needs_loader(&bytes)?;
    if dynamic && is_static_possible(&host()?) {
        bail!("{} is not static: it asks for a loader", binary.display());
    }
    let kind = if dynamic { "dynamic" } else { "static" };
    sh::say(format!("{}: {size} bytes, {kind}", binary.display()));
    Ok(())
}

/// True for an executable that is not static.
pub fn needs_loader(bytes: &[u8]) -> Result<bool> {
    let header = FileHeader64::<Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    Ok(header.program_headers(endian, bytes)?.iter().any(|segment| segment.p_type(endian) == PT_INTERP))
}

/// Where cargo builds for this checkout.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| sh::root().join("target"), PathBuf::from)
}

/// The target triple of this machine.
pub fn host() -> Result<String> {
    let verbose = sh::output(sh::cmd("rustc").arg("-vV"))?;
    let host = verbose.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not name its host")?.to_owned())
}

fn is_static_possible(target: &str) -> bool {
    target.contains("-linux-")
}

/// Puts a file in place by renaming, since the old one may be running.
fn replace(from: &Path, to: &Path) -> Result<()> {
    let fresh = to.with_extension("fresh");
    fs::copy(from, &fresh).with_context(|| format!("cannot copy {}", from.display()))?;
    fs::rename(&fresh, to).with_context(|| format!("cannot replace {}", to.display()))
}
