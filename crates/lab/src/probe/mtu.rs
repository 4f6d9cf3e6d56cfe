//! Path MTU discovery, as the socket sees it.

use super::{Answer, once};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Sends a datagram that may not be fragmented; the MTU that the kernel learns from the answer, or a time-out.
pub fn mtu(addr: SocketAddr, bytes: usize) -> Answer {
    learn(addr, bytes).map_or_else(Answer::from, |mtu| Answer::Ok(mtu.to_string()))
}

fn learn(addr: SocketAddr, bytes: usize) -> io::Result<i32> {
    let socket = once::socket_for(addr)?;
    let (level, discover, known, probe) = if addr.is_ipv6() {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_MTU, libc::IPV6_PMTUDISC_DO)
    } else {
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_MTU, libc::IP_PMTUDISC_DO)
    };
    set(&socket, level, discover, probe)?;
    socket.connect(addr)?;
    let before = get(&socket, level, known)?;
    socket.send(&vec![b'x'; bytes])?;
    let end = Instant::now() + once::PATIENCE;
    while Instant::now() < end {
        let now = get(&socket, level, known)?;
        if now != before {
            return Ok(now);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(io::ErrorKind::TimedOut.into())
}

fn set(socket: &UdpSocket, level: i32, name: i32, value: i32) -> io::Result<()> {
    let size = size_of::<i32>() as libc::socklen_t;
    // SAFETY: `value` is an i32 of the size that is told and outlives the call.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), size) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn get(socket: &UdpSocket, level: i32, name: i32) -> io::Result<i32> {
    let (mut value, mut size) = (0i32, size_of::<i32>() as libc::socklen_t);
    // SAFETY: room for an i32 of the size that is told; both outlive the call.
    let done =
        unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut size) };
    if done == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}
