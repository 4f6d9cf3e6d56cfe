//! What a kubelet and a container runtime do: the cgroups of pods, in the shapes that they have on real nodes.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Who names the cgroups.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Driver {
    /// `kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice`
    Systemd,
    /// `kubepods/burstable/pod<uid>`
    Cgroupfs,
}

/// The driver of a node's kubelet: one lab has both.
pub const fn driver(node: usize) -> Driver {
    if node % 2 == 1 { Driver::Systemd } else { Driver::Cgroupfs }
}

/// The class of a pod by its number on its node: one node has all three.
pub const fn class(i: usize) -> &'static str {
    match i % 3 {
        1 => "BestEffort",
        2 => "Burstable",
        _ => "Guaranteed",
    }
}

/// Where the processes of a pod's container are, below the node's cgroup.
pub fn container(root: &Path, (node, i): (usize, usize), uid: &str) -> PathBuf {
    let class = Some(class(i).to_lowercase()).filter(|class| class != "guaranteed");
    let container = container_name(&format!("pod{node}-{i}"), driver(node));
    let pod = match driver(node) {
        Driver::Systemd => {
            let class = class.map(|class| format!("kubepods-{class}"));
            let slice = class.as_deref().unwrap_or("kubepods");
            let pod = format!("{slice}-pod{}.slice", uid.replace('-', "_"));
            let top = PathBuf::from("kubepods.slice");
            class.iter().fold(top, |path, class| path.join(format!("{class}.slice"))).join(pod)
        }
        Driver::Cgroupfs => {
            let top = PathBuf::from("kubepods");
            class.iter().fold(top, |path, class| path.join(class)).join(format!("pod{uid}"))
        }
    };
    root.join(pod).join(container)
}

fn container_name(pod: &str, driver: Driver) -> String {
    match driver {
        Driver::Systemd => format!("cri-containerd-{pod}.scope"),
        Driver::Cgroupfs => format!("cri-containerd-{pod}"),
    }
}

/// Makes the cgroup of a pod's container.
pub fn make(root: &Path, pod: (usize, usize), uid: &str) -> Result<PathBuf> {
    let path = container(root, pod, uid);
    fs::create_dir_all(&path).with_context(|| format!("cgroup {}", path.display()))?;
    Ok(path)
}

/// The cgroup of the container of a pod whose uid one does not know; `root` is its node's.
pub fn find(root: &Path, pod: &str) -> Option<PathBuf> {
    let names = [Driver::Systemd, Driver::Cgroupfs].map(|driver| container_name(pod, driver));
    let children = fs::read_dir(root).ok()?.flatten().filter(|e| e.path().is_dir());
    let mut children: Vec<PathBuf> = children.map(|e| e.path()).collect();
    children.sort_unstable();
    let here = children.iter().find(|path| names.iter().any(|name| path.ends_with(name)));
    here.cloned().or_else(|| children.iter().find_map(|child| find(child, pod)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_have_the_shapes_of_both_drivers_and_are_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = |pod| {
            let path = make(dir.path(), pod, "a-b").unwrap();
            assert_eq!(find(dir.path(), &format!("pod{}-{}", pod.0, pod.1)), Some(path.clone()));
            path.strip_prefix(dir.path()).unwrap().display().to_string()
        };
        let systemd = "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-poda_b.slice/cri-containerd-pod1-1.scope";
        assert_eq!(path((1, 1)), systemd);
        assert_eq!(path((1, 3)), "kubepods.slice/kubepods-poda_b.slice/cri-containerd-pod1-3.scope");
        assert_eq!(path((2, 2)), "kubepods/burstable/poda-b/cri-containerd-pod2-2");
        assert_eq!(path((2, 3)), "kubepods/poda-b/cri-containerd-pod2-3");
        assert_eq!(find(dir.path(), "pod9-9"), None);
    }
}
