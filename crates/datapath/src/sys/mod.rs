//! The `bpf(2)` system call, for what aya has no call for: batches, links behind pins, test runs by descriptor.
//!
//! Each call is a `repr(C)` struct with every padding named, so that the kernel sees zeroes where it wants them.

pub(crate) mod iter;
pub(crate) mod link;
pub(crate) mod map;
pub(crate) mod object;
pub(crate) mod program;

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// Commands of `bpf(2)`; numbers of the kernel's `enum bpf_cmd`.
#[derive(Clone, Copy)]
#[repr(i32)]
enum Cmd {
    MapCreate = 0,
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    MapNextKey = 4,
    ProgLoad = 5,
    ObjPin = 6,
    ObjGet = 7,
    ProgTestRun = 10,
    MapById = 14,
    InfoByFd = 15,
    MapLookupBatch = 24,
    LinkCreate = 28,
    LinkUpdate = 29,
    IterCreate = 33,
    LinkDetach = 34,
}

/// Calls `bpf(2)`; the answer is what the kernel returns, never negative.
///
/// # Safety
/// Every pointer in `attr` must be good for what `cmd` does with it.
unsafe fn bpf<T>(cmd: Cmd, attr: &mut T) -> io::Result<i32> {
    // SAFETY: `attr` is a live, exclusively borrowed struct of the size given; the caller answers for its pointers.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, cmd as i32, std::ptr::from_mut(attr), size_of::<T>()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as i32) }
}

/// Takes ownership of a descriptor that `bpf(2)` just returned.
///
/// # Safety
/// `fd` must be a fresh descriptor that nobody else owns.
unsafe fn own(fd: i32) -> OwnedFd {
    // SAFETY: promised by the caller.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
