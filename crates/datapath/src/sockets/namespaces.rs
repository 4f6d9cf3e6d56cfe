//! The node's network namespaces, and entering them.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where container runtimes keep a name for each pod's namespace.
const NAMED: &str = "/run/netns";
const CAP_SYS_ADMIN: u32 = 21;

/// Namespaces beside the thread's own, each once.
#[derive(Debug)]
pub(super) struct Namespaces {
    /// A path for each.
    pub(super) paths: Vec<PathBuf>,
    /// Processes that we may not look at, where no name tells of their namespaces.
    pub(super) hidden: usize,
}

impl Namespaces {
    /// Those that have a name, then those of processes.
    pub(super) fn others() -> io::Result<Self> {
        let own = fs::metadata("/proc/thread-self/ns/net")?;
        let mut seen = HashSet::from([(own.dev(), own.ino())]);
        let mut paths = Vec::new();
        let mut add = |path: PathBuf| {
            let meta = fs::metadata(&path)?;
            // A name whose namespace is gone is a plain file, on another file system.
            if meta.dev() == own.dev() && seen.insert((meta.dev(), meta.ino())) {
                paths.push(path);
            }
            io::Result::Ok(())
        };
        let mut named = 0;
        for entry in fs::read_dir(NAMED).into_iter().flatten().flatten() {
            named += usize::from(add(entry.path()).is_ok());
        }
        let mut hidden = 0;
        for entry in fs::read_dir("/proc")?.flatten() {
            if !entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit) {
                continue;
            }
            // Looking at another user's process needs CAP_SYS_PTRACE; one that has ended meanwhile is no loss.
            if let Err(error) = add(entry.path().join("ns/net")) {
                hidden += usize::from(error.kind() == io::ErrorKind::PermissionDenied);
            }
        }
        Ok(Self { paths, hidden: if named > 0 { 0 } else { hidden } })
    }
}

/// Moves this thread to a namespace; `false` when it is gone.
pub(super) fn enter(path: &Path) -> io::Result<bool> {
    let namespace = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    // SAFETY: no pointers; changes this thread only.
    if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::EINVAL) { Ok(false) } else { Err(error) }
}

/// Whether this process has what entering network namespaces takes, CAP_SYS_ADMIN.
pub fn may_enter() -> bool {
    fs::read_to_string("/proc/thread-self/status").is_ok_and(|status| has_sys_admin(&status))
}

fn has_sys_admin(status: &str) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = line.and_then(|caps| u64::from_str_radix(caps.trim(), 16).ok());
    effective.is_some_and(|caps| caps & (1 << CAP_SYS_ADMIN) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capability_is_read_from_the_effective_set() {
        let status = |caps: u64| format!("CapPrm:\tffffffffffffffff\nCapEff:\t{caps:016x}\n");
        assert!(has_sys_admin(&status(1 << CAP_SYS_ADMIN)));
        assert!(!has_sys_admin(&status(!(1 << CAP_SYS_ADMIN))) && !has_sys_admin(""));
    }
}
