//! The socket hooks: cgroup programs at connect, sendmsg, recvmsg, getpeername and bind.
//!
//! What they remember lies in the socket itself and goes with it, so there is none at close.

use crate::load::Loaded;
use crate::pins::Pins;
use crate::{Error, sys};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

/// Hooks (and programs) with the kernel's `enum bpf_attach_type`.
pub(crate) const HOOKS: [(&str, u32); 10] = [
    // Reverse data must be readable before the first translation writes any, so the readers come first.
    ("recvmsg4", 19),
    ("recvmsg6", 20),
    ("getpeername4", 29),
    ("getpeername6", 30),
    ("post_bind4", 12),
    ("post_bind6", 13),
    ("connect4", 10),
    ("connect6", 11),
    ("sendmsg4", 14),
    ("sendmsg6", 15),
];

/// Attaches every socket program to the cgroup, or replaces those that an earlier agent attached.
pub(crate) fn attach(loaded: &Loaded, pins: &Pins, cgroup_root: &Path) -> Result<(), Error> {
    let cgroup = File::open(cgroup_root)
        .map_err(Error::system(format!("opening cgroup {}", cgroup_root.display())))?;
    let id =
        std::os::unix::fs::MetadataExt::ino(&cgroup.metadata().map_err(Error::system("reading the cgroup"))?);
    for (hook, attach_type) in HOOKS {
        let program = loaded.program(hook)?;
        let pin = pins.links().join(hook);
        if super::tcx::adopt(&pin, program, |link| {
            link.link_type == sys::link::TYPE_CGROUP && link.target == id && link.attach_type == attach_type
        })? {
            continue;
        }
        // A cgroup link always runs beside those of others; the kernel takes no flags here.
        let link = sys::link::create(program, cgroup.as_raw_fd() as u32, attach_type, 0)
            .map_err(Error::system(format!("attaching {hook} to {}", cgroup_root.display())))?;
        sys::object::pin(link.as_fd(), &pin).map_err(Error::system(format!("pinning {}", pin.display())))?;
    }
    Ok(())
}
