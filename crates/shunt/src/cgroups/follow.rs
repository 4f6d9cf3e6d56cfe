//! Being told when cgroups come and go.

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// Watches over directories by inotify. A kernel that has no watch left to give is no error: who waits for a cgroup looks
/// again by and by.
pub(super) struct Follow {
    watcher: Option<RecommendedWatcher>,
    /// Directories and their inode numbers: one that was removed and made again is another.
    watched: HashMap<PathBuf, u64>,
}

impl Follow {
    /// `hint` gets a word when something has changed.
    pub(super) fn new(hint: mpsc::Sender<()>) -> Self {
        let changed = move |event: notify::Result<notify::Event>| {
            // Our own reading of a directory is an event too, and so is each change of a cgroup's files.
            let counts = |e: &notify::Event| {
                e.need_rescan() || matches!(e.kind, EventKind::Create(_) | EventKind::Remove(_))
            };
            if event.as_ref().is_ok_and(counts) {
                // A full channel has a hint in it already.
                _ = hint.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(changed);
        if let Err(error) = &watcher {
            tracing::warn!(%error, "no inotify: cgroups of new pods are found a moment later");
        }
        Self { watcher: watcher.ok(), watched: HashMap::new() }
    }

    /// Watches over a directory from now on. Call it before reading the directory, so that nothing falls between.
    pub(super) fn dir(&mut self, path: &Path, inode: u64) {
        if self.watched.get(path) == Some(&inode) {
            return;
        }
        let Some(watcher) = &mut self.watcher else { return };
        match watcher.watch(path, RecursiveMode::NonRecursive) {
            Ok(()) => _ = self.watched.insert(path.into(), inode),
            Err(error) => tracing::debug!(path = %path.display(), %error, "cannot be watched"),
        }
    }

    /// Forgets directories that are gone; the kernel has.
    pub(super) fn forget_gone(&mut self) {
        self.watched.retain(|path, _| path.exists());
    }
}
