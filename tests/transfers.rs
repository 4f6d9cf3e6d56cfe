//! 100 MB and datagrams through a NodePort in every mode, both families, to a backend on the node that is asked and to one on
//! another, with the offloads that the devices have: whole, and sent by whom the mode says, as the wires show.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use shunt_e2e::wire::Wire;
use shunt_e2e::{eventually_answers, restart_with};
use shunt_lab::client::probe;
use shunt_lab::cluster::Lab;
use shunt_lab::demo::apply_examples;
use shunt_lab::net::plan;
use shunt_lab::pattern::{digest, pattern};
use shunt_lab::probe::{Answer, Datagram};
use shunt_lab::topology::{Style, Topology};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

const BYTES: usize = 100_000_000;
/// Payloads of the datagrams; the longest fills a packet but for what any dispatch adds.
const DATAGRAMS: [usize; 3] = [1, 512, 1300];
/// What is done by TCP: the 100 MB down, and up.
const CONNECTIONS: [&str; 2] = ["fetch", "send"];

/// A way to remote backends.
struct Mode {
    mode: &'static str,
    dispatch: &'static str,
    /// What the packets that it sends to a remote backend look like on the wire: a filter, after family, the asked node, the
    /// client and the backend.
    carried: fn(v6: bool, asked: IpAddr, client: IpAddr, pod: IpAddr) -> String,
    which: Which,
}

/// Which of the packets to a remote backend those are.
#[derive(Clone, Copy)]
enum Which {
    All,
    /// Those that tell the backend's node of the flow: what opens a connection, and datagrams.
    Telling,
    /// The same, each in a datagram.
    TellingInDatagrams,
}

const MODES: [Mode; 4] = [
    Mode { mode: "snat", dispatch: "opt", carried: from_the_node, which: Which::All },
    Mode { mode: "dsr", dispatch: "opt", carried: with_an_option, which: Which::Telling },
    Mode { mode: "dsr", dispatch: "ipip", carried: in_another, which: Which::All },
    Mode { mode: "dsr", dispatch: "geneve", carried: in_a_tunnel, which: Which::TellingInDatagrams },
];

fn from_the_node(_: bool, asked: IpAddr, _: IpAddr, pod: IpAddr) -> String {
    format!("src host {asked} and dst host {pod} and (tcp or udp)")
}

/// An IPv4 header with options, or an IPv6 header before a destination options header.
fn with_an_option(v6: bool, _: IpAddr, client: IpAddr, pod: IpAddr) -> String {
    let longer = if v6 { "ip6[6] == 60" } else { "ip[0] & 0xf == 7" };
    format!("src host {client} and dst host {pod} and {longer}")
}

fn in_another(v6: bool, asked: IpAddr, _: IpAddr, pod: IpAddr) -> String {
    let protocol = if v6 { "ip6 proto 41" } else { "ip proto 4" };
    format!("src host {asked} and dst host {pod} and {protocol}")
}

fn in_a_tunnel(_: bool, asked: IpAddr, _: IpAddr, pod: IpAddr) -> String {
    format!("src host {asked} and dst host {pod} and udp dst port 6081")
}

#[test]
fn long_transfers_and_datagrams_are_whole_in_every_mode_and_the_right_node_replies() {
    let mut lab =
        Lab::without_agents(Topology { nodes: 2, pods: 1, ..Topology::new("transfers", Style::Routed) })
            .unwrap();
    let whole = digest(BYTES);
    for (i, mode) in MODES.iter().enumerate() {
        let settings = [("mode", mode.mode), ("dsrDispatch", mode.dispatch)];
        let settings = settings.map(|(key, value)| format!("loadBalancer.{key}={value}"));
        restart_with(&mut lab, &settings.each_ref().map(String::as_str));
        if i == 0 {
            apply_examples(&lab).unwrap();
        }
        for v6 in [false, true] {
            for remote in [false, true] {
                let begun = Instant::now();
                transfers(&lab, mode, v6, remote, &whole);
                println!(
                    "{} {}, v6: {v6}, remote: {remote}: {:?}",
                    mode.mode,
                    mode.dispatch,
                    begun.elapsed()
                );
            }
        }
    }
}

/// Down, up, and datagrams, all to the first node; and who sent what.
fn transfers(lab: &Lab, mode: &Mode, v6: bool, remote: bool, whole: &str) {
    let (asked, client) = (lab.nodes[0].addresses.of(v6), plan::client().of(v6));
    let to = SocketAddr::new(asked, if remote { 30082 } else { 30081 });
    let what = format!("{} {}, {to}", mode.mode, mode.dispatch);
    let pod = lab.nodes[usize::from(remote)].pods[0].addresses.of(v6);
    eventually_answers(&lab.client, to);
    // Replies from the service's address, as they leave a node's device, and whether they come in at the one that was asked.
    let replies = format!("src host {asked} and src port {} and dst host {client}", to.port());
    let carried = (mode.carried)(v6, asked, client, pod);
    let [first, second] = [&lab.nodes[0].host, &lab.nodes[1].host];
    let wires = [
        Wire::watch(first, &["-e", "-q", "-s", "96", "-Q", "out"], &replies),
        Wire::watch(first, &["-e", "-q", "-s", "96", "-Q", "in"], &replies),
        Wire::watch(second, &["-e", "-q", "-s", "96", "-Q", "out"], &replies),
        Wire::watch(second, &["-e", "-q", "-s", "160", "-Q", "in"], &carried),
    ];
    let (addr, bytes) = (to.to_string(), BYTES.to_string());
    for verb in CONNECTIONS {
        let answer: Answer = probe(&lab.client, &[verb, &addr, "--bytes", &bytes]).unwrap();
        assert_eq!(answer, Answer::Ok(whole.to_owned()), "{what}: {verb}");
    }
    for len in DATAGRAMS {
        let text = pattern(len);
        let got: Datagram = probe(&lab.client, &["udp", &addr, &format!("echo {text}")]).unwrap();
        assert_eq!(got, Datagram { answer: Answer::Ok(text), from: Some(to) }, "{what}");
    }
    let [from_first, into_first, from_second, carried] = Wire::seen_by(wires).map(|text| Seen::new(&text));
    let nothing = Seen::default();
    assert_eq!(into_first, nothing, "{what}: replies from {to} do not pass the node that was asked");
    let dsr = remote && mode.mode == "dsr";
    let (replier, other) = if dsr { (&from_second, &from_first) } else { (&from_first, &from_second) };
    assert_eq!(*other, nothing, "{what}: one node sends the replies, and not the other");
    assert!(replier.tcp >= BYTES && replier.datagrams == DATAGRAMS.len(), "{what}: replies: {replier:?}");
    if !remote {
        assert_eq!(carried, nothing, "{what}: nothing goes to the other node");
        return;
    }
    let (tcp, datagrams) = match mode.which {
        Which::All => (carried.tcp >= BYTES, DATAGRAMS.len()),
        Which::Telling => (carried.tcp > 0, DATAGRAMS.len()),
        Which::TellingInDatagrams => (carried.tcp == 0, CONNECTIONS.len() + DATAGRAMS.len()),
    };
    assert!(tcp && carried.datagrams == datagrams, "{what}: {carried:?}");
}

/// What tcpdump printed (`-e -q`).
#[derive(Default, PartialEq, Eq, Debug)]
struct Seen {
    /// Bytes of TCP's frames, with their headers.
    tcp: usize,
    /// Frames of UDP.
    datagrams: usize,
}

impl Seen {
    fn new(text: &str) -> Self {
        let mut seen = Self::default();
        // It ends with an empty line when it is stopped.
        for line in text.lines().filter(|line| !line.is_empty()) {
            let length = line.split_once(" length ").and_then(|(_, rest)| rest.split([':', ',']).next());
            let length: usize =
                length.and_then(|n| n.trim().parse().ok()).unwrap_or_else(|| panic!("{line:?} in {text}"));
            if line.contains("UDP, length") {
                seen.datagrams += 1;
            } else if line.contains(" tcp ") {
                seen.tcp += length;
            } else {
                panic!("neither TCP nor UDP: {line}");
            }
        }
        seen
    }
}
