//! A map with the types of its keys and values.

use crate::sys::map::{self, Cursor};
use crate::{Error, cpus, sys};
use aya::Pod;
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A hash map or array whose keys are `K` and values `V`.
#[derive(Debug)]
pub struct Table<K, V> {
    fd: OwnedFd,
    name: &'static str,
    max_entries: u32,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K: Pod, V: Pod> Table<K, V> {
    /// Takes a map of which the sizes of keys and values are as the kernel says.
    pub(crate) fn new(fd: OwnedFd, name: &'static str) -> Result<Self, Error> {
        let info = sys::map::info(fd.as_fd()).map_err(Error::system(format!("reading map {name}")))?;
        for (what, found, wanted) in
            [("key size", info.key_size, size_of::<K>()), ("value size", info.value_size, size_of::<V>())]
        {
            if found as usize != wanted {
                return Err(Error::IncompatiblePin { path: name.into(), what, found, wanted: wanted as u32 });
            }
        }
        Ok(Self { fd, name, max_entries: info.max_entries, types: PhantomData })
    }

    /// Another handle on the same map.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn try_clone(&self) -> Result<Self, Error> {
        let fd = self.fd.try_clone().map_err(Error::system(format!("cloning map {}", self.name)))?;
        Ok(Self { fd, name: self.name, max_entries: self.max_entries, types: PhantomData })
    }

    /// The map's name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// How many entries fit.
    pub const fn max_entries(&self) -> u32 {
        self.max_entries
    }

    /// The map's descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The value under `key`.
    ///
    /// # Errors
    /// What the kernel says; a missing key is `None`.
    pub fn get(&self, key: &K) -> io::Result<Option<V>> {
        let mut value = MaybeUninit::<V>::uninit();
        let (key, to) = (std::ptr::from_ref(key).cast(), value.as_mut_ptr().cast());
        // SAFETY: key and value have the map's sizes (checked in `new`) and V is Pod, so what the kernel wrote is a V.
        unsafe { Ok(map::lookup(self.fd.as_fd(), key, to)?.then(|| value.assume_init())) }
    }

    /// The values under `key` of a per-CPU map, one for each possible CPU.
    ///
    /// # Errors
    /// What the kernel says; a missing key is an empty list.
    pub fn get_each_cpu(&self, key: &K) -> io::Result<Vec<V>> {
        // The kernel rounds each CPU's value up to 8 bytes.
        let stride = size_of::<V>().next_multiple_of(8);
        let cpus = cpus::possible()?;
        let mut bytes = vec![0u64; stride / 8 * cpus];
        let (key, to) = (std::ptr::from_ref(key).cast(), bytes.as_mut_ptr().cast());
        // SAFETY: the key has the map's size, the buffer room for every possible CPU.
        if !unsafe { map::lookup(self.fd.as_fd(), key, to)? } {
            return Ok(Vec::new());
        }
        let base = bytes.as_ptr().cast::<u8>();
        // SAFETY: `i * stride` stays in the buffer, which is aligned to 8 bytes; V is Pod.
        Ok((0..cpus).map(|i| unsafe { base.add(i * stride).cast::<V>().read_unaligned() }).collect())
    }

    /// Writes `value` under `key`.
    ///
    /// # Errors
    /// What the kernel says: `E2BIG` when a hash map is full.
    pub fn set(&self, key: &K, value: &V) -> io::Result<()> {
        let (key, value) = (std::ptr::from_ref(key).cast(), std::ptr::from_ref(value).cast());
        // SAFETY: key and value have the map's sizes.
        unsafe { map::update(self.fd.as_fd(), key, value) }
    }

    /// Removes `key`; `false` when it was not there.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove(&self, key: &K) -> io::Result<bool> {
        // SAFETY: the key has the map's size.
        unsafe { map::delete(self.fd.as_fd(), std::ptr::from_ref(key).cast()) }
    }

    /// Every key, one system call each: for maps whose cursor in batches is a whole key, such as tries. A key that is
    /// removed meanwhile may end the walk early.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn keys(&self) -> io::Result<Vec<K>> {
        let mut keys: Vec<K> = Vec::new();
        loop {
            let mut next = MaybeUninit::<K>::uninit();
            let from = keys.last().map_or(std::ptr::null(), |key| std::ptr::from_ref(key).cast());
            // SAFETY: `from` is null or a key, `next` has room for one, both of the map's key size (checked in `new`).
            if !unsafe { map::next_key(self.fd.as_fd(), from, next.as_mut_ptr().cast())? } {
                return Ok(keys);
            }
            // SAFETY: the kernel wrote a key, and K is Pod.
            keys.push(unsafe { next.assume_init() });
            if keys.len() > self.max_entries as usize {
                return Err(io::Error::other("the map changes faster than it can be read"));
            }
        }
    }

    /// Walks a hash map from its beginning, `chunk` entries a system call.
    pub const fn walk(&self, chunk: u32) -> Walk<'_, K, V> {
        Walk { table: self, cursor: None, over: false, chunk }
    }

    /// Every entry of a hash map.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn entries(&self) -> io::Result<Vec<(K, V)>> {
        let mut all = Vec::new();
        let mut walk = self.walk(CHUNK);
        while let Some(chunk) = walk.next_chunk()? {
            all.extend(chunk);
        }
        Ok(all)
    }
}

/// Entries read with one system call, unless a caller paces itself.
pub(crate) const CHUNK: u32 = 4096;

/// A walk over a hash map. Entries that come or go meanwhile may or may not be seen; none that stays is missed.
#[derive(Debug)]
pub struct Walk<'a, K, V> {
    table: &'a Table<K, V>,
    cursor: Cursor,
    over: bool,
    chunk: u32,
}

impl<K: Pod, V: Pod> Walk<'_, K, V> {
    /// The next entries, `None` at the end. A chunk may be empty before the end.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn next_chunk(&mut self) -> io::Result<Option<Vec<(K, V)>>> {
        if self.over {
            return Ok(None);
        }
        let (entries, over) = next_chunk(self.table, &mut self.cursor, self.chunk)?;
        self.over = over;
        Ok(Some(entries))
    }
}

/// Entries from `cursor` on, and whether the walk is over: for walks that outlive a borrow.
pub(crate) fn next_chunk<K: Pod, V: Pod>(
    table: &Table<K, V>,
    cursor: &mut Cursor,
    chunk: u32,
) -> io::Result<(Vec<(K, V)>, bool)> {
    let mut room = chunk.clamp(1, table.max_entries.max(1)) as usize;
    loop {
        let mut keys = Vec::<K>::with_capacity(room);
        let mut values = Vec::<V>::with_capacity(room);
        let (to_keys, to_values) = (keys.as_mut_ptr().cast(), values.as_mut_ptr().cast());
        // SAFETY: both vectors have room for that many elements of the map's sizes.
        match unsafe { map::lookup_batch(table.fd.as_fd(), cursor, to_keys, to_values, room as u32) } {
            Ok((count, over)) => {
                // SAFETY: the kernel wrote `count <= room` keys and values, and both types are Pod.
                unsafe {
                    keys.set_len(count);
                    values.set_len(count);
                }
                return Ok((keys.into_iter().zip(values).collect(), over));
            }
            // One bucket holds more than we have room for.
            Err(e) if e.raw_os_error() == Some(libc::ENOSPC) && room < 1 << 20 => room *= 2,
            Err(e) if e.raw_os_error() == Some(libc::EINTR) => {}
            Err(e) => return Err(e),
        }
    }
}
