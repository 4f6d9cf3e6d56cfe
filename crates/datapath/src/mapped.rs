//! Arrays that user space writes through memory instead of system calls (BPF_F_MMAPABLE).
//!
//! Programs read them at the same time, so every access is atomic, a word at a time: a reader may see some words of
//! a row before others, never half a word. Who writes a row decides in which order ([`crate::KernelStore`]).

use crate::{Error, sys};
use shunt_common::maps;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The mapped arrays. Pages of a mapping count as memory of the process, so each is mapped once and shared.
#[derive(Clone, Debug)]
pub(crate) struct Arrays {
    pub(crate) backends4: Arc<Mapped>,
    pub(crate) backends6: Arc<Mapped>,
    pub(crate) pool: Arc<Mapped>,
}

impl Arrays {
    /// Maps the arrays that `map` gives by name.
    pub(crate) fn new(
        map: impl Fn(&'static str) -> Result<OwnedFd, Error>,
        writable: bool,
    ) -> Result<Self, Error> {
        let open = |name| Ok::<_, Error>(Arc::new(Mapped::new(&map(name)?, name, writable)?));
        Ok(Self {
            backends4: open(maps::BACKENDS4)?,
            backends6: open(maps::BACKENDS6)?,
            pool: open(maps::POOL)?,
        })
    }
}

/// A mapped ARRAY as words. Elements are padded to 8 bytes.
#[derive(Debug)]
pub(crate) struct Mapped {
    base: std::ptr::NonNull<AtomicU32>,
    bytes: usize,
    /// Words from one element to the next.
    stride: usize,
    elements: u32,
}

// SAFETY: the mapping belongs to this value alone, and is only accessed through atomics.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Maps a whole array; the mapping lives on without the descriptor.
    pub(crate) fn new(fd: &OwnedFd, name: &str, writable: bool) -> Result<Self, Error> {
        let info = sys::map::info(fd.as_fd()).map_err(Error::system(format!("reading map {name}")))?;
        let stride = (info.value_size as usize).next_multiple_of(8);
        let bytes = stride * info.max_entries as usize;
        let access = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        let fd = std::os::fd::AsRawFd::as_raw_fd(fd);
        // SAFETY: a fresh shared mapping that overlaps nothing; the kernel rounds the length up to pages.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, libc::MAP_SHARED, fd, 0) };
        let base = if base == libc::MAP_FAILED { None } else { std::ptr::NonNull::new(base.cast()) };
        let Some(base) = base else {
            return Err(Error::system(format!("mapping map {name}"))(std::io::Error::last_os_error()));
        };
        Ok(Self { base, bytes, stride: stride / 4, elements: info.max_entries })
    }

    /// Number of elements.
    pub(crate) const fn elements(&self) -> u32 {
        self.elements
    }

    /// Number of words, with the padding of elements.
    pub(crate) const fn words(&self) -> usize {
        self.bytes / 4
    }

    /// The words of the array.
    fn all(&self) -> &[AtomicU32] {
        // SAFETY: the mapping is that long, aligned to a page, and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.words()) }
    }

    /// The words of one element, padding included.
    pub(crate) fn element(&self, index: u32) -> Option<&[AtomicU32]> {
        let start = index as usize * self.stride;
        self.all().get(start..start + self.stride)
    }

    /// The array as one run of words, for elements without padding.
    pub(crate) fn word(&self, index: u32) -> Option<&AtomicU32> {
        self.all().get(index as usize)
    }

    /// Reads the first `N` words of an element.
    pub(crate) fn read<const N: usize>(&self, index: u32) -> Option<[u32; N]> {
        let words = self.element(index)?;
        let mut out = [0; N];
        for (to, from) in out.iter_mut().zip(words) {
            *to = from.load(Ordering::Acquire);
        }
        Some(out)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made, of the same length; no reference outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}
