//! Keeps watch over the process that has a lab up: however it ends, nothing of the lab stays.
//!
//! The process itself removes its lab when it ends in order. It cannot when it is killed, or when it panics in a release
//! build, which does not unwind.

use crate::state;
use anyhow::{Context, Result};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The argument that tells the watched process that it is one.
pub const WATCHED: &str = "--watched";

/// Runs this very command again, watched, and cleans up behind it. The exit code is the command's.
pub fn supervise(lab: &str) -> Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = runtime.block_on(async {
        let mut ended = signal(SignalKind::child())?;
        let mut signals = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
        let mut child = start()?;
        loop {
            // A child that ended before the first wait has left its signal in `ended`.
            if let Some(status) = child.try_wait()? {
                return Ok::<ExitStatus, anyhow::Error>(status);
            }
            tokio::select! {
                _ = ended.recv() => {}
                () = any(&mut signals) => terminate(&child),
            }
        }
    })?;
    // Another process may have brought up a lab of this name since.
    if state::owner(lab).is_none() {
        state::clean(lab);
    }
    Ok(match (status.code(), status.signal()) {
        (Some(code), _) => code as u8,
        (None, signal) => 128 + signal.unwrap_or(0) as u8,
    })
}

fn start() -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).arg(WATCHED);
    // SAFETY: a system call without pointers between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    command.spawn().context("starting the watched process")
}

async fn any(signals: &mut [Signal; 2]) {
    let [first, second] = signals;
    tokio::select! {
        _ = first.recv() => {}
        _ = second.recv() => {}
    }
}

fn terminate(child: &Child) {
    // SAFETY: no pointers; the child is ours and not yet waited for, so the id is its own.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
}
