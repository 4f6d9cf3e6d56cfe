//! Finds the compiler, the sources of `core` and the linker that make the eBPF object.
//!
//! `core` has to be built for the BPF target, so compiler and sources must be of the same release. Two ways lead
//! there: Debian's `rustc-web` packages (the reference), or a rustup toolchain with its `rust-src` component.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{sh, versions};

/// An eBPF toolchain that is complete but for the linker.
pub struct Toolchain {
    /// The compiler.
    pub rustc: PathBuf,
    /// The cargo of the same release: cargo takes part in symbol names.
    pub cargo: PathBuf,
    /// The compiler's version line and its LLVM, as the TOOLCHAIN file records them.
    pub version: String,
    /// The LLVM library that the compiler is linked with; the linker must use the same.
    pub llvm: PathBuf,
    /// Where the sources of `core` are, as the compiler sees them and as they are on disk.
    pub sources: Vec<PathBuf>,
}

/// The reference toolchain if it is here, else rustup's own with `rust-src`, else none.
pub fn find() -> Option<Toolchain> {
    debian().or_else(rustup)
}

/// Debian's packages, in the version that made the committed object.
pub fn debian() -> Option<Toolchain> {
    let found = probe("/usr/bin/rustc".into(), "/usr/bin/cargo".into())?;
    found.version.starts_with(&format!("rustc {} ", versions::EBPF_RUSTC)).then_some(found)
}

fn rustup() -> Option<Toolchain> {
    let sysroot = sh::output(sh::cmd("rustc").args(["--print", "sysroot"])).ok()?;
    let bin = Path::new(sysroot.trim()).join("bin");
    probe(bin.join("rustc"), bin.join("cargo"))
}

fn probe(rustc: PathBuf, cargo: PathBuf) -> Option<Toolchain> {
    let sysroot = sh::output(Command::new(&rustc).args(["--print", "sysroot"])).ok()?;
    let library = Path::new(sysroot.trim()).join("lib/rustlib/src/rust");
    let on_disk = library.canonicalize().ok()?;
    if !on_disk.join("library/core/Cargo.toml").is_file() || !cargo.is_file() {
        return None;
    }
    let verbose = sh::output(Command::new(&rustc).arg("-vV")).ok()?;
    let llvm_version = verbose.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    let version = format!("{}\nLLVM {llvm_version}", verbose.lines().next()?);
    Some(Toolchain { llvm: llvm(&rustc)?, rustc, cargo, version, sources: vec![library, on_disk] })
}

/// The LLVM library in the compiler's list of shared libraries.
fn llvm(rustc: &Path) -> Option<PathBuf> {
    let libraries = sh::output(Command::new("ldd").arg(rustc)).ok()?;
    let line = libraries.lines().find(|line| line.trim_start().starts_with("libLLVM"))?;
    line.split_whitespace().nth(2).map(PathBuf::from)
}

impl Toolchain {
    /// True for the toolchain that makes the committed object.
    pub fn is_reference(&self) -> bool {
        self.rustc == Path::new("/usr/bin/rustc") && self.version.contains(versions::EBPF_RUSTC)
    }

    /// What TOOLCHAIN says beside an object that this toolchain made.
    pub fn record(&self) -> String {
        format!("{}\nbpf-linker {}\n", self.version, versions::BPF_LINKER)
    }
}

/// The pinned linker, wherever it is: on PATH, or where `setup` put it.
pub fn bpf_linker() -> Option<PathBuf> {
    let own = sh::cache().join("bin/bpf-linker");
    [Some(own), sh::which("bpf-linker")].into_iter().flatten().find(|linker| is_pinned(linker))
}

fn is_pinned(linker: &Path) -> bool {
    let version = sh::output(Command::new(linker).arg("--version")).unwrap_or_default();
    version.trim() == format!("bpf-linker {}", versions::BPF_LINKER)
}

/// Builds the pinned linker into the checkout's cache, so that nobody's own version is replaced.
pub fn install_bpf_linker() -> Result<()> {
    let version = versions::BPF_LINKER;
    sh::say(format!(
        "building bpf-linker {version} into .shunt-cache/bin (it links the eBPF object; a minute or two)"
    ));
    let mut install = sh::cargo();
    install.args(["install", "bpf-linker", "--version", version, "--locked", "--root"]).arg(sh::cache());
    sh::run(&mut install).context("bpf-linker comes from the crates registry: is it reachable?")?;
    if bpf_linker().is_none() {
        bail!("bpf-linker was built but does not run: try .shunt-cache/bin/bpf-linker --version");
    }
    Ok(())
}
