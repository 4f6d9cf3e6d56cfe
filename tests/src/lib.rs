//! What the end-to-end tests share.

pub mod wire;

use serde_json::Value;
use shunt_lab::agent::Agent;
use shunt_lab::cluster::{Lab, background, http, udp};
use shunt_lab::patience;
use shunt_lab::pattern::pattern;
use shunt_lab::place::{Place, Process};
use shunt_lab::probe::Answer;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What a command prints with `-o json`.
pub fn json(agent: &Agent, command: &str) -> Value {
    let args: Vec<&str> = command.split(' ').chain(["-o", "json"]).collect();
    let done = agent.cli(&args).expect("shunt runs");
    serde_json::from_slice(&done.stdout)
        .unwrap_or_else(|e| panic!("{command}: {e}: {}", String::from_utf8_lossy(&done.stdout)))
}

/// Waits until a condition holds; panics with what it last said when it does not.
pub fn eventually<T>(what: &str, mut check: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + patience::seconds(10);
    loop {
        match check() {
            Ok(value) => return value,
            Err(why) if Instant::now() > end => panic!("{what}: {why}"),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Waits until a place gets an answer from an address.
pub fn eventually_answers(place: &Place, addr: SocketAddr) -> String {
    eventually(&format!("{} asks {addr}", place.name), || {
        match http(place, addr, "/").map_err(|e| e.to_string())? {
            Answer::Ok(body) => Ok(body),
            other => Err(format!("{other:?}")),
        }
    })
}

/// The same, by UDP or by HTTP.
pub fn eventually_answers_by(place: &Place, addr: SocketAddr, by_udp: bool) {
    if !by_udp {
        eventually_answers(place, addr);
        return;
    }
    eventually(&format!("{} asks {addr} by UDP", place.name), || {
        let answer = udp(place, addr, true).map_err(|e| e.to_string())?.answer;
        answer.body().map(drop).ok_or_else(|| format!("{answer:?}"))
    });
}

/// Waits until a place is refused by an address at once: nothing listens there, and somebody says so.
pub fn eventually_refused(place: &Place, addr: SocketAddr) {
    eventually(&format!("{} asks {addr}", place.name), || {
        match http(place, addr, "/").map_err(|e| e.to_string())? {
            Answer::Refused => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

/// Waits until a place is no longer answered by an address, with or without a refusal.
pub fn eventually_silent(place: &Place, addr: SocketAddr) {
    eventually(&format!("{} asks {addr}", place.name), || {
        match http(place, addr, "/").map_err(|e| e.to_string())? {
            Answer::Ok(body) => Err(format!("{body} still answers")),
            _ => Ok(()),
        }
    });
}

/// The problems that an agent knows of, as text, one a line.
pub fn problems(agent: &Agent) -> String {
    let status = json(agent, "status");
    let list = status["problems"].as_array().cloned().unwrap_or_default();
    list.iter().map(|p| format!("{p}\n")).collect()
}

/// A node's address and a port.
pub fn node_port(lab: &Lab, node: usize, port: u16) -> SocketAddr {
    SocketAddr::new(lab.nodes[node].addresses.v4.into(), port)
}

/// Asks a pod's server for a long answer, and holds every byte of it against what was sent.
pub fn long_answer_is_whole(place: &Place, addr: SocketAddr, bytes: usize, what: &str) {
    let answer = http(place, addr, &format!("/big?bytes={bytes}")).expect("the probe runs");
    let Some(body) = answer.body() else { panic!("{what}: {} to {addr}: {answer:?}", place.name) };
    let sent = pattern(bytes);
    let wrong = body.bytes().zip(sent.bytes()).position(|(got, sent)| got != sent);
    assert_eq!(
        (wrong, body.len()),
        (None, bytes),
        "{what}: first wrong byte and length, {} to {addr}",
        place.name
    );
}

/// Opens connections and some streams, and waits until they are up.
pub fn hold(place: &Place, connections: usize, tcp: &[SocketAddr], udp: &[SocketAddr]) -> Process {
    let mut args = vec!["hold".to_owned(), "--connections".into(), connections.to_string()];
    args.extend(tcp.iter().flat_map(|addr| ["--tcp".to_owned(), addr.to_string()]));
    args.extend(udp.iter().flat_map(|addr| ["--udp".to_owned(), addr.to_string()]));
    begun(place, &args, "holding")
}

/// Starts every agent again with `--set` of each of these.
pub fn restart_with(lab: &mut Lab, settings: &[&str]) {
    for node in &mut lab.nodes {
        if node.agent.id().is_some() {
            node.agent.term().expect("an agent ends");
        }
        node.agent.extra = settings.iter().flat_map(|s| ["--set".into(), (*s).to_owned()]).collect();
        node.agent.start().expect("an agent starts");
    }
    lab.nodes.iter().for_each(|n| n.agent.wait_ready(patience::seconds(30)).expect("an agent is ready"));
}

/// A client that keeps one UDP socket, has had its first answer, and goes on asking.
pub fn ask_on(place: &Place, addr: SocketAddr) -> Process {
    begun(place, &["query".to_owned(), addr.to_string()], "asking")
}

/// Starts a probe in the background, and waits until it says by a word that it has begun.
fn begun(place: &Place, args: &[String], word: &str) -> Process {
    let mut process = background(place, args).expect("the probe runs");
    let out = process.child().stdout.take().expect("its output is ours");
    // Byte by byte: what it says after that is for whoever waits for its end.
    let mut out = BufReader::with_capacity(1, out);
    let mut line = String::new();
    out.read_line(&mut line).expect("the probe says something");
    assert_eq!(line, format!("{word}\n"), "{}: {args:?}", place.name);
    process.child().stdout = Some(out.into_inner());
    process
}
