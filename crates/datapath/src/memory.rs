//! The allocator's spare memory. Here because this is the crate that may call the C library.

/// Gives memory that is free inside of the allocator back to the kernel: after a full list of a large cluster has been
/// taken in, some megabytes that nothing else would return. Costs milliseconds.
pub fn give_back() {
    // SAFETY: no pointers; the allocator takes its own locks.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
