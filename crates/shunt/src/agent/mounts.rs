//! The bpffs for pins, where nobody has mounted one: kube-proxy's own DaemonSet does not bring the host's.

use rustix::fs::{FsWord, statfs};
use rustix::mount::{MountFlags, mount};
use std::path::Path;

/// Where a bpffs is by custom.
const USUAL: &str = "/sys/fs/bpf";
/// `BPF_FS_MAGIC`.
const BPFFS: FsWord = 0xcafe_4a11;

/// Mounts a bpffs at its usual place when pins shall be below it and there is none. One that cannot be mounted is left
/// to the datapath's own check, which says what to do.
pub(super) fn bpffs(root: &Path) {
    let usual = Path::new(USUAL);
    if !missing(root, usual) {
        return;
    }
    match mount(
        "bpf",
        usual,
        "bpf",
        MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
        Some(c"mode=0700"),
    ) {
        Ok(()) => tracing::warn!(
            "mounted a bpffs at {USUAL}; in a container it ends with the container, and traffic pauses while the agent \
             restarts: give the pod the host's {USUAL} to avoid that"
        ),
        Err(error) => tracing::debug!(%error, "no bpffs could be mounted at {USUAL}"),
    }
}

fn missing(root: &Path, usual: &Path) -> bool {
    root.starts_with(usual) && statfs(usual).is_ok_and(|fs| fs.f_type != BPFFS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_usual_place_is_mounted_and_only_when_it_is_there_without_one() {
        let dir = tempfile::tempdir().unwrap();
        assert!(missing(&dir.path().join("shunt"), dir.path()));
        assert!(!missing(Path::new("/elsewhere"), dir.path()));
        assert!(!missing(&dir.path().join("none/shunt"), &dir.path().join("none")));
    }
}
