//! A client that only connects: a process of its own, since only a process can be in a node's cgroup.

use anyhow::{Context, Result, bail};
use shunt_lab::place::Place;
use socket2::SockRef;
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// The hidden verb that makes this program such a client.
pub const VERB: &str = "probe";

/// A process that has just started meets cold caches and neighbours that are not resolved: these are not counted.
const WARM_UP: usize = 10;

/// Microseconds of each of `count` connects from a place.
pub fn connects(place: &Place, to: SocketAddrV4, count: usize) -> Result<Vec<f64>> {
    let mut command = place.command(std::env::current_exe()?)?;
    command.args([VERB, &to.to_string(), &count.to_string()]).stdin(Stdio::null());
    let done = command.output()?;
    if !done.status.success() {
        bail!("connecting from {} to {to}: {}", place.name, String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(serde_json::from_slice(&done.stdout)?)
}

/// The process: connects, prints the microseconds as JSON.
pub fn main(args: &[String]) -> Result<()> {
    let [to, count] = args else { bail!("usage: {VERB} ADDRESS COUNT") };
    let (to, count): (SocketAddr, usize) = (to.parse()?, count.parse()?);
    let mut times = Vec::with_capacity(count);
    for i in 0..WARM_UP + count {
        let took = connect(to).with_context(|| format!("connect {i}"))?;
        if i >= WARM_UP {
            times.push((took.as_nanos() as f64 / 100.0).round() / 10.0);
        }
    }
    println!("{}", serde_json::to_string(&times)?);
    Ok(())
}

/// The time of one connect. It ends in a reset, so that neither side keeps anything that later connects would meet.
fn connect(to: SocketAddr) -> Result<Duration> {
    let begun = Instant::now();
    let stream = TcpStream::connect(to)?;
    let took = begun.elapsed();
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    Ok(took)
}
