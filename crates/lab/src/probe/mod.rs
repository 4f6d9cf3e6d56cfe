//! Clients of the lab, as processes: only a process can be in a node's cgroup. Each prints one JSON object.

mod batches;
mod beside;
mod bulk;
mod hold;
mod mtu;
mod once;
mod query;
mod repeat;
mod transfer;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// What to try.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Args {
    /// One HTTP GET
    Http {
        /// Where to
        addr: SocketAddr,
        /// What to ask for
        #[arg(default_value = "/")]
        path: String,
    },
    /// UDP exchanges over one socket; tells how the last one went
    Udp {
        /// Where to
        addr: SocketAddr,
        /// What to say, one after the other
        #[arg(default_value = "who")]
        words: Vec<String>,
        /// Connect the socket first
        #[arg(long)]
        connected: bool,
    },
    /// Connect by TCP and tell the peer's address as the socket shows it
    Peer {
        /// Where to
        addr: SocketAddr,
    },
    /// Connect to two echo ports from one port of ours, one after the other, and speak on both
    Beside {
        /// Where to first
        first: SocketAddr,
        /// Where to then
        second: SocketAddr,
    },
    /// Send many bytes to an echo port and hear the same ones back
    Bulk {
        /// Where to
        addr: SocketAddr,
        /// How many
        #[arg(long, default_value_t = 5_000_000)]
        bytes: usize,
    },
    /// Hear many bytes by HTTP, and tell their length and digest
    Fetch {
        /// Where from
        addr: SocketAddr,
        /// How many
        #[arg(long)]
        bytes: usize,
    },
    /// Say many bytes by HTTP, and tell the length and digest that the server found
    Send {
        /// Where to
        addr: SocketAddr,
        /// How many
        #[arg(long)]
        bytes: usize,
    },
    /// Send one long datagram that may not be fragmented, and tell the MTU that the way then turns out to have
    Mtu {
        /// Where to
        addr: SocketAddr,
        /// Bytes of payload
        #[arg(long)]
        bytes: usize,
    },
    /// Send datagrams in batches that the kernel or the NIC cuts apart (UDP_SEGMENT) to a server that echoes them, and tell which
    /// came back whole
    Batches {
        /// Where to
        addr: SocketAddr,
        /// How many batches, one after the other
        #[arg(long, default_value_t = 3)]
        batches: u32,
        /// Datagrams in each, at most 64; the last one is shorter
        #[arg(long, default_value_t = 6)]
        datagrams: u32,
        /// Bytes of payload of each
        #[arg(long, default_value_t = 1200)]
        bytes: usize,
        /// Have a datagram by itself answered first
        #[arg(long)]
        greet: bool,
    },
    /// Bind a socket and tell what came of it
    Bind {
        /// Where
        addr: SocketAddr,
        /// UDP instead of TCP
        #[arg(long)]
        udp: bool,
    },
    /// UDP queries by one connected socket, as a resolver asks, until standard input ends
    Query {
        /// Where to
        addr: SocketAddr,
    },
    /// HTTP GETs, each on a connection of its own
    Repeat {
        /// Where to, in turn
        #[arg(required = true)]
        addrs: Vec<SocketAddr>,
        /// Stop after so many; zero goes on until standard input ends
        #[arg(long, default_value_t = 0)]
        count: u32,
        /// UDP instead: each from a socket of its own, connected and unconnected in turn
        #[arg(long)]
        udp: bool,
        /// Milliseconds to wait after each
        #[arg(long, default_value_t = 0)]
        pause: u64,
    },
    /// Long-lived connections that exchange a line every 50 ms, and a UDP stream, until standard input ends
    Hold {
        /// Echo ports to connect to, in turn
        #[arg(long = "tcp")]
        tcp: Vec<SocketAddr>,
        /// Connections in all
        #[arg(long, default_value_t = 200)]
        connections: usize,
        /// UDP servers to stream to
        #[arg(long = "udp")]
        udp: Vec<SocketAddr>,
    },
}

/// The answer to one try.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// The body.
    Ok(String),
    /// ECONNREFUSED: somebody said no.
    Refused,
    /// Nothing came back.
    Timeout,
    /// The connection was reset.
    Reset,
    /// EPERM: not allowed.
    Denied,
    /// Anything else.
    Other(String),
}

impl Answer {
    /// The body, if there is one.
    pub fn body(&self) -> Option<&str> {
        match self {
            Self::Ok(body) => Some(body),
            Self::Refused | Self::Timeout | Self::Reset | Self::Denied | Self::Other(_) => None,
        }
    }
}

impl From<io::Error> for Answer {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::Timeout,
            io::ErrorKind::PermissionDenied => Self::Denied,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Reset,
            _ => Self::Other(error.to_string()),
        }
    }
}

/// A UDP answer, with the sender that the socket was shown.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Datagram {
    /// What was answered.
    pub answer: Answer,
    /// Who answered, as the socket shows it.
    pub from: Option<SocketAddr>,
}

/// What came back of datagrams that were sent in batches.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Batches {
    /// Datagrams sent.
    pub sent: u32,
    /// Of those, how many were echoed whole, each counted once.
    pub whole: u32,
    /// Lengths of answers that are no echo of a datagram that was sent, or come again.
    pub wrong: Vec<usize>,
    /// What the kernel said when a batch could not be sent.
    pub error: Option<String>,
}

/// Many tries.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Tries {
    /// How many.
    pub tries: u32,
    /// Those that failed, in words.
    pub failures: Vec<String>,
    /// Bodies and how often each came.
    pub bodies: BTreeMap<String, u32>,
}

/// What became of queries by one connected socket.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Queries {
    /// Answers and how often each came.
    pub bodies: BTreeMap<String, u32>,
    /// The last of them.
    pub last: Option<String>,
    /// Queries that failed, in words; each made the next one use a new socket.
    pub errors: Vec<String>,
    /// Queries after which nothing came, neither answer nor error.
    pub silent: u32,
}

/// What became of long-lived connections and streams.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Held {
    /// Connections that were opened.
    pub opened: usize,
    /// Lines exchanged over them.
    pub exchanges: u64,
    /// Connections that broke, in words.
    pub broken: Vec<String>,
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams that were not answered.
    pub lost: u64,
    /// The longest time that any line or datagram waited for its answer, in milliseconds.
    pub longest_stall: u64,
}

impl Held {
    fn waited(&mut self, time: Duration) {
        self.longest_stall = self.longest_stall.max(time.as_millis().try_into().unwrap_or(u64::MAX));
    }
}

/// Runs a probe and prints what it found.
pub fn run(args: &Args) -> Result<()> {
    let json = match args {
        Args::Http { addr, path } => serde_json::to_string(&once::http(*addr, path))?,
        Args::Udp { addr, words, connected } => serde_json::to_string(&once::udp(*addr, words, *connected))?,
        Args::Peer { addr } => serde_json::to_string(&once::peer(*addr))?,
        Args::Beside { first, second } => serde_json::to_string(&beside::beside([*first, *second]))?,
        Args::Bulk { addr, bytes } => serde_json::to_string(&bulk::bulk(*addr, *bytes))?,
        Args::Fetch { addr, bytes } => serde_json::to_string(&transfer::fetch(*addr, *bytes))?,
        Args::Send { addr, bytes } => serde_json::to_string(&transfer::send(*addr, *bytes))?,
        Args::Mtu { addr, bytes } => serde_json::to_string(&mtu::mtu(*addr, *bytes))?,
        Args::Batches { addr, batches, datagrams, bytes, greet } => {
            serde_json::to_string(&batches::send(*addr, *batches, *datagrams, *bytes, *greet))?
        }
        Args::Bind { addr, udp } => serde_json::to_string(&once::bind(*addr, *udp))?,
        Args::Query { addr } => serde_json::to_string(&query::query(*addr)?)?,
        Args::Repeat { addrs, count, udp, pause } => {
            let ask = if *udp { repeat::datagram } else { repeat::get };
            serde_json::to_string(&repeat::repeat(addrs, *count, Duration::from_millis(*pause), ask))?
        }
        Args::Hold { tcp, connections, udp } => serde_json::to_string(&hold::hold(tcp, *connections, udp)?)?,
    };
    println!("{json}");
    Ok(())
}

/// Becomes true when standard input ends: how the parent says stop.
fn until_stdin_ends() -> std::sync::Arc<std::sync::atomic::AtomicBool> {
    let over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flag = over.clone();
    std::thread::spawn(move || {
        // Whatever comes is not for us; its end is.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        flag.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    over
}
