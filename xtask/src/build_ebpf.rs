//! `cargo xtask build-ebpf [--check]`: makes the eBPF object that the datapath embeds.
//!
//! Without a flag the object and the record of its toolchain are written into the tree. `--check` writes nothing
//! there: it rebuilds and compares byte for byte. When the toolchain at hand is not the recorded one the bytes cannot
//! be equal; then it says so, and leaves the fresh object where `cargo xtask test` runs the packet cases on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::setup::{self, Purpose};
use crate::toolchain::{self, Toolchain};
use crate::{object, sh};

/// What a check found.
pub enum Checked {
    /// The committed object is what the sources make.
    Same,
    /// Another toolchain made this object; it has to be tested as well.
    Fresh(PathBuf),
}

/// The verb.
pub fn main(args: &[String]) -> Result<()> {
    match args {
        [] => {
            setup::main_for(&[Purpose::Ebpf])?;
            write()
        }
        [flag] if flag == "--check" => {
            setup::main_for(&[Purpose::Ebpf])?;
            check().map(drop)
        }
        _ => bail!("usage: cargo xtask build-ebpf [--check]"),
    }
}

fn write() -> Result<()> {
    let toolchain = find()?;
    let bytes = build(&toolchain)?;
    let folder = folder();
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("shunt.bpf.o"), &bytes)?;
    fs::write(folder.join("TOOLCHAIN"), toolchain.record())?;
    sh::say(format!("crates/datapath/object/shunt.bpf.o: {} bytes", bytes.len()));
    if !toolchain.is_reference() {
        sh::say("this is not the reference toolchain: do not commit this object (see docs/adr/0003)");
    }
    Ok(())
}

/// Rebuilds, and compares with what is committed.
pub fn check() -> Result<Checked> {
    let toolchain = find()?;
    let bytes = build(&toolchain)?;
    let fresh = sh::root().join("target/ebpf/shunt.bpf.o");
    fs::write(&fresh, &bytes)?;
    let recorded = read(&folder().join("TOOLCHAIN"))?;
    let recorded = String::from_utf8_lossy(&recorded);
    if recorded != toolchain.record() {
        println!("*** The eBPF toolchain here is not the one that made the committed object.");
        println!("*** here:     {}", toolchain.record().trim().replace('\n', ", "));
        println!("*** recorded: {}", recorded.trim().replace('\n', ", "));
        println!("*** The bytes cannot be compared; the packet cases run on the fresh object too.");
        return Ok(Checked::Fresh(fresh));
    }
    let committed = read(&folder().join("shunt.bpf.o"))?;
    if committed != bytes {
        let at = committed.iter().zip(&bytes).take_while(|(old, new)| old == new).count();
        bail!(
            "crates/datapath/object/shunt.bpf.o is not what crates/ebpf makes: {} bytes committed, {} built, first \
             difference at byte {at}. Run `cargo xtask build-ebpf` and commit the result.",
            committed.len(),
            bytes.len()
        );
    }
    sh::say("the committed eBPF object is what its sources make, byte for byte");
    Ok(Checked::Same)
}

fn find() -> Result<Toolchain> {
    toolchain::find().context("no eBPF toolchain: `cargo xtask setup --for ebpf` says what is missing")
}

/// Builds in `target/ebpf` and returns the finished object.
fn build(toolchain: &Toolchain) -> Result<Vec<u8>> {
    let target = sh::root().join("target/ebpf");
    let library = llvm_only(&target, &toolchain.llvm)?;
    let linker = toolchain::bpf_linker().context("no bpf-linker: run `cargo xtask setup --for ebpf`")?;
    // The folders of the registries, whose names are mapped away, must be there before the build starts.
    sh::run(cargo(toolchain).args(["fetch", "--locked"]))?;
    sh::say(format!("building crates/ebpf with {}", toolchain.record().trim().replace('\n', ", ")));
    let mut cargo = cargo(toolchain);
    cargo
        .args(["build", "--release", "--locked", "--target-dir"])
        .arg(&target)
        .arg("--config")
        .arg(format!("build.rustflags=[{}]", remaps(toolchain)?))
        .env("LD_LIBRARY_PATH", library)
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker);
    sh::run(&mut cargo)?;
    object::finish(&read(&target.join("bpfel-unknown-none/release/shunt"))?)
}

/// The toolchain's cargo, in the folder of the programs and with nothing in its environment that changes the bytes.
fn cargo(toolchain: &Toolchain) -> Command {
    let mut cargo = sh::cmd(&toolchain.cargo);
    cargo.current_dir(sh::root().join("crates/ebpf"));
    for (name, _) in std::env::vars_os() {
        if leaks_into_the_object(&name.to_string_lossy()) {
            cargo.env_remove(name);
        }
    }
    // `core` for the BPF target is built from source, which stable compilers allow only with this.
    cargo.env("RUSTC", &toolchain.rustc).env("RUSTC_BOOTSTRAP", "1");
    cargo
}

/// Environment that would change flags, compiler or place of the nested build.
fn leaks_into_the_object(name: &str) -> bool {
    let harmless = ["CARGO_HOME", "CARGO_HTTP", "CARGO_NET", "CARGO_REGISTR", "CARGO_TERM"];
    let ours = ["CARGO", "RUSTC", "RUSTFLAGS", "RUSTUP_TOOLCHAIN"];
    ours.iter().any(|prefix| name.starts_with(prefix))
        && !harmless.iter().any(|prefix| name.starts_with(prefix))
}

/// Paths that would end up in the object, each mapped to a fixed one.
fn remaps(toolchain: &Toolchain) -> Result<String> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let home = home.context("neither CARGO_HOME nor HOME is set")?;
    let mut maps = vec![(sh::root(), "/shunt".to_owned())];
    // A registry's folder is named after its address, which mirrors have their own of.
    let registries = home.join("registry/src");
    for registry in
        fs::read_dir(&registries).with_context(|| format!("cannot read {}", registries.display()))?
    {
        maps.push((registry?.path(), "/cargo".to_owned()));
    }
    maps.extend(toolchain.sources.iter().map(|source| (source.clone(), "/rust".to_owned())));
    let flags = maps.iter().map(|(from, to)| format!("'--remap-path-prefix={}={to}'", from.display()));
    Ok(flags.collect::<Vec<_>>().join(","))
}

/// bpf-linker takes the first LLVM it meets in a folder; give it a folder that holds the compiler's own and no other.
fn llvm_only(target: &Path, llvm: &Path) -> Result<PathBuf> {
    let folder = target.join("llvm");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let name = llvm.file_name().context("the compiler's LLVM library has no name")?;
    std::os::unix::fs::symlink(llvm, folder.join(name))?;
    Ok(folder)
}

fn folder() -> PathBuf {
    sh::root().join("crates/datapath/object")
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
