//! Maglev tables: arrays inside an array of maps, made when their first table is written.
//!
//! A table is written through a mapping that ends with the write: pages of a map that stay mapped count as the agent's memory.
//! An array stays for good; the kernel waits for every reader when one is added (some 10 ms), so tables share large ones.

use crate::maps::{ARRAY, MMAPABLE};
use crate::{Error, sys};
use shunt_common::maglev::{CHUNK_UNITS, TableRef};
use shunt_common::maps::MAGLEV as MAP;
use shunt_model::store::{MapError, TableHead};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// The arrays of tables.
#[derive(Debug)]
pub(crate) struct Tables {
    outer: OwnedFd,
    max: u32,
    /// Those that were used so far, by number.
    chunks: Vec<Option<OwnedFd>>,
}

impl Tables {
    pub(crate) fn new(map: impl Fn(&'static str) -> Result<OwnedFd, Error>) -> Result<Self, Error> {
        Self::on(map(MAP)?).map_err(Error::system("reading map maglev"))
    }

    /// In this array of maps.
    pub(crate) fn on(outer: OwnedFd) -> io::Result<Self> {
        let max = sys::map::info(outer.as_fd())?.max_entries;
        Ok(Self { outer, max, chunks: Vec::new() })
    }

    /// How many arrays there may be.
    pub(crate) const fn max(&self) -> u32 {
        self.max
    }

    /// Writes a table, which is a whole number of elements and lies in one array.
    pub(super) fn put(&mut self, at: u32, table: &[u8]) -> Result<(), MapError> {
        let (number, first) = (at / CHUNK_UNITS, (at % CHUNK_UNITS) as usize * 8);
        if number >= self.max || first + table.len() > CHUNK_UNITS as usize * 8 {
            return Err(MapError::tables_full());
        }
        let failed = |what| super::kernel(MAP, what);
        if self.chunk(number).map_err(failed("opening an array"))?.is_none() {
            self.make(number).map_err(no_array)?;
        }
        let Ok(Some(chunk)) = self.chunk(number) else {
            return Err(MapError::tables_full());
        };
        write(chunk, first, table).map_err(failed("mapping into memory"))
    }

    /// A table's header; `None` where no array is.
    pub(crate) fn head(&mut self, table: TableRef) -> io::Result<Option<TableHead>> {
        let Some(words) = self.read(table.at(), 2)? else { return Ok(None) };
        Ok(Some(TableHead { digest: words[0], units: words[1] }))
    }

    /// Elements from one on; `None` where no array is or it ends before.
    pub(crate) fn read(&mut self, at: u32, count: u32) -> io::Result<Option<Vec<u64>>> {
        if at / CHUNK_UNITS >= self.max {
            return Ok(None);
        }
        let Some(chunk) = self.chunk(at / CHUNK_UNITS)? else { return Ok(None) };
        let mut words = Vec::with_capacity(count as usize);
        for unit in at % CHUNK_UNITS..(at % CHUNK_UNITS).saturating_add(count) {
            let mut word = 0u64;
            let value = std::ptr::from_mut(&mut word).cast();
            // SAFETY: the arrays have keys of four bytes and values of eight.
            if !unsafe { sys::map::lookup(chunk.as_fd(), std::ptr::from_ref(&unit).cast(), value)? } {
                return Ok(None);
            }
            words.push(word);
        }
        Ok(Some(words))
    }

    /// An array's descriptor; `None` when it is not made yet.
    pub(crate) fn chunk(&mut self, number: u32) -> io::Result<Option<&OwnedFd>> {
        let index = number as usize;
        if self.chunks.len() <= index {
            self.chunks.resize_with(index + 1, || None);
        }
        if self.chunks[index].is_none() {
            let mut id = 0u32;
            let (key, value) = (std::ptr::from_ref(&number).cast(), std::ptr::from_mut(&mut id).cast());
            // SAFETY: keys and values of an array of maps have four bytes; it is read as the inner map's id.
            if unsafe { sys::map::lookup(self.outer.as_fd(), key, value)? } {
                self.chunks[index] = Some(sys::map::by_id(id)?);
            }
        }
        Ok(self.chunks[index].as_ref())
    }

    fn make(&mut self, number: u32) -> io::Result<()> {
        let chunk = sys::map::create(ARRAY, 4, 8, CHUNK_UNITS, MMAPABLE)?;
        let fd = chunk.as_raw_fd();
        let (key, value) = (std::ptr::from_ref(&number).cast(), std::ptr::from_ref(&fd).cast());
        // SAFETY: keys and values of an array of maps have four bytes; it is written as the inner map's descriptor.
        unsafe { sys::map::update(self.outer.as_fd(), key, value)? };
        self.chunks[number as usize] = Some(chunk);
        Ok(())
    }
}

/// Most likely a limit on the agent's memory, which the pools and frontends of its services still fit in.
fn no_array(error: io::Error) -> MapError {
    let mib = CHUNK_UNITS / (1 << 17);
    let why = format!("making one more array of {mib} MiB in map {MAP}: {error}; give the agent more memory");
    MapError::NoTable { why }
}

/// Copies bytes into an array, through the pages that they lie in.
fn write(chunk: &OwnedFd, first: usize, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: no pointers.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    let (start, end) = (first / page * page, first + bytes.len());
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a fresh shared mapping that overlaps nothing.
    let base = unsafe {
        let at = start as libc::off_t;
        libc::mmap(std::ptr::null_mut(), end - start, access, libc::MAP_SHARED, chunk.as_raw_fd(), at)
    };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping holds `end - start` bytes; no program reads these before the pool that names them is written.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), base.cast::<u8>().add(first - start), bytes.len());
        libc::munmap(base, end - start);
    }
    Ok(())
}
