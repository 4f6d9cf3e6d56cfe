//! A long transfer in one direction, told by its length and digest.

use super::{Answer, once};
use crate::pattern::{Digest, chunks};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// Hears a long text by HTTP; length and digest of what came.
pub fn fetch(addr: SocketAddr, bytes: usize) -> Answer {
    get(addr, bytes).map_or_else(Answer::from, Answer::Ok)
}

/// Says a long text by HTTP; length and digest of what the server heard.
pub fn send(addr: SocketAddr, bytes: usize) -> Answer {
    post(addr, bytes).map_or_else(Answer::from, Answer::Ok)
}

fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&addr, once::PATIENCE)?;
    stream.set_read_timeout(Some(once::PATIENCE))?;
    stream.set_write_timeout(Some(once::PATIENCE))?;
    Ok(stream)
}

fn get(addr: SocketAddr, bytes: usize) -> io::Result<String> {
    let mut stream = connect(addr)?;
    write!(stream, "GET /big?bytes={bytes} HTTP/1.0\r\nHost: lab\r\n\r\n")?;
    let mut digest = Digest::default();
    let mut rest = after_head(&mut stream)?;
    let mut buffer = vec![0; 256 << 10];
    while !rest.is_empty() {
        digest.add(&rest);
        let len = stream.read(&mut buffer)?;
        rest.clear();
        rest.extend_from_slice(&buffer[..len]);
    }
    Ok(digest.to_string())
}

fn post(addr: SocketAddr, bytes: usize) -> io::Result<String> {
    let mut stream = connect(addr)?;
    write!(stream, "POST /digest HTTP/1.0\r\nHost: lab\r\nContent-Length: {bytes}\r\n\r\n")?;
    for piece in chunks(bytes) {
        stream.write_all(&piece)?;
    }
    let mut body = after_head(&mut stream)?;
    stream.read_to_end(&mut body)?;
    String::from_utf8(body).map_err(io::Error::other)
}

/// Reads to the end of a good answer's head; what came of its body already, which is something unless the body is empty.
fn after_head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let (mut got, mut buffer) = (Vec::new(), [0; 4096]);
    let end = |got: &[u8]| got.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4);
    loop {
        let len = stream.read(&mut buffer)?;
        got.extend_from_slice(&buffer[..len]);
        match end(&got) {
            Some(at) if at < got.len() || len == 0 => {
                let status = got.split(|b| *b == b' ').nth(1).unwrap_or_default();
                if status != b"200" {
                    return Err(io::Error::other(String::from_utf8_lossy(&got[..at]).into_owned()));
                }
                return Ok(got.split_off(at));
            }
            _ if len == 0 => return Err(io::Error::other("no HTTP answer")),
            _ => {}
        }
    }
}
