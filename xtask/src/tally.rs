//! Runs `cargo test`, shows what it prints, and counts.
//!
//! A test that cannot run on this machine writes a line `not run: NAME: REASON` to standard error (past the test
//! harness's capture) and returns. The harness calls that passed; it is counted as not run here.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result};

/// Results of one or more test programs.
#[derive(Default, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Tests that the harness reports as passed, those that could not run among them.
    pub passed: usize,
    /// Tests that failed.
    pub failed: usize,
    /// Tests marked `#[ignore]`.
    pub ignored: usize,
    /// Names of the failed tests.
    pub failed_names: Vec<String>,
    /// Names in the list that is being read.
    listed: Vec<String>,
    /// Name and reason of each test that could not run.
    pub not_run: Vec<String>,
}

impl Tally {
    /// Adds another run.
    pub fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.failed_names.extend_from_slice(&other.failed_names);
        self.not_run.extend_from_slice(&other.not_run);
    }

    /// Counts one line of output.
    pub fn line(&mut self, line: &str) {
        if let Some(reason) = line.strip_prefix("not run: ") {
            self.not_run.push(reason.to_owned());
        } else if let Some(name) =
            line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.failed_names.push(name.to_owned());
        } else if let Some(result) = line.strip_prefix("test result: ") {
            let failed = count(result, " failed");
            self.failed_names.extend(self.listed.drain(..).filter(|_| failed > 0));
            self.passed += count(result, " passed");
            self.failed += failed;
            self.ignored += count(result, " ignored");
        }
    }
}

/// The number before a word: 3 for " passed" in "ok. 3 passed; 0 failed".
fn count(result: &str, word: &str) -> usize {
    let before = result.split(word).next().unwrap_or_default();
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Runs the command with its output shown; returns the counts and whether it exited with 0.
pub fn run(command: &mut Command) -> Result<(Tally, bool)> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot start the tests")?;
    let stderr = child.stderr.take().context("no pipe for standard error")?;
    let errors = thread::spawn(move || lines(stderr, |line| eprintln!("{line}")));
    let stdout = child.stdout.take().context("no pipe for standard output")?;
    let mut tally = lines(stdout, |line| println!("{line}"));
    tally.add(&errors.join().expect("counting lines does not panic"));
    Ok((tally, child.wait()?.success()))
}

fn lines(from: impl Read, show: impl Fn(&str)) -> Tally {
    let mut tally = Tally::default();
    for line in BufReader::new(from).split(b'\n').map_while(|line| line.ok()) {
        let line = String::from_utf8_lossy(&line);
        show(&line);
        tally.line(&line);
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_programs_add_up() {
        let mut tally = Tally::default();
        for line in [
            "test one ... ok",
            "test two::deep ... FAILED",
            "",
            "failures:",
            "",
            "---- two::deep stdout ----",
            "    0x00000",
            "",
            "failures:",
            "    two::deep",
            "",
            "test result: FAILED. 12 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "not run: three: no kubectl on this machine",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        ] {
            tally.line(line);
        }
        assert_eq!((tally.passed, tally.failed, tally.ignored), (15, 1, 2));
        assert_eq!(tally.failed_names, ["two::deep"]);
        assert_eq!(tally.not_run, ["three: no kubectl on this machine"]);
    }
}
