//! Many short connections, one after the other.

use super::{Answer, Tries, once, until_stdin_ends};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

/// Asks each address in turn, `count` times in all or until standard input ends.
pub fn repeat(addrs: &[SocketAddr], count: u32) -> Tries {
    let mut tries = Tries::default();
    let over = (count == 0).then(until_stdin_ends);
    for addr in addrs.iter().cycle() {
        let ended = over.as_ref().map_or(tries.tries >= count, |over| over.load(Ordering::Relaxed));
        if ended {
            break;
        }
        match once::http(*addr, "/") {
            Answer::Ok(body) => *tries.bodies.entry(body).or_default() += 1,
            failure => tries.failures.push(format!("try {} to {addr}: {failure:?}", tries.tries)),
        }
        tries.tries += 1;
    }
    tries
}
