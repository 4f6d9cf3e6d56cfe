//! What the kernel says of a process.

use anyhow::{Context, Result};
use std::fs;
use std::time::Duration;

/// Resident memory, bytes.
#[derive(Clone, Copy)]
pub struct Memory {
    /// All: the program's own pages that were read, and pages of maps that it has written through, included.
    pub all: u64,
    /// Heap and stacks.
    pub anonymous: u64,
}

/// Resident memory of a process.
pub fn memory(pid: u32) -> Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let bytes = |key: &str| {
        let rest =
            text.lines().find_map(|line| line.strip_prefix(key)).with_context(|| format!("no {key}"))?;
        let number = rest.trim().trim_end_matches(" kB").parse::<u64>().with_context(|| rest.to_owned())?;
        Ok::<_, anyhow::Error>(number * 1024)
    };
    Ok(Memory { all: bytes("VmRSS:")?, anonymous: bytes("RssAnon:")? })
}

/// The time on a CPU of all threads of a process that live.
pub fn cpu(pid: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let first = text.split(' ').next().context("an empty schedstat")?;
        nanoseconds += first.parse::<u64>().with_context(|| text.clone())?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}
