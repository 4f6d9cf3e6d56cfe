//! One exchange.

use super::{Answer, Datagram};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

/// How long a peer may take.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// One HTTP GET; the body, or what went wrong.
pub fn http(addr: SocketAddr, path: &str) -> Answer {
    get(addr, path).map_or_else(Answer::from, Answer::Ok)
}

fn get(addr: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: lab\r\n\r\n")?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| io::Error::other("no HTTP answer"))?;
    if head.split(' ').nth(1) != Some("200") {
        return Err(io::Error::other(head.lines().next().unwrap_or_default().to_owned()));
    }
    Ok(body.to_owned())
}

/// The peer's address that a TCP socket shows after connecting.
pub fn peer(addr: SocketAddr) -> Answer {
    let peer = TcpStream::connect_timeout(&addr, PATIENCE).and_then(|stream| stream.peer_addr());
    peer.map_or_else(Answer::from, |peer| Answer::Ok(peer.to_string()))
}

/// Binds a socket, and lets go of it.
pub fn bind(addr: SocketAddr, udp: bool) -> Answer {
    let bound = if udp { UdpSocket::bind(addr).map(drop) } else { TcpListener::bind(addr).map(drop) };
    bound.map_or_else(Answer::from, |()| Answer::Ok("bound".into()))
}

/// UDP exchanges over one socket, one after the other; the last one, or the first that fails.
pub fn udp(addr: SocketAddr, words: &[String], connected: bool) -> Datagram {
    match exchange(addr, words, connected) {
        Ok((body, from)) => Datagram { answer: Answer::Ok(body), from: Some(from) },
        Err(error) => Datagram { answer: error.into(), from: None },
    }
}

fn exchange(addr: SocketAddr, words: &[String], connected: bool) -> io::Result<(String, SocketAddr)> {
    let socket = socket_for(addr)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    if connected {
        socket.connect(addr)?;
    }
    let mut buffer = [0; 65_536];
    let mut last = Err(io::Error::other("nothing to say"));
    for words in words {
        let (len, from) = if connected {
            socket.send(words.as_bytes())?;
            (socket.recv(&mut buffer)?, socket.peer_addr()?)
        } else {
            socket.send_to(words.as_bytes(), addr)?;
            socket.recv_from(&mut buffer)?
        };
        last = Ok((String::from_utf8_lossy(&buffer[..len]).into_owned(), from));
    }
    last
}

/// An unconnected socket of the address's family.
pub fn socket_for(addr: SocketAddr) -> io::Result<UdpSocket> {
    match addr {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)),
    }
}
