//! Long-lived connections and a steady stream of datagrams: what must survive a restart.

use super::{Held, once, until_stdin_ends};
use anyhow::Result;
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(50);
/// A line that is not answered within this time breaks its connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// Opens everything, prints `holding`, exchanges until standard input ends, and tells what broke.
pub fn hold(tcp: &[SocketAddr], connections: usize, udp: &[SocketAddr]) -> Result<Held> {
    let over = until_stdin_ends();
    let mut streams = Vec::new();
    for addr in tcp.iter().cycle().take(if tcp.is_empty() { 0 } else { connections }) {
        let stream = TcpStream::connect_timeout(addr, once::PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        streams.push((*addr, stream));
    }
    let mut held = Held { opened: streams.len(), ..Held::default() };
    let streamers: Vec<_> = udp.iter().map(|addr| spawn_stream(*addr, over.clone())).collect();
    // A few threads share the connections; one thread each would be many, one for all too slow.
    let share = streams.len().div_ceil(8).max(1);
    let mut workers = Vec::new();
    while !streams.is_empty() {
        let mine = streams.split_off(streams.len().saturating_sub(share));
        let over = over.clone();
        workers.push(thread::spawn(move || converse(mine, &over)));
    }
    println!("holding");
    for worker in workers {
        let said = worker.join().map_err(|_| anyhow::anyhow!("a worker panicked"))?;
        held.exchanges += said.exchanges;
        held.broken.extend(said.broken);
        held.waited(said.longest);
    }
    for streamer in streamers {
        let (sent, heard) = streamer.join().map_err(|_| anyhow::anyhow!("a stream panicked"))??;
        held.sent += sent;
        held.lost += sent - heard.different.min(sent);
        held.waited(heard.longest);
    }
    Ok(held)
}

/// What came of some connections.
#[derive(Default)]
struct Said {
    exchanges: u64,
    broken: Vec<String>,
    longest: Duration,
}

/// Exchanges lines over each connection in turn, round after round, and one last round after the end.
fn converse(mut streams: Vec<(SocketAddr, TcpStream)>, over: &AtomicBool) -> Said {
    let mut said = Said::default();
    loop {
        let last = over.load(Ordering::Relaxed);
        streams.retain_mut(|(addr, stream)| {
            let begun = Instant::now();
            match exchange(stream, said.exchanges) {
                Ok(()) => {
                    said.exchanges += 1;
                    said.longest = said.longest.max(begun.elapsed());
                    true
                }
                Err(error) => {
                    said.broken.push(format!("{addr}: {error}"));
                    false
                }
            }
        });
        if last {
            return said;
        }
        thread::sleep(PAUSE);
    }
}

/// Says a line and hears it back.
fn exchange(stream: &mut TcpStream, number: u64) -> std::io::Result<()> {
    let line = format!("line {number}\n");
    let mut answer = vec![0; line.len()];
    stream.write_all(line.as_bytes())?;
    stream.read_exact(&mut answer)?;
    if answer == line.as_bytes() { Ok(()) } else { Err(std::io::Error::other("another connection's answer")) }
}

/// What was heard of a stream.
#[derive(Default)]
struct Heard {
    different: u64,
    longest: Duration,
}

/// Sends a numbered datagram every few milliseconds from one unconnected socket, and counts the answers.
fn spawn_stream(
    addr: SocketAddr,
    over: Arc<AtomicBool>,
) -> thread::JoinHandle<std::io::Result<(u64, Heard)>> {
    thread::spawn(move || {
        let begun = Instant::now();
        let socket = once::socket_for(addr)?;
        let receiver = socket.try_clone()?;
        receiver.set_read_timeout(Some(Duration::from_millis(200)))?;
        let heard = thread::spawn({
            let over = over.clone();
            move || listen(&receiver, begun, &over)
        });
        let mut sent = 0u64;
        while !over.load(Ordering::Relaxed) {
            // When it was sent comes back with it.
            socket.send_to(format!("echo {sent} {}", begun.elapsed().as_micros()).as_bytes(), addr)?;
            sent += 1;
            thread::sleep(Duration::from_millis(5));
        }
        let heard = heard.join().map_err(|_| std::io::Error::other("the listener panicked"))?;
        Ok((sent, heard))
    })
}

/// Counts different answers until the end, and for a while after.
fn listen(socket: &std::net::UdpSocket, begun: Instant, over: &AtomicBool) -> Heard {
    let (mut numbers, mut longest) = (HashSet::new(), Duration::ZERO);
    let mut end: Option<Instant> = None;
    let mut buffer = [0; 128];
    loop {
        if let Ok(len) = socket.recv(&mut buffer)
            && let Some((number, sent)) = numbered(&buffer[..len])
            && numbers.insert(number)
        {
            longest = longest.max(begun.elapsed().saturating_sub(sent));
        }
        if over.load(Ordering::Relaxed) {
            let end = *end.get_or_insert_with(|| Instant::now() + Duration::from_secs(1));
            if Instant::now() > end {
                return Heard { different: numbers.len() as u64, longest };
            }
        }
    }
}

/// A datagram's number and when it was sent.
fn numbered(answer: &[u8]) -> Option<(u64, Duration)> {
    let (number, micros) = std::str::from_utf8(answer).ok()?.split_once(' ')?;
    Some((number.parse().ok()?, Duration::from_micros(micros.parse().ok()?)))
}
