//! Many short exchanges, one after the other.

use super::{Answer, Tries, once, until_stdin_ends};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Asks each address in turn, `count` times in all or until standard input ends, with a pause after each. `ask` is given
/// the number of the try.
pub fn repeat(
    addrs: &[SocketAddr],
    count: u32,
    pause: Duration,
    ask: impl Fn(SocketAddr, u32) -> Answer,
) -> Tries {
    let mut tries = Tries::default();
    let over = (count == 0).then(until_stdin_ends);
    for addr in addrs.iter().cycle() {
        let ended = over.as_ref().map_or(tries.tries >= count, |over| over.load(Ordering::Relaxed));
        if ended {
            break;
        }
        match ask(*addr, tries.tries) {
            Answer::Ok(body) => *tries.bodies.entry(body).or_default() += 1,
            failure => tries.failures.push(format!("try {} to {addr}: {failure:?}", tries.tries)),
        }
        tries.tries += 1;
        std::thread::sleep(pause);
    }
    tries
}

/// An HTTP GET on a connection of its own.
pub fn get(addr: SocketAddr, _: u32) -> Answer {
    once::http(addr, "/")
}

/// A UDP exchange from a socket of its own; the answer must come from where the question went.
pub fn datagram(addr: SocketAddr, number: u32) -> Answer {
    let done = once::udp(addr, &["who".to_owned()], number.is_multiple_of(2));
    match done.from {
        Some(from) if (from.ip(), from.port()) != (addr.ip(), addr.port()) => {
            Answer::Other(format!("the answer came from {from}"))
        }
        _ => done.answer,
    }
}
