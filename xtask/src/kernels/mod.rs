//! `cargo xtask test-kernels [--bless] [--refresh] [KERNEL]…`: the programs on every kernel that Shunt promises.
//!
//! Debian's stock kernels are booted in QEMU without any hardware help. Inside, every program is loaded in every
//! configuration and the packet cases run; the verifier's instruction counts are held against a budget in the tree.

mod budget;
mod guest;
mod initramfs;
mod qemu;
mod suite;

use anyhow::{Result, bail};
use budget::{Budget, Cost, Load};

use crate::setup::{self, Purpose};
use crate::tally::Tally;
use crate::versions::{KERNELS, Kernel};
use crate::{sh, versions};

pub use qemu::ensure as ensure_qemu;

/// What a kernel said.
#[derive(Default)]
struct Report {
    tally: Tally,
    /// What each program took in each configuration.
    verified: Vec<(Load, Cost)>,
    /// Guest programs that failed, or did not come to their end.
    failed: Vec<String>,
}

/// The verb.
pub fn main(args: &[String]) -> Result<()> {
    let (mut bless, mut refresh, mut chosen) = (false, false, Vec::new());
    for arg in args {
        match (arg.as_str(), KERNELS.iter().find(|kernel| kernel.name == arg)) {
            ("--bless", _) => bless = true,
            ("--refresh", _) => refresh = true,
            (_, Some(kernel)) => chosen.push(kernel),
            _ => bail!("usage: cargo xtask test-kernels [--bless] [--refresh] [{}]…", names().join("|")),
        }
    }
    if chosen.is_empty() {
        chosen = versions::KERNELS.iter().collect();
    }
    setup::main_for(&[Purpose::Kernels])?;
    let programs = guest::build()?;
    let mut budget = Budget::read()?;
    let (mut passed, mut failed) = (0, Vec::new());
    let files = chosen.iter().map(|kernel| suite::kernel(kernel, refresh)).collect::<Result<Vec<_>>>()?;
    // A guest keeps one CPU busy, with the verifier mostly: they run side by side.
    let reports = std::thread::scope(|scope| {
        let boots: Vec<_> =
            chosen.iter().zip(&files).map(|(k, f)| scope.spawn(|| boot(k, f, &programs))).collect();
        boots
            .into_iter()
            .map(|b| b.join().unwrap_or_else(|e| std::panic::resume_unwind(e)))
            .collect::<Vec<_>>()
    });
    for (kernel, report) in chosen.into_iter().zip(reports) {
        let report = report?;
        passed += report.tally.passed;
        for what in report.failed.iter().chain(&report.tally.failed_names) {
            failed.push(format!("{}: {what}", kernel.name));
        }
        if bless {
            budget.set(kernel.name, &report.verified);
        } else {
            failed.extend(budget.exceeded(kernel.name, &report.verified));
        }
    }
    if bless {
        budget.write()?;
    }
    for what in &failed {
        println!("failed: {what}");
    }
    println!("{passed} passed, {} failed", failed.len());
    if !failed.is_empty() {
        bail!("not every kernel is well");
    }
    Ok(())
}

fn names() -> Vec<&'static str> {
    KERNELS.iter().map(|kernel| kernel.name).collect()
}

fn boot(kernel: &Kernel, files: &suite::Files, programs: &[guest::Program]) -> Result<Report> {
    let initramfs = initramfs::pack(files, programs)?;
    sh::say(format!(
        "test-kernels: booting {} (Debian {}, Linux {})",
        kernel.name, kernel.suite, files.release
    ));
    let started = std::time::Instant::now();
    let output = qemu::boot(&files.image, &initramfs)?;
    let report = read(&output, programs);
    println!(
        "kernel {}: {} packet cases passed, {} s",
        files.release,
        report.tally.passed,
        started.elapsed().as_secs()
    );
    for (program, (configuration, cost)) in Budget::worst(&report.verified) {
        println!(
            "  {program:<14} {:>7} instructions, {:>3} bytes of stack ({configuration})",
            cost.walked, cost.stack
        );
    }
    if !report.failed.is_empty() {
        println!("--- what the guest said ---\n{output}\n---");
    }
    Ok(report)
}

/// Reads the guest's console.
fn read(output: &str, programs: &[guest::Program]) -> Report {
    let mut report = Report::default();
    let mut ended = Vec::new();
    for line in output.lines().map(str::trim_end) {
        report.tally.line(line);
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["verified", program, configuration, walked, stack] => {
                let load = Load { program: (*program).into(), configuration: (*configuration).into() };
                let cost = Cost { walked: walked.parse().unwrap_or(0), stack: stack.parse().unwrap_or(0) };
                report.verified.push((load, cost));
            }
            ["@@", "exit", name, code] => {
                ended.push((*name).to_owned());
                if *code != "0" {
                    report.failed.push(format!("{name} ended with {code}"));
                }
            }
            _ => {}
        }
    }
    // A guest has what its tests need: one that could not run has something missing.
    report.failed.extend(report.tally.not_run.drain(..).map(|why| format!("not run: {why}")));
    for program in programs {
        if !ended.iter().any(|name| *name == program.name) {
            report.failed.push(format!("{} did not come to its end", program.name));
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_never_ends_is_a_failure() {
        let programs =
            [guest::Program { name: "verifier", path: "x".into(), env: "", args: "", beside: Vec::new() }];
        let report = read("verified connect4 dual,opt 12 64\r\nKernel panic\r\n", &programs);
        let load = Load { program: "connect4".into(), configuration: "dual,opt".into() };
        assert_eq!(report.verified, [(load, Cost { walked: 12, stack: 64 })]);
        assert_eq!(report.failed, ["verifier did not come to its end"]);
    }
}
