//! Map elements, one by one and in batches.

use super::{Cmd, bpf, object};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

#[repr(C)]
struct Element {
    fd: i32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

impl Element {
    fn new(fd: BorrowedFd<'_>, key: *const u8, value: *mut u8) -> Self {
        Self { fd: fd.as_raw_fd(), pad: 0, key: key as u64, value: value as u64, flags: 0 }
    }
}

/// Copies the value under `key` to `value`; `false` when there is none.
///
/// # Safety
/// `key` and `value` must be good for the map's key size and value size (for per-CPU maps: the size of all values).
pub(crate) unsafe fn lookup(fd: BorrowedFd<'_>, key: *const u8, value: *mut u8) -> io::Result<bool> {
    // SAFETY: the pointers are promised by the caller.
    found(unsafe { bpf(Cmd::MapLookup, &mut Element::new(fd, key, value)) })
}

/// Writes `value` under `key`, whether or not there is one.
///
/// # Safety
/// As for [`lookup`].
pub(crate) unsafe fn update(fd: BorrowedFd<'_>, key: *const u8, value: *const u8) -> io::Result<()> {
    // SAFETY: the pointers are promised by the caller; the kernel only reads the value.
    unsafe { bpf(Cmd::MapUpdate, &mut Element::new(fd, key, value.cast_mut())) }.map(|_| ())
}

/// Removes `key`; `false` when it was not there.
///
/// # Safety
/// `key` must be good for the map's key size.
pub(crate) unsafe fn delete(fd: BorrowedFd<'_>, key: *const u8) -> io::Result<bool> {
    // SAFETY: the pointer is promised by the caller.
    found(unsafe { bpf(Cmd::MapDelete, &mut Element::new(fd, key, std::ptr::null_mut())) })
}

/// Copies the key after `key` (the first for a null one) to `next`; `false` at the end.
///
/// # Safety
/// `key`, where not null, and `next` must be good for the map's key size.
pub(crate) unsafe fn next_key(fd: BorrowedFd<'_>, key: *const u8, next: *mut u8) -> io::Result<bool> {
    // SAFETY: the pointers are promised by the caller; the kernel writes the next key where a value would be.
    found(unsafe { bpf(Cmd::MapNextKey, &mut Element::new(fd, key, next)) })
}

fn found(answer: io::Result<i32>) -> io::Result<bool> {
    match answer {
        Ok(_) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Where a walk over a hash map stands: a bucket number, or before the first.
pub(crate) type Cursor = Option<u32>;

/// Copies up to `count` elements of a hash map from `cursor` on. Answers how many, and whether the walk is over.
///
/// # Errors
/// `ENOSPC` when one bucket holds more than `count`; try again with more.
///
/// # Safety
/// `keys` and `values` must be good for `count` keys and values of the map.
pub(crate) unsafe fn lookup_batch(
    fd: BorrowedFd<'_>,
    cursor: &mut Cursor,
    keys: *mut u8,
    values: *mut u8,
    count: u32,
) -> io::Result<(usize, bool)> {
    #[repr(C)]
    struct Batch {
        from: u64,
        to: u64,
        keys: u64,
        values: u64,
        count: u32,
        fd: i32,
        element_flags: u64,
        flags: u64,
    }
    let mut next = 0u32;
    let from = cursor.as_ref().map_or(0, |c| std::ptr::from_ref(c) as u64);
    let to = std::ptr::from_mut(&mut next) as u64;
    let (keys, values, fd) = (keys as u64, values as u64, fd.as_raw_fd());
    let mut attr = Batch { from, to, keys, values, count, fd, element_flags: 0, flags: 0 };
    // SAFETY: `from` and `to` point at a hash map's cursor (a u32); keys and values are promised by the caller.
    match unsafe { bpf(Cmd::MapLookupBatch, &mut attr) } {
        Ok(_) => {
            *cursor = Some(next);
            Ok((attr.count as usize, false))
        }
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok((attr.count as usize, true)),
        Err(e) => Err(e),
    }
}

/// Makes a map that no object declares.
pub(crate) fn create(
    map_type: u32,
    key: u32,
    value: u32,
    max: u32,
    flags: u32,
) -> io::Result<std::os::fd::OwnedFd> {
    let mut attr = [map_type, key, value, max, flags];
    // SAFETY: `attr` is the head of what BPF_MAP_CREATE takes and has no pointers; the answer is a fresh descriptor.
    unsafe { bpf(Cmd::MapCreate, &mut attr).map(|fd| super::own(fd)) }
}

/// Opens a map by its id.
pub(crate) fn by_id(id: u32) -> io::Result<std::os::fd::OwnedFd> {
    let mut attr = [id, 0, 0];
    // SAFETY: what BPF_MAP_GET_FD_BY_ID takes, without pointers; the answer is a fresh descriptor.
    unsafe { bpf(Cmd::MapById, &mut attr).map(|fd| super::own(fd)) }
}

/// The head of the kernel's `struct bpf_map_info`.
#[repr(C)]
#[derive(Default)]
pub(crate) struct MapInfo {
    pub(crate) map_type: u32,
    pub(crate) id: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) flags: u32,
}

/// What the kernel says about a map.
pub(crate) fn info(fd: BorrowedFd<'_>) -> io::Result<MapInfo> {
    let mut info = MapInfo::default();
    // SAFETY: `MapInfo` is a prefix of `struct bpf_map_info`.
    unsafe { object::info(fd, &mut info)? };
    Ok(info)
}
