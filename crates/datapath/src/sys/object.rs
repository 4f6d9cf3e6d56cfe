//! Pins: objects that live in a bpffs.

use super::{Cmd, bpf, own};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

#[repr(C)]
struct Attr {
    path: u64,
    fd: i32,
    flags: u32,
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::other("path has a NUL byte"))
}

/// Opens a pinned map, program or link.
pub(crate) fn get(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attr = Attr { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    // SAFETY: `path` is a C string that outlives the call; the answer is a fresh descriptor.
    unsafe { Ok(own(bpf(Cmd::ObjGet, &mut attr)?)) }
}

/// Pins a map, program or link at a path that must not exist yet.
pub(crate) fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut attr = Attr { path: path.as_ptr() as u64, fd: fd.as_raw_fd(), flags: 0 };
    // SAFETY: `path` is a C string that outlives the call.
    unsafe { bpf(Cmd::ObjPin, &mut attr)? };
    Ok(())
}

/// Reads the kernel's description of an object into `info`, an all-integer struct that starts as zeroes.
///
/// # Safety
/// `T` must be `repr(C)`, made of integers only, and laid out as the kernel's struct for this kind of object or a
/// prefix of it.
pub(super) unsafe fn info<T>(fd: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    #[repr(C)]
    struct InfoAttr {
        fd: i32,
        len: u32,
        info: u64,
    }
    let len = size_of::<T>() as u32;
    let mut attr = InfoAttr { fd: fd.as_raw_fd(), len, info: std::ptr::from_mut(info) as u64 };
    // SAFETY: the kernel writes at most `len` bytes into `info`, which any bit pattern suits.
    unsafe { bpf(Cmd::InfoByFd, &mut attr)? };
    Ok(())
}
