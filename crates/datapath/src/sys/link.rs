//! Links: attachments that a pin keeps alive and whose program can be replaced without a gap.

use super::{Cmd, bpf, object, own};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// `BPF_LINK_TYPE_CGROUP`.
pub(crate) const TYPE_CGROUP: u32 = 3;
/// `BPF_LINK_TYPE_XDP`.
pub(crate) const TYPE_XDP: u32 = 6;
/// `BPF_LINK_TYPE_TCX`.
pub(crate) const TYPE_TCX: u32 = 11;
/// `BPF_F_BEFORE`: with no other program named, first of all.
pub(crate) const BEFORE: u32 = 1 << 3;

/// Attaches a program; `target` is a cgroup's descriptor or an ifindex.
pub(crate) fn create(
    program: BorrowedFd<'_>,
    target: u32,
    attach_type: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        program: i32,
        target: u32,
        attach_type: u32,
        flags: u32,
        relative: u32,
        pad: u32,
        revision: u64,
    }
    let program = program.as_raw_fd();
    let mut attr = Attr { program, target, attach_type, flags, relative: 0, pad: 0, revision: 0 };
    // SAFETY: the struct holds no pointer; the answer is a fresh descriptor.
    unsafe { Ok(own(bpf(Cmd::LinkCreate, &mut attr)?)) }
}

/// Replaces the program behind a link: every packet sees the old or the new one.
pub(crate) fn update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        link: i32,
        program: i32,
        flags: u32,
        old_program: u32,
    }
    let mut attr = Attr { link: link.as_raw_fd(), program: program.as_raw_fd(), flags: 0, old_program: 0 };
    // SAFETY: the struct holds no pointer.
    unsafe { bpf(Cmd::LinkUpdate, &mut attr)? };
    Ok(())
}

/// Takes the program off now; dropping the last reference would do so a moment later.
pub(crate) fn detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = [link.as_raw_fd(), 0];
    // SAFETY: the words hold no pointer.
    unsafe { bpf(Cmd::LinkDetach, &mut attr)? };
    Ok(())
}

/// The head of the kernel's `struct bpf_link_info`.
#[repr(C)]
#[derive(Default)]
struct RawInfo {
    link_type: u32,
    id: u32,
    program_id: u32,
    pad: u32,
    detail: [u32; 4],
}

/// What the kernel says about a link.
pub(crate) struct LinkInfo {
    /// [`TYPE_CGROUP`], [`TYPE_TCX`] or [`TYPE_XDP`], or another.
    pub(crate) link_type: u32,
    /// The program behind it.
    pub(crate) program_id: u32,
    /// Of a TCX or XDP link: the device, zero once that is gone. Of a cgroup link: low half of the cgroup's id, zero once
    /// that is gone.
    pub(crate) target: u64,
    /// The attach type; zero of an XDP link, whose kind says it.
    pub(crate) attach_type: u32,
}

/// What the kernel says about a link.
pub(crate) fn info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut raw = RawInfo::default();
    // SAFETY: `RawInfo` is a prefix of `struct bpf_link_info`.
    unsafe { object::info(link, &mut raw)? };
    let [a, b, c, _] = raw.detail;
    let (target, attach_type) = match raw.link_type {
        TYPE_CGROUP => {
            let halves = [a.to_ne_bytes(), b.to_ne_bytes()].concat();
            (u64::from_ne_bytes(halves.try_into().expect("two halves of four bytes")), c)
        }
        _ => (u64::from(a), b),
    };
    Ok(LinkInfo { link_type: raw.link_type, program_id: raw.program_id, target, attach_type })
}
