//! Memory that is not needed for a while. Here because this is the crate that may call the C library.

/// Gives memory that is free inside of the allocator back to the kernel: after a full list of a large cluster has been
/// taken in, some megabytes that nothing else would return. Costs milliseconds.
pub fn give_back() {
    // SAFETY: no pointers; the allocator takes its own locks.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Takes a part of the program's own file out of this process's memory: the kernel reads it again should anybody look at it.
pub(crate) fn put_away(part: &'static [u8]) {
    // SAFETY: no pointers.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    let pages = part.as_ptr_range();
    let (first, last) = ((pages.start as usize).next_multiple_of(page), pages.end as usize / page * page);
    if first < last {
        // SAFETY: whole pages inside of a static that nobody can write: its mapping is of a file, which has the same bytes.
        unsafe { libc::madvise(first as *mut libc::c_void, last - first, libc::MADV_DONTNEED) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::OBJECT;

    /// Kilobytes of files that are in this process's memory.
    fn of_files() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn what_is_put_away_takes_no_memory_and_reads_the_same() {
        let sum = || OBJECT.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        let (before, there) = (sum(), of_files());
        put_away(OBJECT);
        assert!(of_files() + OBJECT.len() / 1024 * 3 / 4 < there, "{} kB, {there} kB before", of_files());
        assert_eq!(sum(), before);
    }
}
