//! Two connections from one port, which a client may have as long as they go to different addresses.

use super::Answer;
use super::once::PATIENCE;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};

/// Rounds of lines that are said on both.
const ROUNDS: usize = 3;

/// Connects to the first and speaks, then to the second from the same port, then speaks on both in turn; what became of each.
pub fn beside(addrs: [SocketAddr; 2]) -> [Answer; 2] {
    let first = match Talk::begin(addrs[0], 0) {
        Ok(talk) => talk,
        Err(error) => return [error.into(), Answer::Other("not tried".into())],
    };
    let port = first.stream.local_addr().map_or(0, |addr| addr.port());
    let second = Talk::begin(addrs[1], port);
    let mut both = [Ok(first), second];
    for _ in 0..ROUNDS {
        both = both.map(|talk| talk.and_then(Talk::go_on));
    }
    both.map(|talk| talk.map_or_else(Answer::from, |talk| Answer::Ok(format!("{} lines", talk.lines))))
}

struct Talk {
    stream: TcpStream,
    lines: usize,
}

impl Talk {
    /// From a port that others of this client may have too; any when it is zero.
    fn begin(to: SocketAddr, port: u16) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        let from = match to {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
        };
        socket.bind(&SockAddr::from(from))?;
        socket.connect_timeout(&SockAddr::from(to), PATIENCE)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        Self { stream, lines: 0 }.go_on()
    }

    /// Says a line and hears it back.
    fn go_on(mut self) -> io::Result<Self> {
        let said = format!("{} to {}\n", self.lines, self.stream.peer_addr()?);
        self.stream.write_all(said.as_bytes())?;
        let mut heard = vec![0; said.len()];
        self.stream.read_exact(&mut heard)?;
        if heard != said.as_bytes() {
            return Err(io::Error::other("another connection's answer"));
        }
        self.lines += 1;
        Ok(self)
    }
}
