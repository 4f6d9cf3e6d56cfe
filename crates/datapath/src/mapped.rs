//! Arrays that user space writes through memory instead of system calls (BPF_F_MMAPABLE).
//!
//! Programs read them at the same time, so every access is atomic, a word at a time: a reader may see some words of
//! a row before others, never half a word. Who writes a row decides in which order ([`crate::KernelStore`]).

use crate::{Error, sys};
use shunt_common::maps;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

/// The mapped arrays, each mapped once and shared.
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
        let open = |name| Ok::<_, Error>(Arc::new(Mapped::new(map(name)?, name, writable)?));
        Ok(Self {
            backends4: open(maps::BACKENDS4)?,
            backends6: open(maps::BACKENDS6)?,
            pool: open(maps::POOL)?,
        })
    }
}

/// How much is mapped at a time: a multiple of every page size there is, and of every element's size.
const WINDOW: usize = 64 << 10;

/// A mapped ARRAY as words. Elements are padded to 8 bytes.
///
/// All pages of a mapping of a map count as memory of the process from its first moment on. Ids are given out from the
/// lowest, so only the parts that are used come to be mapped.
#[derive(Debug)]
pub(crate) struct Mapped {
    fd: OwnedFd,
    writable: bool,
    windows: Box<[OnceLock<Window>]>,
    bytes: usize,
    /// Words from one element to the next.
    stride: usize,
    elements: u32,
}

impl Mapped {
    /// Maps an array, at first only its beginning.
    pub(crate) fn new(fd: OwnedFd, name: &str, writable: bool) -> Result<Self, Error> {
        let info = sys::map::info(fd.as_fd()).map_err(Error::system(format!("reading map {name}")))?;
        let stride = (info.value_size as usize).next_multiple_of(8);
        assert!(WINDOW.is_multiple_of(stride), "elements of {name} do not straddle windows");
        let bytes = stride * info.max_entries as usize;
        let windows = (0..bytes.div_ceil(WINDOW)).map(|_| OnceLock::new()).collect();
        let mapped = Self { fd, writable, windows, bytes, stride: stride / 4, elements: info.max_entries };
        // A map that cannot be mapped at all says so here.
        let first = mapped.map(0).map_err(Error::system(format!("mapping map {name}")))?;
        mapped.windows[0].set(first).expect("nobody else has it yet");
        Ok(mapped)
    }

    /// Number of elements.
    pub(crate) const fn elements(&self) -> u32 {
        self.elements
    }

    /// Number of words, with the padding of elements.
    pub(crate) const fn words(&self) -> usize {
        self.bytes / 4
    }

    /// The words of one element, padding included; `None` past the end. Fails where the process has no room for a mapping.
    pub(crate) fn element(&self, index: u32) -> io::Result<Option<&[AtomicU32]>> {
        let start = index as usize * self.stride;
        let at = start % (WINDOW / 4);
        Ok(self.window(start)?.and_then(|window| window.words().get(at..at + self.stride)))
    }

    /// The array as one run of words, for elements without padding. As [`Self::element`].
    pub(crate) fn word(&self, index: u32) -> io::Result<Option<&AtomicU32>> {
        let start = index as usize;
        Ok(self.window(start)?.and_then(|window| window.words().get(start % (WINDOW / 4))))
    }

    /// Makes something of each element in turn, and maps for the time of it what is not mapped.
    pub(crate) fn collect<T>(&self, each: impl Fn(u32, &[AtomicU32]) -> Option<T>) -> io::Result<Vec<T>> {
        let mut found = Vec::new();
        for (number, window) in self.windows.iter().enumerate() {
            let first = number * (WINDOW / 4) / self.stride;
            let mut look = |window: &Window| {
                let elements = (first as u32..).zip(window.words().chunks_exact(self.stride));
                found.extend(elements.filter_map(|(index, words)| each(index, words)));
            };
            match window.get() {
                Some(window) => look(window),
                None => look(&self.map(number)?),
            }
        }
        Ok(found)
    }

    /// The window with a word; `None` past the end.
    fn window(&self, word: usize) -> io::Result<Option<&Window>> {
        let number = word / (WINDOW / 4);
        let Some(window) = self.windows.get(number) else { return Ok(None) };
        if window.get().is_none() {
            // Whoever is first wins; the other mapping ends here.
            let _ = window.set(self.map(number)?);
        }
        Ok(window.get())
    }

    fn map(&self, number: usize) -> io::Result<Window> {
        let offset = number * WINDOW;
        let bytes = WINDOW.min(self.bytes - offset);
        let access = if self.writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        let fd = self.fd.as_raw_fd();
        let at = offset as libc::off_t;
        // SAFETY: a fresh shared mapping that overlaps nothing; the kernel rounds the length up to pages.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, libc::MAP_SHARED, fd, at) };
        let base = if base == libc::MAP_FAILED { None } else { NonNull::new(base.cast()) };
        Ok(Window { base: base.ok_or_else(io::Error::last_os_error)?, bytes })
    }
}

/// The first `N` words of an element; `None` when it has fewer.
pub(crate) fn load<const N: usize>(element: &[AtomicU32]) -> Option<[u32; N]> {
    let words: &[AtomicU32; N] = element.first_chunk()?;
    Some(words.each_ref().map(|word| word.load(Ordering::Acquire)))
}

/// One mapping.
#[derive(Debug)]
struct Window {
    base: NonNull<AtomicU32>,
    bytes: usize,
}

// SAFETY: the mapping belongs to this value alone, and is only accessed through atomics.
unsafe impl Send for Window {}
// SAFETY: as above.
unsafe impl Sync for Window {}

impl Window {
    fn words(&self) -> &[AtomicU32] {
        // SAFETY: the mapping is that long, aligned to a page, and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.bytes / 4) }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: the mapping that `map` made, of the same length; no reference outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An array of two windows with elements of `stride` words, of which nothing can be mapped.
    pub(crate) fn without_room(stride: usize) -> Mapped {
        let fd = std::fs::File::open("/dev/null").expect("a file that cannot be mapped").into();
        let bytes = 2 * WINDOW;
        let windows = (0..2).map(|_| OnceLock::new()).collect();
        Mapped { fd, writable: true, windows, bytes, stride, elements: (bytes / 4 / stride) as u32 }
    }

    #[test]
    fn what_cannot_be_mapped_is_an_error_and_what_is_past_the_end_is_not() {
        let mapped = without_room(2);
        assert!(mapped.word(0).is_err() && mapped.element(0).is_err());
        assert!(mapped.collect(|_, _| Some(())).is_err());
        assert!(matches!(mapped.word(mapped.words() as u32), Ok(None)));
        assert!(matches!(mapped.element(mapped.elements()), Ok(None)));
    }
}
