//! What labs leave on the machine while they are up, so that whoever comes later can find them, end them and remove them.

use crate::net::netns;
use crate::{bpffs, cgroup};
use anyhow::{Context, Result};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

/// Files of all labs: a folder each, and the lock.
const RUN: &str = "/run/shunt-lab";

/// The folder of a lab.
pub fn dir(name: &str) -> PathBuf {
    Path::new(RUN).join(name)
}

/// What a lab in the background says.
pub fn log(name: &str) -> PathBuf {
    dir(name).with_extension("log")
}

/// One lab at a time: they are heavy, and their figures would disturb each other. Says so before it waits.
pub fn lock() -> Result<File> {
    fs::create_dir_all(RUN).with_context(|| format!("{RUN} cannot be made: a lab needs root"))?;
    let path = Path::new(RUN).join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("{}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            eprintln!("shunt-lab: waiting until another lab ends{}", holders());
            file.lock()?;
        }
        Err(TryLockError::Error(error)) => return Err(error).with_context(|| format!("{}", path.display())),
    }
    Ok(file)
}

/// Labs whose processes live, as the end of a sentence.
fn holders() -> String {
    let up = names().into_iter().filter_map(|name| Some(format!("{name} in process {}", owner(&name)?)));
    let up: Vec<String> = up.collect();
    // It has the lock a moment before it has a folder.
    if up.is_empty() { String::new() } else { format!(": {}", up.join(", ")) }
}

/// Makes a lab's folder and writes down that this process has it up.
pub fn take(name: &str) -> Result<PathBuf> {
    let dir = dir(name);
    fs::create_dir_all(&dir)?;
    let pid = process::id();
    let started = started(pid).context("this process is not in /proc")?;
    fs::write(dir.join("owner"), format!("{pid} {started}\n"))?;
    Ok(dir)
}

/// The process that has a lab up, if it still lives.
pub fn owner(name: &str) -> Option<u32> {
    let text = fs::read_to_string(dir(name).join("owner")).ok()?;
    let (pid, since) = text.trim().split_once(' ')?;
    let pid = pid.parse().ok()?;
    // A number that was given to another process since is not the owner.
    (started(pid)? == since.parse::<u64>().ok()?).then_some(pid)
}

/// When a process started, in clock ticks since boot; `None` when there is no such process, or only its remains.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may have blanks.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Takes a lab down, whoever has it up: asks its process to end, and removes what is left.
pub fn end(name: &str) {
    if let Some(pid) = owner(name) {
        signal(pid, libc::SIGTERM);
        for _ in 0..100 {
            if owner(name) != Some(pid) {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        if owner(name) == Some(pid) {
            signal(pid, libc::SIGKILL);
        }
    }
    clean(name);
    // It tells why a lab in the background did not come up; not every lab has one.
    let _ = fs::remove_file(log(name));
}

fn signal(pid: u32, signal: i32) {
    // SAFETY: no pointers; the caller has just seen that the process is the lab's.
    unsafe { libc::kill(pid as i32, signal) };
}

/// Removes everything of a lab by name, whoever made it: after a crash too. Fine when there is nothing.
pub fn clean(name: &str) {
    let dir = dir(name);
    if let Ok(root) = cgroup::root(name) {
        cgroup::remove(&root);
    }
    for netns in netns::of_lab(name) {
        // Removed meanwhile is as good.
        let _ = netns.remove();
    }
    bpffs::unmount(&dir.join("bpf"));
    let _ = fs::remove_dir_all(&dir);
}

/// Names of labs that are up, or were not taken down.
pub fn names() -> Vec<String> {
    let Ok(entries) = fs::read_dir(RUN) else { return Vec::new() };
    let dirs = entries.flatten().filter(|e| e.path().is_dir());
    let mut names: Vec<String> = dirs.filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// What a lab has left behind: nothing, if all is well.
pub fn leftovers(name: &str) -> Result<Vec<String>> {
    let mut left: Vec<String> =
        netns::of_lab(name).iter().map(|netns| format!("network namespace {}", netns.name())).collect();
    let folders = [dir(name), cgroup::root(name)?];
    left.extend(folders.into_iter().filter(|f| f.exists()).map(|f| format!("folder {}", f.display())));
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mine = format!(" {}/", dir(name).display());
    left.extend(mounts.lines().filter(|mount| mount.contains(&mine)).map(|mount| format!("mount {mount}")));
    left.extend(processes(name)?.into_iter().map(|pid| format!("process {pid}")));
    Ok(left)
}

/// Processes that are in a cgroup of a lab, or that were started with its files.
fn processes(name: &str) -> Result<Vec<String>> {
    let folder = format!("{}/", dir(name).display());
    let own = process::id().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        if pid == own || !pid.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        // A process that ends meanwhile has no files any more.
        let cgroups = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let in_lab = cgroups.contains(&format!("/shunt-lab/{name}/"));
        if in_lab || String::from_utf8_lossy(&command).contains(&folder) {
            found.push(pid);
        }
    }
    Ok(found)
}
