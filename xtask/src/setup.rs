//! `cargo xtask setup [--for PURPOSE]…`: makes the machine ready; the first step of every other verb.
//!
//! It looks first and installs only what is missing, says each thing and its reason, and ends either with everything
//! in place or with one list of what is missing and how to get it.

use anyhow::{Result, bail};

use crate::needs::{NEEDS, Need};
use crate::{apt, sh, toolchain, versions};

/// What a machine is made ready for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Building the two binaries with stable Rust.
    Build,
    /// Building the eBPF object.
    Ebpf,
    /// The lab: `cargo xtask demo`.
    Demo,
    /// Every test but the kernel matrix.
    Test,
    /// The figures.
    Bench,
    /// The kernel matrix.
    Kernels,
}

const PURPOSES: [(&str, Purpose); 6] = [
    ("build", Purpose::Build),
    ("ebpf", Purpose::Ebpf),
    ("demo", Purpose::Demo),
    ("test", Purpose::Test),
    ("bench", Purpose::Bench),
    ("kernels", Purpose::Kernels),
];

/// The verb.
pub fn main(args: &[String]) -> Result<()> {
    let mut purposes = Vec::new();
    let mut args = args.iter().map(String::as_str);
    while let Some(arg) = args.next() {
        let name = match arg {
            "--for" => args.next(),
            _ => arg.strip_prefix("--for="),
        };
        match PURPOSES.iter().find(|(known, _)| Some(*known) == name) {
            Some((_, purpose)) => purposes.push(*purpose),
            None => bail!("usage: cargo xtask setup [--for build|ebpf|demo|test|bench|kernels]…"),
        }
    }
    if purposes.is_empty() {
        purposes = vec![Purpose::Test];
    }
    main_for(&purposes)
}

/// Makes the machine ready for these purposes and for what they rest on.
pub fn main_for(purposes: &[Purpose]) -> Result<()> {
    let purposes = with_bases(purposes);
    let mut missing = Vec::new();
    let mut did = false;
    did |= packages(&purposes, &mut missing);
    did |= components(&purposes, &mut missing);
    if purposes.contains(&Purpose::Ebpf) {
        did |= ebpf(&mut missing);
    }
    if purposes.contains(&Purpose::Kernels) {
        match crate::kernels::ensure_qemu() {
            Ok(fetched) => did |= fetched,
            Err(error) => {
                missing.push(format!("qemu-system-x86_64: `apt-get install qemu-system-x86` ({error:#})"))
            }
        }
    }
    if !missing.is_empty() {
        bail!("setup: this is missing, and could not be installed:\n  - {}", missing.join("\n  - "));
    }
    let names: Vec<&str> =
        PURPOSES.iter().filter(|(_, p)| purposes.contains(p)).map(|(name, _)| *name).collect();
    let done = if did { "now ready" } else { "ready, nothing to install" };
    sh::say(format!("setup: {done} ({})", names.join(", ")));
    Ok(())
}

/// Everything is built first; the tests rebuild the eBPF object and use all that the demo uses.
fn with_bases(purposes: &[Purpose]) -> Vec<Purpose> {
    let mut all = vec![Purpose::Build];
    all.extend_from_slice(purposes);
    if purposes.contains(&Purpose::Test) {
        all.extend([Purpose::Ebpf, Purpose::Demo]);
    }
    all
}

/// Installs the packages of programs that are not there. True when something was installed.
fn packages(purposes: &[Purpose], missing: &mut Vec<String>) -> bool {
    let wanted = |need: &&Need| need.purposes.iter().any(|purpose| purposes.contains(purpose));
    let absent = |need: &&Need| !present(need.program);
    let mut needs: Vec<&Need> = NEEDS.iter().filter(wanted).filter(absent).collect();
    if needs.is_empty() {
        return false;
    }
    let mut updated = Ok(());
    if apt::usable().is_ok() && needs.iter().any(|need| apt::candidate(need.package).is_none()) {
        updated = apt::update();
    }
    needs.retain(|need| {
        let known =
            !need.optional(purposes) || apt::candidate(need.package).is_some() && apt::usable().is_ok();
        if !known {
            let (program, why) = (need.program, need.why);
            sh::say(format!("setup: no {program} ({why}): done without"));
        }
        known
    });
    for need in &needs {
        sh::say(format!("setup: installing {} ({} {})", need.package, need.program, need.why));
    }
    let names: Vec<&str> = needs.iter().map(|need| need.package).collect();
    let outcome = match apt::usable() {
        Ok(()) => updated.and_then(|()| apt::install(&names)).map_err(|error| format!("{error:#}")),
        Err(reason) => Err(reason.to_owned()),
    };
    let Err(reason) = outcome else { return !needs.is_empty() };
    for need in needs.iter().filter(|need| !need.optional(purposes) && !present(need.program)) {
        missing.push(format!("{}, which {}: `apt-get install {}`", need.program, need.why, need.package));
    }
    if !missing.is_empty() {
        missing.push(format!("(why nothing was installed: {reason})"));
    }
    false
}

fn present(program: &str) -> bool {
    if program.starts_with('/') {
        std::path::Path::new(program).exists()
    } else {
        sh::which(program).is_some()
    }
}

/// rustfmt and clippy, which a minimal toolchain lacks.
fn components(purposes: &[Purpose], missing: &mut Vec<String>) -> bool {
    if !purposes.contains(&Purpose::Test) {
        return false;
    }
    let mut did = false;
    for (verb, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if sh::succeeds(sh::cargo().args([verb, "--version"])) {
            continue;
        }
        sh::say(format!("setup: adding {component} to the Rust toolchain (the tests run it)"));
        match sh::output(sh::cmd("rustup").args(["component", "add", component])) {
            Ok(_) => did = true,
            Err(error) => {
                missing.push(format!("{component}: `rustup component add {component}` ({error:#})"))
            }
        }
    }
    did
}

/// The eBPF toolchain: the reference when it can be had, else rustup's sources of `core`; and the linker.
fn ebpf(missing: &mut Vec<String>) -> bool {
    let mut did = false;
    if toolchain::debian().is_none() {
        did |= ebpf_compiler();
    }
    if toolchain::find().is_none() {
        missing.push(format!(
            "a compiler with the sources of `core`: on Debian `apt-get install {}`, elsewhere `rustup component add \
             rust-src` (only for building eBPF programs; the committed object needs neither)",
            versions::EBPF_PACKAGES.join(" ")
        ));
    }
    if toolchain::bpf_linker().is_none() {
        match toolchain::install_bpf_linker() {
            Ok(()) => did = true,
            Err(error) => missing.push(format!(
                "bpf-linker: `cargo install bpf-linker --version {} --locked` ({error:#})",
                versions::BPF_LINKER
            )),
        }
    }
    did
}

/// True when a compiler was installed. What cannot be installed shows in what is found afterwards.
fn ebpf_compiler() -> bool {
    let [compiler, ..] = versions::EBPF_PACKAGES;
    let reference = |version: String| version.starts_with(versions::EBPF_RUSTC);
    if apt::usable().is_ok() {
        if !apt::candidate(compiler).is_some_and(reference) && apt::update().is_err() {
            sh::say("setup: apt's lists could not be refreshed");
        }
        if apt::candidate(compiler).is_some_and(reference) {
            let packages = versions::EBPF_PACKAGES;
            sh::say(format!("setup: installing {} (the reference eBPF toolchain)", packages.join(", ")));
            match apt::install(&packages) {
                Ok(()) => return true,
                Err(error) => sh::say(format!("setup: {error:#}")),
            }
        }
    }
    if toolchain::find().is_some() {
        return false;
    }
    sh::say(
        "setup: adding rust-src to the Rust toolchain (eBPF programs need `core` built for their target)",
    );
    sh::succeeds(sh::cmd("rustup").args(["component", "add", "rust-src"]))
}
