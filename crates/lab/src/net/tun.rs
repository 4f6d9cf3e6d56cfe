//! A link without Ethernet between two network namespaces: a tun device in each, and threads that carry packets between them,
//! as a tunnel's two ends do.

use crate::net::netns::Netns;
use anyhow::{Context, Result};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;

/// The longest packet that a tun device hands out.
const LONGEST: usize = 1 << 16;

/// Makes tun devices called `name` in both namespaces, without addresses and down. They, and the threads, last until the
/// devices are removed.
///
/// # Errors
/// When the kernel has no tun devices, or the name is taken or too long.
pub fn connect(name: &str, ends: [&Netns; 2]) -> Result<()> {
    let [a, b] = ends.map(|netns| {
        let name = name.to_owned();
        netns.run(move || open(&name))?.with_context(|| format!("a tun device in {}", netns.name()))
    });
    let (a, b) = (a?, b?);
    let (a2, b2) = (a.try_clone()?, b.try_clone()?);
    std::thread::spawn(move || carry(a, b));
    std::thread::spawn(move || carry(b2, a2));
    Ok(())
}

/// One packet at a time, until a device is gone. What the other end does not take (it is down) is lost, as on a wire.
fn carry(mut from: File, mut to: File) {
    let mut packet = vec![0; LONGEST];
    loop {
        match from.read(&mut packet) {
            Ok(len) => _ = to.write(&packet[..len]),
            Err(e) if e.raw_os_error() == Some(libc::EINTR) => {}
            Err(_) => return,
        }
    }
}

/// A tun device in this thread's namespace, whose packets begin with their IP header.
fn open(name: &str) -> io::Result<File> {
    let tun = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: zeros are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the request is an ifreq that outlives the call.
    if unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(tun)
}
