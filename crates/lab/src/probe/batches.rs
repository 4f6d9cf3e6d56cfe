//! Batches of datagrams: one send for many of them, which go through the stack as one packet until somebody cuts them apart.

use super::{Batches, once};
use std::collections::HashSet;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Socket option of level `SOL_UDP` (include/uapi/linux/udp.h): the payload of each datagram of a send.
const UDP_SEGMENT: i32 = 103;
/// So long after the last answer no more are waited for.
const SILENCE: Duration = Duration::from_millis(700);
/// What makes the server echo a datagram.
const VERB: &str = "echo ";

/// Sends batches of so many datagrams, and counts what is echoed.
pub fn send(addr: SocketAddr, batches: u32, datagrams: u32, bytes: usize, greet: bool) -> Batches {
    let mut all = Batches::default();
    if let Err(error) = exchange(addr, batches, datagrams, bytes, greet, &mut all) {
        all.error = Some(error.to_string());
    }
    all
}

fn exchange(
    addr: SocketAddr,
    batches: u32,
    datagrams: u32,
    bytes: usize,
    greet: bool,
    all: &mut Batches,
) -> io::Result<()> {
    let socket = once::socket_for(addr)?;
    // Connected: an answer from elsewhere is none.
    socket.connect(addr)?;
    if greet {
        socket.set_read_timeout(Some(once::PATIENCE))?;
        socket.send(VERB.as_bytes())?;
        socket.recv(&mut [0; 512])?;
    }
    socket.set_read_timeout(Some(SILENCE))?;
    segment(&socket, bytes)?;
    for batch in 0..batches {
        let said: Vec<String> =
            (0..datagrams).map(|i| datagram(batch, i, i + 1 == datagrams, bytes)).collect();
        socket.send(said.concat().as_bytes())?;
        all.sent += datagrams;
        hear(&socket, said.iter().map(|text| &text[VERB.len()..]).collect(), all)?;
    }
    Ok(())
}

/// A datagram that no other one equals; the `last` of a batch is shorter.
fn datagram(batch: u32, i: u32, last: bool, bytes: usize) -> String {
    let len = if last { bytes / 2 } else { bytes };
    let head = format!("{VERB}{batch}.{i}.");
    let rest = "m".repeat(len.saturating_sub(head.len()));
    format!("{head}{rest}")
}

/// Hears echoes until all have come, or there is silence.
fn hear(socket: &UdpSocket, mut missing: HashSet<&str>, all: &mut Batches) -> io::Result<()> {
    let mut buffer = vec![0; 65_536];
    while !missing.is_empty() {
        let len = match socket.recv(&mut buffer) {
            Ok(len) => len,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                break;
            }
            Err(error) => return Err(error),
        };
        if std::str::from_utf8(&buffer[..len]).is_ok_and(|text| missing.remove(text)) {
            all.whole += 1;
        } else {
            all.wrong.push(len);
        }
    }
    Ok(())
}

/// Has every send of a socket cut into datagrams of so many bytes.
fn segment(socket: &UdpSocket, bytes: usize) -> io::Result<()> {
    let value = i32::try_from(bytes).map_err(io::Error::other)?;
    let size = size_of::<i32>() as libc::socklen_t;
    // SAFETY: `value` is an i32 of the size that is told and outlives the call.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_UDP, UDP_SEGMENT, (&raw const value).cast(), size)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
