//! The lab's own bpffs.

use anyhow::{Context, Result};
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Mounts a bpffs at a directory, which is made.
pub fn mount(at: &Path) -> Result<()> {
    fs::create_dir_all(at)?;
    let target = CString::new(at.as_os_str().as_bytes())?;
    // SAFETY: NUL-terminated strings that outlive the call, and no data.
    let done = unsafe { libc::mount(c"bpf".as_ptr(), target.as_ptr(), c"bpf".as_ptr(), 0, std::ptr::null()) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error()).with_context(|| format!("bpffs at {}", at.display()))
    }
}

/// Unmounts, with everything pinned in it; fine when nothing is mounted there.
pub fn unmount(at: &Path) {
    if let Ok(target) = CString::new(at.as_os_str().as_bytes()) {
        // SAFETY: a NUL-terminated string that outlives the call.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    }
}
