//! Following the directory: at once by inotify, and by looking again now and then for what inotify does not see.

use super::Directory;
use crate::sources::Sender;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;

/// An editor writes a file in several steps; they are read as one.
const SETTLE: Duration = Duration::from_millis(10);
/// Network file systems and a directory that is made later have no inotify events.
const RESCAN: Duration = Duration::from_secs(10);

/// Follows the directory until the agent stops listening.
pub async fn watch(root: &Path, events: Sender) {
    let mut directory = Directory::new(root);
    let (hint, mut hints) = mpsc::channel(1);
    let mut watcher = None;
    loop {
        // Before the scan, so that no change falls between.
        watcher = watcher.or_else(|| inotify(root, hint.clone()));
        for event in directory.scan() {
            if events.send(event).await.is_err() {
                return;
            }
        }
        if directory.is_unsettled() {
            tokio::time::sleep(SETTLE).await;
            continue;
        }
        if tokio::time::timeout(RESCAN, hints.recv()).await.is_ok() {
            tokio::time::sleep(SETTLE).await;
            while hints.try_recv().is_ok() {}
        }
        if !root.exists() {
            watcher = None;
        }
    }
}

fn inotify(root: &Path, hint: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let changed = move |event: notify::Result<notify::Event>| {
        // Our own reading of the files is an event too.
        if event.as_ref().is_ok_and(|e| e.kind.is_access()) {
            return;
        }
        // A full channel has a hint in it already.
        _ = hint.try_send(());
    };
    let mut watcher = notify::recommended_watcher(changed).ok()?;
    watcher.watch(root, RecursiveMode::NonRecursive).ok()?;
    Some(watcher)
}
