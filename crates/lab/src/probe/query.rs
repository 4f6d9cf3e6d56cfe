//! A resolver's habits: one connected UDP socket for all queries, a new one only after an error.

use super::{Queries, until_stdin_ends};
use anyhow::Result;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(50);
/// So long without an answer or an error is silence; the next query goes out by the same socket.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks until standard input ends; prints `asking` after the first answer.
pub fn query(addr: SocketAddr) -> Result<Queries> {
    let over = until_stdin_ends();
    let mut all = Queries::default();
    let mut socket = None;
    while !over.load(Ordering::Relaxed) {
        match exchange(&mut socket, addr) {
            Ok(body) => {
                if all.bodies.is_empty() {
                    println!("asking");
                }
                *all.bodies.entry(body.clone()).or_default() += 1;
                all.last = Some(body);
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                all.silent += 1;
            }
            Err(error) => {
                all.errors.push(error.to_string());
                socket = None;
            }
        }
        thread::sleep(PAUSE);
    }
    Ok(all)
}

fn exchange(socket: &mut Option<UdpSocket>, addr: SocketAddr) -> io::Result<String> {
    let socket = match socket {
        Some(socket) => socket,
        None => {
            let fresh = super::once::socket_for(addr)?;
            fresh.set_read_timeout(Some(PATIENCE))?;
            fresh.connect(addr)?;
            socket.insert(fresh)
        }
    };
    socket.send(b"hostname")?;
    let mut buffer = [0; 512];
    let len = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..len]).into_owned())
}
