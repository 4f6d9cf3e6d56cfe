//! Every version that a checkout pins, in one place. Crates are pinned by the two `Cargo.lock` files.

/// The compiler of the reference eBPF build: Debian's `rustc-web`, which always comes with its own matching sources.
pub const EBPF_RUSTC: &str = "1.96.0";

/// Debian packages of the reference eBPF toolchain: compiler, cargo, and the sources that `core` is built from.
pub const EBPF_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// Links eBPF objects; it borrows the compiler's own LLVM.
pub const BPF_LINKER: &str = "0.10.4";

/// Checks licences, bans and sources of the dependencies.
pub const CARGO_DENY: &str = "0.20.2";

/// A kernel that Shunt promises to run on, by the Debian suite that ships it.
pub struct Kernel {
    /// How people call it; the file in the budget too.
    pub name: &'static str,
    /// The Debian suite whose `linux-image-amd64` it is.
    pub suite: &'static str,
}

/// The kernels that `cargo xtask test-kernels` boots, oldest first.
pub const KERNELS: [Kernel; 3] = [
    Kernel { name: "6.1", suite: "bookworm" },
    Kernel { name: "6.12", suite: "trixie" },
    Kernel { name: "newest", suite: "sid" },
];
