//! What each verb needs from the machine, and why. `setup` installs what is missing of it.

use crate::setup::Purpose;
use crate::setup::Purpose::{Bench, Build, Demo, Kernels, Test};

/// A program that comes with a Debian or Ubuntu package.
pub struct Need {
    /// The file that is looked for in PATH, or an absolute path.
    pub program: &'static str,
    /// The package that brings it.
    pub package: &'static str,
    /// What Shunt uses it for.
    pub why: &'static str,
    /// Which verbs use it.
    pub purposes: &'static [Purpose],
    /// Those of them that manage without it.
    pub optional_for: &'static [Purpose],
}

impl Need {
    /// Whether every one of these purposes that uses it manages without it.
    pub fn optional(&self, purposes: &[Purpose]) -> bool {
        let mut using = self.purposes.iter().filter(|purpose| purposes.contains(purpose));
        using.all(|purpose| self.optional_for.contains(purpose))
    }
}

const fn need(
    program: &'static str,
    package: &'static str,
    why: &'static str,
    purposes: &'static [Purpose],
) -> Need {
    Need { program, package, why, purposes, optional_for: &[] }
}

const fn optional_for(optional_for: &'static [Purpose], need: Need) -> Need {
    Need { optional_for, ..need }
}

/// The table.
pub const NEEDS: &[Need] = &[
    need("cc", "gcc", "links Rust programs", &[Build]),
    need(
        "/usr/include/stdlib.h",
        "libc6-dev",
        "the C library that the static binary is linked with",
        &[Build],
    ),
    need("ip", "iproute2", "looks into the lab's network namespaces", &[Demo, Test, Bench, Kernels]),
    need("curl", "curl", "is the lab's client", &[Demo, Test]),
    need("nsenter", "util-linux", "runs programs in the lab's nodes and pods", &[Demo, Test]),
    // The demo writes to the API itself where there is no kubectl; to the tests it is the claim.
    optional_for(
        &[Demo],
        need("kubectl", "kubernetes-client", "drives the lab's Kubernetes API", &[Demo, Test]),
    ),
    need("tcpdump", "tcpdump", "proves what is on the wire", &[Test]),
    need("ethtool", "ethtool", "switches offloads of the lab's devices", &[Test, Bench]),
    need("nft", "nftables", "kube-proxy's rules, for comparison and for coexistence", &[Test, Bench]),
    need("iptables", "iptables", "kube-proxy's rules, for comparison and for coexistence", &[Test, Bench]),
    need("busybox", "busybox-static", "the guest's shell", &[Kernels]),
    need("cpio", "cpio", "packs the guest's file system", &[Kernels]),
    need("depmod", "kmod", "orders the guest's kernel modules", &[Kernels]),
    need("xz", "xz-utils", "unpacks kernel modules", &[Kernels]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_manages_without_kubectl_and_the_tests_do_not() {
        let kubectl = NEEDS.iter().find(|need| need.program == "kubectl").expect("it is in the table");
        assert!(kubectl.optional(&[Build, Demo]));
        assert!(!kubectl.optional(&[Build, Test, Demo]));
        let ip = NEEDS.iter().find(|need| need.program == "ip").expect("it is in the table");
        assert!(!ip.optional(&[Demo]));
    }
}
