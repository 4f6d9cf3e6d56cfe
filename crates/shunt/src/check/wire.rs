//! Sending probes and hearing answers, by raw sockets: it needs CAP_NET_RAW.

use super::packet::{Answer, Carrier, answer, icmp_of_ipv4, probe};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// How long an answer may take, and how often a probe is sent before silence counts. A node answers one peer with one ICMP
/// error a second, so tries must not come faster.
const PATIENCE: Duration = Duration::from_millis(1100);
const TRIES: u16 = 3;

/// A way to one address.
pub(super) struct Wire {
    out: Socket,
    back: Socket,
    src: IpAddr,
    dst: IpAddr,
    token: u16,
}

impl Wire {
    /// Opens one; `token` and the few numbers after it tell its probes from everything else.
    pub(super) fn open(dst: IpAddr, token: u16) -> io::Result<Self> {
        let (domain, icmp) = match dst {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        // IPPROTO_RAW: the kernel takes our IP header as it is.
        let out = Socket::new(domain, Type::RAW, Some(Protocol::from(255)))?;
        let back = Socket::new(domain, Type::RAW, Some(icmp))?;
        Ok(Self { out, back, src: source(dst)?, dst, token })
    }

    /// The answer to a probe; `None` when nothing comes.
    pub(super) fn ask(&mut self, carrier: Carrier) -> io::Result<Option<Answer>> {
        for _ in 0..TRIES {
            self.token = self.token.wrapping_add(1);
            let packet = probe(carrier, self.src, self.dst, self.token);
            self.out.send_to(&packet, &SockAddr::from(SocketAddr::new(self.dst, 0)))?;
            let end = Instant::now() + PATIENCE;
            while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
                if let Some(answer) = self.hear(left)? {
                    return Ok(Some(answer));
                }
            }
        }
        Ok(None)
    }

    /// The next ICMP message, if it answers the last probe.
    fn hear(&mut self, limit: Duration) -> io::Result<Option<Answer>> {
        self.back.set_read_timeout(Some(limit))?;
        let mut buffer = [0; 2048];
        let heard = match self.dst {
            // With its IP header, which tells the sender.
            IpAddr::V4(_) => self.back.read(&mut buffer).map(|len| {
                let packet = &buffer[..len];
                let from: Option<[u8; 4]> = packet.get(12..16).and_then(|a| a.try_into().ok());
                from.and_then(|from| answer(icmp_of_ipv4(packet)?, from.into(), self.dst, self.token))
            }),
            // Without; a datagram socket of std tells the sender as well.
            IpAddr::V6(_) => UdpSocket::from(self.back.try_clone()?)
                .recv_from(&mut buffer)
                .map(|(len, from)| answer(&buffer[..len], from.ip(), self.dst, self.token)),
        };
        match heard {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            other => other,
        }
    }
}

/// The address that packets to another leave from.
fn source(dst: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if dst.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    // Connecting asks for the route and sends nothing; any port does.
    socket.connect((dst, 9))?;
    Ok(socket.local_addr()?.ip())
}
