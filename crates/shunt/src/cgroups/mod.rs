//! The cgroups of this node's pods: where the kubelet keeps them, whichever of its drivers made them.

mod follow;
mod names;

use follow::Follow;
use std::collections::BTreeMap;
use std::fs::{DirEntry, read_dir};
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// How far below the root a kubelet's own root may be, in directories: kind has two, and runs in a container with two more.
const DEPTH: usize = 4;

/// The ids of a pod's cgroups by its uid. There may be two for a moment: the kubelet's driver was changed.
pub(crate) type Found = BTreeMap<String, Vec<u64>>;

/// The cgroups of pods below a root.
pub(crate) struct PodCgroups {
    root: PathBuf,
    /// Every `kubepods` that the last thorough look found.
    tops: Vec<PathBuf>,
    follow: Follow,
}

impl PodCgroups {
    /// `root` is in a cgroup v2; `hint` gets a word when a pod's cgroup may have come or gone since the last [`Self::find`].
    pub(crate) fn new(root: PathBuf, hint: mpsc::Sender<()>) -> Self {
        Self { root, tops: Vec::new(), follow: Follow::new(hint) }
    }

    /// Where they are looked for.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The pods that have a cgroup, with its id, which is the inode number of the directory. `thorough` looks again where
    /// kubelets keep their pods, by reading some hundreds of directories; otherwise only when none is known.
    pub(crate) fn find(&mut self, thorough: bool) -> Found {
        self.tops.retain(|top| top.exists());
        self.follow.forget_gone();
        if thorough || self.tops.is_empty() {
            self.tops.clear();
            let root = self.root.clone();
            self.locate(&root, DEPTH);
        }
        let mut found = Found::new();
        for top in self.tops.clone() {
            for dir in self.dirs(&top) {
                let name = dir.file_name();
                if name.to_str().is_some_and(names::is_class) {
                    self.dirs(&dir.path()).iter().for_each(|dir| note(dir, &mut found));
                } else {
                    note(&dir, &mut found);
                }
            }
        }
        found
    }

    /// Finds each `kubepods`. The root is followed, and what one is in, so that another there is noticed: services come and
    /// go all the time in other places.
    fn locate(&mut self, dir: &Path, depth: usize) {
        if dir == self.root {
            self.watch(dir);
        }
        for child in read(dir) {
            if child.file_name().to_str().is_some_and(names::is_kubepods) {
                self.tops.push(child.path());
                self.watch(dir);
            } else if depth > 1 {
                self.locate(&child.path(), depth - 1);
            }
        }
    }

    /// The directories in a directory, of which changes are told from now on.
    fn dirs(&mut self, dir: &Path) -> Vec<DirEntry> {
        self.watch(dir);
        read(dir)
    }

    fn watch(&mut self, dir: &Path) {
        // One that has just gone has nothing to tell.
        if let Ok(meta) = std::fs::metadata(dir) {
            self.follow.dir(dir, meta.ino());
        }
    }
}

fn note(dir: &DirEntry, found: &mut Found) {
    if let Some(uid) = dir.file_name().to_str().and_then(names::pod) {
        found.entry(uid).or_default().push(dir.ino());
    }
}

/// The directories in one; none when it is gone, as cgroups go at any time.
fn read(dir: &Path) -> Vec<DirEntry> {
    let entries = read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).collect()
}

#[cfg(test)]
mod tests;
