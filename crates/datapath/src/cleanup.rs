//! Removing every trace of Shunt from a node.

use crate::attach::{Attacher, tcx};
use crate::pins::{self, Pins};
use crate::{Error, preflight};
use std::fs;
use std::io;
use std::path::Path;

/// Detaches every program, removes the clsact qdiscs that we made and nobody else uses, every pin of every version
/// and the directories under `bpf_root`. Works while no agent runs, and twice. Answers what it removed, a line each.
///
/// Call it in the network namespace that the agent ran in: interfaces with clsact filters are known by their index.
/// The root itself goes too, unless something else lies in it or it is a mount point.
///
/// # Errors
/// [`Error::NotBpffs`] when the root is on another file system; else what the kernel says, after which calling it
/// again goes on.
pub fn cleanup(bpf_root: &Path) -> Result<Vec<String>, Error> {
    if !bpf_root.exists() {
        return Ok(Vec::new());
    }
    preflight::bpffs(bpf_root)?;
    let mut removed = Vec::new();
    for version in pins::names(bpf_root)?.into_iter().filter(|name| is_version(name)) {
        remove_version(&bpf_root.join(version), &mut removed)?;
    }
    // Not ours to force: a mount point is busy, another's pins make it non-empty.
    if fs::remove_dir(bpf_root).is_ok() {
        removed.push(format!("directory {}", bpf_root.display()));
    }
    Ok(removed)
}

/// Whether a directory's name is that of an ABI version.
fn is_version(name: &str) -> bool {
    name.strip_prefix('v')
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

fn remove_version(root: &Path, removed: &mut Vec<String>) -> Result<(), Error> {
    // Links before maps and programs: no packet meets a half-removed datapath. Their layout is the same in every
    // version.
    let pins = Pins::at(root);
    let attacher = Attacher::new(pins.clone(), false);
    for ifindex in attacher.attached()? {
        removed.extend(attacher.remove(ifindex)?);
    }
    for (what, dir) in
        [("link", pins.links()), ("program", pins.programs()), ("map", pins.maps()), ("mark", pins.qdiscs())]
    {
        for name in pins::names(&dir)? {
            let path = dir.join(name);
            let there = if what == "link" { tcx::detach(&path)? } else { pins::remove(&path)? };
            if there {
                removed.push(format!("{what} {}", path.display()));
            }
        }
        remove_dir(&dir, removed)?;
    }
    remove_dir(root, removed)
}

fn remove_dir(dir: &Path, removed: &mut Vec<String>) -> Result<(), Error> {
    match fs::remove_dir(dir) {
        Ok(()) => removed.push(format!("directory {}", dir.display())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(Error::system(format!("removing {}", dir.display()))(e)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_of_versions_are_ours() {
        assert!(is_version("v1") && is_version("v23"));
        assert!(!is_version("v") && !is_version("vx") && !is_version("maps") && !is_version("1"));
    }
}
