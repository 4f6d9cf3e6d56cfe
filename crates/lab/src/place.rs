//! Where a process runs: a network namespace, and a cgroup when it is on a node.

use crate::net::netns::Netns;
use anyhow::{Context, Result};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};

/// A place to run processes in.
#[derive(Clone, Debug)]
pub struct Place {
    /// What it is, for messages: `node1`, `pod1-2`, `client`.
    pub name: String,
    /// Its network.
    pub netns: Netns,
    /// Its cgroup; `None` outside of nodes.
    pub cgroup: Option<PathBuf>,
}

impl Place {
    /// A command that will run here, and die with the thread that starts it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        let netns = File::open(self.netns.path()).with_context(|| format!("network of {}", self.name))?;
        let procs = match &self.cgroup {
            Some(cgroup) => {
                let path = cgroup.join("cgroup.procs");
                Some(
                    OpenOptions::new()
                        .write(true)
                        .open(&path)
                        .with_context(|| format!("{}", path.display()))?,
                )
            }
            None => None,
        };
        let mut command = Command::new(program);
        // SAFETY: between fork and exec only system calls on descriptors opened before; no allocation, no locks.
        unsafe {
            command.pre_exec(move || {
                if let Some(mut procs) = procs.as_ref() {
                    procs.write_all(b"0")?;
                }
                if libc::setns(netns.as_raw_fd(), libc::CLONE_NEWNET) != 0 {
                    return Err(io::Error::last_os_error());
                }
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            });
        }
        Ok(command)
    }

    /// The same place without its cgroup: a process there bypasses the socket hooks, as a virtual machine would.
    pub fn outside_cgroup(&self) -> Self {
        Self { name: format!("{} (no socket hooks)", self.name), cgroup: None, ..self.clone() }
    }
}

/// A process that ends when this is dropped.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Takes over a child.
    pub const fn new(child: Child) -> Self {
        Self(child)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// The child, to wait for or to read from.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// SIGKILL, and the end of it.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// SIGTERM, and the end of it.
    pub fn term(&mut self) -> io::Result<std::process::ExitStatus> {
        // SAFETY: no pointers; the child is ours and not yet waited for, so the id is its own.
        unsafe { libc::kill(self.0.id() as i32, libc::SIGTERM) };
        self.0.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
