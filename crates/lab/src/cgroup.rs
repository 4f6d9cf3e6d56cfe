//! The lab's own cgroup v2 subtree.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Where cgroup v2 is mounted.
pub fn mount() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mount =
        mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|f| f.get(2) == Some(&"cgroup2"));
    let path = mount.and_then(|fields| fields.get(1).copied());
    Ok(path.context("no cgroup v2 is mounted; try: mount -t cgroup2 none /sys/fs/cgroup")?.into())
}

/// The subtree of a lab.
pub fn root(lab: &str) -> Result<PathBuf> {
    Ok(mount()?.join("shunt-lab").join(lab))
}

/// Ends every process in a subtree and removes it; fine when it is not there.
pub fn remove(root: &Path) {
    if !root.exists() {
        return;
    }
    // Kernel 5.14: ends all of the subtree at once.
    let _ = fs::write(root.join("cgroup.kill"), "1");
    for _ in 0..100 {
        if remove_empty(root) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    if let Some(parent) = root.parent() {
        // The last lab takes the common parent along.
        let _ = fs::remove_dir(parent);
    }
}

fn remove_empty(dir: &Path) -> bool {
    if let Ok(entries) = fs::read_dir(dir) {
        for entry in entries.flatten().filter(|e| e.path().is_dir()) {
            remove_empty(&entry.path());
        }
    }
    fs::remove_dir(dir).is_ok()
}
