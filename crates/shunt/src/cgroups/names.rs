//! The names that the kubelet gives the cgroups of pods.
//!
//! | driver | directory |
//! |---|---|
//! | systemd | `kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice`, `-` in the uid written `_` |
//! | cgroupfs | `kubepods/burstable/pod<uid>` |
//!
//! `besteffort` likewise; pods of the class Guaranteed are right below `kubepods`. A kubelet with `--cgroup-root` has all of it
//! below that, and systemd repeats the path in the name (`kubelet.slice/kubelet-kubepods.slice`, as kind has it).

/// Whether a directory is the one that all pods of a kubelet are below.
pub(super) fn is_kubepods(name: &str) -> bool {
    matches!(name, "kubepods" | "kubepods.slice") || name.ends_with("-kubepods.slice")
}

/// Whether a directory right below `kubepods` is that of a class of pods.
pub(super) fn is_class(name: &str) -> bool {
    let of = |class: &str| {
        let slice = name.strip_suffix(".slice").and_then(|name| name.strip_suffix(class));
        name == class || slice.is_some_and(|before| before.ends_with("kubepods-"))
    };
    of("burstable") || of("besteffort")
}

/// The uid of the pod that a directory is of.
pub(super) fn pod(name: &str) -> Option<String> {
    let uid = match name.strip_suffix(".slice") {
        Some(slice) => slice.rsplit_once("-pod")?.1.replace('_', "-"),
        None => name.strip_prefix("pod")?.to_owned(),
    };
    (!uid.is_empty()).then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_drivers_name_the_same_pod() {
        let uid = "3f0f9d3e-8d0b-4a51-9b0c-1d2e3f4a5b6c";
        for name in [
            "kubepods-burstable-pod3f0f9d3e_8d0b_4a51_9b0c_1d2e3f4a5b6c.slice",
            "kubepods-pod3f0f9d3e_8d0b_4a51_9b0c_1d2e3f4a5b6c.slice",
            "kubelet-kubepods-besteffort-pod3f0f9d3e_8d0b_4a51_9b0c_1d2e3f4a5b6c.slice",
            "pod3f0f9d3e-8d0b-4a51-9b0c-1d2e3f4a5b6c",
        ] {
            assert_eq!(pod(name).as_deref(), Some(uid), "{name}");
        }
        for name in ["kubepods-burstable.slice", "burstable", "pod", "cri-containerd-1.scope", "x-pod.slice"]
        {
            assert_eq!(pod(name), None, "{name}");
        }
    }

    #[test]
    fn the_way_to_pods_is_known_and_others_are_not() {
        assert!(["kubepods", "kubepods.slice", "kubelet-kubepods.slice"].into_iter().all(is_kubepods));
        assert!(!["kubepods-burstable.slice", "system.slice", "mykubepods"].into_iter().any(is_kubepods));
        let classes =
            ["burstable", "besteffort", "kubepods-besteffort.slice", "a-b-kubepods-burstable.slice"];
        assert!(classes.into_iter().all(is_class));
        assert!(!["guaranteed", "user-burstable.slice", "podburstable"].into_iter().any(is_class));
    }
}
