//! `cargo xtask VERB`: what a checkout is set up, built, shown and tested with. One file a verb.
#![forbid(unsafe_code)]

mod apt;
mod bench;
mod binaries;
mod btf;
mod build_ebpf;
mod coverage;
mod demo;
mod deny;
mod kernels;
mod needs;
mod object;
mod setup;
mod sh;
mod tally;
mod test;
mod toolchain;
mod versions;

use std::process::ExitCode;

use anyhow::Result;

/// A verb: its name, what `cargo xtask` says of it, and what runs.
type Verb = (&'static str, &'static str, fn(&[String]) -> Result<()>);

const VERBS: &[Verb] = &[
    ("setup", "installs what is missing: --for build|ebpf|demo|test|bench|kernels (test)", setup::main),
    (
        "demo",
        "builds, and shows the main job on a lab of network namespaces; arguments go to the lab",
        demo::main,
    ),
    ("test", "builds and runs every test", test::main),
    (
        "test-kernels",
        "boots the supported kernels in QEMU and runs the programs there; --bless, --refresh",
        kernels::main,
    ),
    (
        "bench",
        "builds, and measures every figure: packets, control, connect, forward (or those named)",
        bench::main,
    ),
    ("build-ebpf", "makes the eBPF object that is committed; --check compares instead", build_ebpf::main),
    ("coverage", "runs the packet cases and writes the page of what they cover", coverage::main),
    ("deny", "checks licences and sources of the dependencies", deny::main),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let verb = args.first().and_then(|name| VERBS.iter().find(|(known, ..)| known == name));
    let Some((_, _, run)) = verb else {
        eprintln!("usage: cargo xtask VERB [ARGUMENT]…\n");
        for (name, what, _) in VERBS {
            eprintln!("  {name:<13} {what}");
        }
        return ExitCode::from(2);
    };
    match run(&args[1..]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
