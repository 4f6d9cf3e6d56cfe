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
    /// Without an optional program the tests that use it are counted as not run; nothing else stops.
    pub optional: bool,
}

const fn need(
    program: &'static str,
    package: &'static str,
    why: &'static str,
    purposes: &'static [Purpose],
) -> Need {
    Need { program, package, why, purposes, optional: false }
}

const fn optional(need: Need) -> Need {
    Need { optional: true, ..need }
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
    optional(need("kubectl", "kubernetes-client", "drives the lab's Kubernetes API", &[Demo, Test])),
    need("tcpdump", "tcpdump", "proves what is on the wire", &[Test]),
    need("ethtool", "ethtool", "switches offloads of the lab's devices", &[Test]),
    need("nft", "nftables", "kube-proxy's rules, for comparison and for coexistence", &[Test, Bench]),
    need("iptables", "iptables", "kube-proxy's rules, for comparison and for coexistence", &[Test, Bench]),
    need("busybox", "busybox-static", "the guest's shell", &[Kernels]),
    need("cpio", "cpio", "packs the guest's file system", &[Kernels]),
    need("depmod", "kmod", "orders the guest's kernel modules", &[Kernels]),
    need("xz", "xz-utils", "unpacks kernel modules", &[Kernels]),
];
