//! A long transfer in both directions at once.

use super::{Answer, once};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;

/// Sends bytes to an echo port and compares what comes back; says how many came.
pub fn bulk(addr: SocketAddr, bytes: usize) -> Answer {
    transfer(addr, bytes).map_or_else(Answer::from, |()| Answer::Ok(bytes.to_string()))
}

fn transfer(addr: SocketAddr, bytes: usize) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&addr, once::PATIENCE)?;
    stream.set_read_timeout(Some(once::PATIENCE))?;
    stream.set_write_timeout(Some(once::PATIENCE))?;
    let said: Vec<u8> = (0..bytes).map(byte).collect();
    let mut sender = stream.try_clone()?;
    let sent = thread::spawn(move || {
        sender.write_all(&said)?;
        sender.shutdown(Shutdown::Write)
    });
    let mut heard = Vec::with_capacity(bytes);
    stream.read_to_end(&mut heard)?;
    sent.join().map_err(|_| io::Error::other("the sender panicked"))??;
    let wrong = heard.iter().enumerate().find(|(i, b)| **b != byte(*i));
    match wrong {
        Some((i, _)) => Err(io::Error::other(format!("byte {i} came back another one"))),
        None if heard.len() != bytes => {
            Err(io::Error::other(format!("{} of {bytes} came back", heard.len())))
        }
        None => Ok(()),
    }
}

/// The byte at a place; repeats in no power of two, so that a shift of whole packets or pages shows.
fn byte(i: usize) -> u8 {
    (i % 251) as u8
}
