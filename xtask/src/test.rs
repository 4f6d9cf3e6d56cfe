//! `cargo xtask test`: everything that has to hold before a change is merged. `.ci/run` calls it.
//!
//! Each step runs even when one before it failed, so that one run tells everything. The last line on standard output
//! is `N passed, N failed`: tests, and steps that failed among the failures.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::build_ebpf::{self, Checked};
use crate::setup::{self, Purpose};
use crate::tally::{self, Tally};
use crate::{binaries, coverage, sh};

/// The verb.
pub fn main(args: &[String]) -> Result<()> {
    if !args.is_empty() {
        bail!("usage: cargo xtask test (for single tests: cargo test -p CRATE NAME)");
    }
    setup::main_for(&[Purpose::Test])?;
    let mut run = Run::default();
    run.step("formatting", || sh::run(sh::cargo().args(["fmt", "--all", "--check"])));
    run.step("formatting of the eBPF programs", || {
        sh::run(sh::cargo().args(["fmt", "--check", "--manifest-path", "crates/ebpf/Cargo.toml"]))
    });
    run.step("clippy", || {
        let lints = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
        sh::run(sh::cargo().args(lints))
    });
    let checked = run.step("eBPF object", build_ebpf::check);
    let shunt = run.step("release binaries", || {
        let shunt = binaries::build()?;
        binaries::check(&shunt)?;
        Ok(shunt)
    });
    let notes = run.step("a place for the packet cases' notes", coverage::notes);
    if let (Some(shunt), Some(notes)) = (&shunt, &notes) {
        run.tests("tests", &["--workspace"], shunt, &[(coverage::FILE, notes)]);
        run.step("page of what the packet cases cover", || coverage::check(notes));
        if let Some(Checked::Fresh(object)) = &checked {
            run.tests(
                "packet cases on the fresh object",
                &["--package", "shunt-datapath"],
                shunt,
                &[("SHUNT_BPF_OBJECT", object)],
            );
        }
    }
    run.finish()
}

/// What happened so far.
#[derive(Default)]
struct Run {
    tally: Tally,
    failed_steps: Vec<String>,
}

impl Run {
    fn step<T>(&mut self, name: &str, step: impl FnOnce() -> Result<T>) -> Option<T> {
        sh::say(format!("test: {name}"));
        match step() {
            Ok(value) => Some(value),
            Err(error) => {
                eprintln!("error: {name}: {error:#}");
                self.failed_steps.push(name.to_owned());
                None
            }
        }
    }

    /// Runs `cargo test` on the release binaries that were just built, and adds up what it reports.
    fn tests(&mut self, name: &str, packages: &[&str], shunt: &Path, also: &[(&str, &PathBuf)]) {
        sh::say(format!("test: {name}"));
        let mut cargo = sh::cargo();
        cargo.args(["test", "--locked", "--no-fail-fast"]).args(packages);
        // `shunt-lab` lies beside it.
        cargo.env("SHUNT_BIN", shunt);
        cargo.envs(also.iter().copied());
        match tally::run(&mut cargo) {
            Ok((tally, true)) => self.tally.add(&tally),
            Ok((tally, false)) => {
                // A test program that did not compile or that died reports no failed test.
                if tally.failed == 0 {
                    self.failed_steps.push(name.to_owned());
                }
                self.tally.add(&tally);
            }
            Err(error) => {
                eprintln!("error: {name}: {error:#}");
                self.failed_steps.push(name.to_owned());
            }
        }
    }

    fn finish(self) -> Result<()> {
        println!();
        for name in &self.tally.failed_names {
            println!("failed: {name}");
        }
        for name in &self.failed_steps {
            println!("failed: {name}");
        }
        for reason in &self.tally.not_run {
            println!("not run: {reason}");
        }
        if self.tally.ignored > 0 {
            println!("{} ignored", self.tally.ignored);
        }
        let failed = self.tally.failed + self.failed_steps.len();
        println!("{} passed, {failed} failed", self.tally.passed.saturating_sub(self.tally.not_run.len()));
        if failed > 0 {
            bail!("the tests failed");
        }
        Ok(())
    }
}
