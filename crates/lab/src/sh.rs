//! Running the system's own tools.

use anyhow::{Context, Result, bail};
use std::io::Write;
use std::process::{Command, Stdio};

/// Runs a command; its standard output, or an error that has its standard error.
pub fn output(program: &str, args: &[&str]) -> Result<String> {
    let done = Command::new(program).args(args).output().with_context(|| format!("cannot run {program}"))?;
    if !done.status.success() {
        bail!("{program} {}: {}", args.join(" "), String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Runs lines of `ip` commands in one process, in a network namespace by name.
pub fn ip_batch(netns: &str, lines: &[String]) -> Result<()> {
    batch("ip", &["-n", netns, "-batch", "-"], lines)
}

/// Runs lines of `bridge` commands in one process, in a network namespace by name.
pub fn bridge_batch(netns: &str, lines: &[String]) -> Result<()> {
    batch("bridge", &["-n", netns, "-batch", "-"], lines)
}

fn batch(program: &str, args: &[&str], lines: &[String]) -> Result<()> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program} (Debian's iproute2)"))?;
    let text = lines.join("\n") + "\n";
    child.stdin.take().context("a pipe")?.write_all(text.as_bytes())?;
    let done = child.wait_with_output()?;
    if !done.status.success() {
        bail!("{program} {}: {}\n{text}", args.join(" "), String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(())
}
