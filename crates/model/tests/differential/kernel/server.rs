//! Listeners that tell each client whom it has reached, and as whom it was seen.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Ends with this value.
pub struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens in the network namespace of the caller.
    pub fn new(at: &BTreeSet<SocketAddr>) -> Self {
        let listen = |addr: &SocketAddr| {
            let listener = TcpListener::bind(addr).unwrap_or_else(|e| panic!("{addr}: {e}"));
            listener.set_nonblocking(true).unwrap();
            listener
        };
        let listeners: Vec<_> = at.iter().map(listen).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let serve = move || {
            while !stopped.load(Ordering::Relaxed) {
                listeners.iter().filter_map(|l| l.accept().ok()).for_each(|(conn, _)| tell(conn));
                std::thread::sleep(Duration::from_micros(200));
            }
        };
        Self { stop, thread: Some(std::thread::spawn(serve)) }
    }
}

fn tell(mut conn: TcpStream) {
    if let (Ok(own), Ok(peer)) = (conn.local_addr(), conn.peer_addr()) {
        // Who does not wait for it does not need it.
        let _ = writeln!(conn, "{own} {}", peer.ip());
    }
}

/// What [`tell`] has written.
pub fn told(line: &str) -> Option<(SocketAddr, IpAddr)> {
    let (own, peer) = line.trim().split_once(' ')?;
    Some((own.parse().ok()?, peer.parse().ok()?))
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
