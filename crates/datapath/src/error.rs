//! What can go wrong, each with what to do about it.

use std::io;
use std::path::PathBuf;

/// Why the datapath could not be started, changed or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The running kernel lacks what the programs need.
    #[error("kernel {release} is too old: Shunt needs Linux 6.1 or later; boot a newer kernel on this node")]
    KernelTooOld {
        /// The release, as `uname -r` prints it.
        release: String,
    },
    /// The process lacks a capability.
    #[error("missing capability {missing}: run as root, or grant CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN")]
    NoPrivilege {
        /// The capabilities that are missing.
        missing: String,
    },
    /// The directory for pins is not on a BPF file system.
    #[error(
        "{path} is not on a BPF file system: mount one with `mount -t bpf bpf {mount}`, or set --bpf-root"
    )]
    NotBpffs {
        /// The directory asked for.
        path: PathBuf,
        /// Where to mount it.
        mount: PathBuf,
    },
    /// The directory for socket programs is not a cgroup v2.
    #[error(
        "{path} is not a cgroup v2 directory: mount it with `mount -t cgroup2 none {path}`, or set --cgroup-root"
    )]
    NotCgroup2 {
        /// The directory asked for.
        path: PathBuf,
    },
    /// A setting makes no sense.
    #[error("{key}: {problem}")]
    Setting {
        /// The configuration key.
        key: &'static str,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// A pinned map is not the one that this version uses.
    #[error(
        "pinned map {path} has {what} {found}, this version needs {wanted}: run `shunt cleanup` on this node"
    )]
    IncompatiblePin {
        /// The pin.
        path: PathBuf,
        /// Which property differs.
        what: &'static str,
        /// What the pinned map has.
        found: u32,
        /// What it should have.
        wanted: u32,
    },
    /// Nothing is pinned: no agent has run on this node with this root.
    #[error(
        "no datapath under {path}: no agent has run on this node with this --bpf-root (or its version differs)"
    )]
    NotRunning {
        /// Where it should be.
        path: PathBuf,
    },
    /// The embedded object and this code disagree; never seen in a released binary.
    #[error("BUG: the embedded object has no {what} {name}")]
    Object {
        /// `map` or `program`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The kernel refused the object or one of its maps.
    #[error("loading the eBPF object: {0}")]
    Load(#[from] aya::EbpfError),
    /// The kernel refused a program; the verifier's words are in the source.
    #[error("loading program {program}: {source}")]
    Verifier {
        /// Its name.
        program: String,
        /// Why.
        source: Box<aya::programs::ProgramError>,
    },
    /// A device is not there (any more).
    #[error("no interface with index {ifindex}")]
    NoInterface {
        /// Its index.
        ifindex: u32,
    },
    /// `loadBalancer.acceleration: native`, and a device cannot.
    #[error(
        "{interface} cannot run XDP natively: {why}; or take it off `devices`, or set loadBalancer.acceleration to \
         best-effort or disabled"
    )]
    Xdp {
        /// The device.
        interface: String,
        /// What is in the way.
        why: String,
    },
    /// Any other system call.
    #[error("{what}: {source}")]
    System {
        /// What was tried, on what.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl Error {
    /// Wraps an error of the system with what was tried.
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }
}
