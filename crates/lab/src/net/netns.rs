//! Named network namespaces, as `ip netns` keeps them, so that its tools and `nsenter` find them.

use crate::sh;
use crate::topology::{netns_prefix, place_of};
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

/// A network namespace of a lab. Removed with [`Netns::remove`], or by `shunt-lab down` after a crash.
#[derive(Clone, Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes one, with its loopback up and these sysctls (`net/...` paths below /proc/sys).
    pub fn new(name: String, sysctls: &[(&str, &str)]) -> Result<Self> {
        sh::output("ip", &["netns", "add", &name])?;
        let netns = Self { name };
        sh::ip_batch(&netns.name, &["link set lo up".into()])?;
        let sysctls: Vec<(String, String)> =
            sysctls.iter().map(|(key, value)| (format!("/proc/sys/{key}"), (*value).to_owned())).collect();
        netns.run(move || {
            for (path, value) in sysctls {
                fs::write(&path, value).with_context(|| path.clone())?;
            }
            Ok::<_, anyhow::Error>(())
        })??;
        Ok(netns)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/var/run/netns").join(&self.name)
    }

    /// Runs `ip` lines in it.
    pub fn ip(&self, lines: &[String]) -> Result<()> {
        sh::ip_batch(&self.name, lines)
    }

    /// Runs a closure on a thread of its own that is in this namespace; sockets made there stay there.
    pub fn run<T: Send + 'static>(&self, body: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let file = File::open(self.path()).with_context(|| format!("network namespace {}", self.name))?;
        let thread = std::thread::spawn(move || {
            // SAFETY: no pointers; only this thread changes its namespace.
            if unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(body())
        });
        let done = thread.join().map_err(|_| anyhow::anyhow!("a thread in {} panicked", self.name))?;
        done.with_context(|| format!("entering network namespace {}", self.name))
    }

    /// Removes it, with every link that has no end elsewhere.
    pub fn remove(&self) -> Result<()> {
        sh::output("ip", &["netns", "del", &self.name]).map(drop)
    }
}

/// All network namespaces whose names begin with `prefix`.
pub fn with_prefix(prefix: &str) -> Vec<Netns> {
    let Ok(entries) = fs::read_dir("/var/run/netns") else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.starts_with(prefix)).map(|name| Netns { name }).collect()
}

/// The network namespaces of a lab.
pub fn of_lab(lab: &str) -> Vec<Netns> {
    let all = with_prefix(&netns_prefix(lab));
    all.into_iter().filter(|netns| place_of(lab, &netns.name).is_some()).collect()
}
