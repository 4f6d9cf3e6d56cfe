//! A row of the table, for one client, family and protocol.

use crate::setup::World;
use shunt_common::Proto;
use shunt_lab::net::plan;
use shunt_lab::place::Place;
use shunt_model::fate::Client;
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Somebody who asks.
#[derive(Clone, Debug)]
pub struct Asker {
    /// Where the asking process runs.
    pub place: Place,
    /// Who that is to the rows.
    pub client: Client,
    /// The node whose programs see it first, counted from 0; `None` outside.
    pub node: Option<usize>,
    /// By its sockets, which are told why they fail; by packets there is silence.
    pub sockets: bool,
}

/// One question and what is expected to come of it.
#[derive(Clone, Debug)]
pub struct Flow {
    /// The row as it is written.
    pub row: String,
    /// Who asks; `None` in examples.
    pub from: Option<Asker>,
    /// What for.
    pub to: SocketAddr,
    pub proto: Proto,
    /// The fate, in words, backends by name and in order.
    pub fate: String,
    /// What the client sees, where the fate does not say it.
    pub then: Option<String>,
}

impl Flow {
    /// One that nobody asks.
    pub fn example(row: &str) -> Self {
        let fate = row.split_once(" = ").unwrap().1.into();
        let to = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 80);
        Self { row: row.into(), from: None, to, proto: Proto::Tcp, fate, then: None }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = self.from.as_ref().map_or("nobody", |from| &from.place.name);
        write!(f, "{}: from {from} to {}/{}", self.row, self.to, self.proto.name())
    }
}

/// Every row for each of its clients, families and protocols.
pub fn read(table: &str, world: &World) -> Vec<Flow> {
    let rows = table.lines().map(str::trim).filter(|row| !row.is_empty() && !row.starts_with('#'));
    rows.flat_map(|row| [false, true].into_iter().flat_map(|v6| of_row(row, v6, world))).collect()
}

fn of_row(row: &str, v6: bool, world: &World) -> Vec<Flow> {
    let (ask, expect) = row.split_once(" = ").unwrap_or_else(|| panic!("no fate in {row:?}"));
    let mut words: Vec<&str> = ask.split_whitespace().collect();
    let protos = match words.last() {
        Some(&"tcp") => &[Proto::Tcp][..],
        Some(&"udp") => &[Proto::Udp],
        _ => &[Proto::Tcp, Proto::Udp],
    };
    if protos.len() == 1 {
        words.pop();
    }
    let to = words.pop().unwrap();
    let (fate, then) = match expect.split_once(" -> ") {
        Some((fate, then)) => (fate, Some(then.trim().to_owned())),
        None => (expect, None),
    };
    assert!(fate.trim() != "pass" || then.is_some(), "{row:?}: what becomes of it after it passed?");
    let fate = fate.trim().replace("all", "pod1-1 pod1-2 pod2-1 pod2-2");
    let row: String = row.split_whitespace().collect::<Vec<_>>().join(" ");
    let askers: Vec<Asker> = words.iter().flat_map(|word| askers(word, v6, world)).collect();
    let flow = |proto: &Proto| {
        let to = destination(to, v6, *proto, world);
        let (row, fate, then) = (row.clone(), fate.clone(), then.clone());
        Flow { row, from: None, to, proto: *proto, fate, then }
    };
    protos
        .iter()
        .map(flow)
        .flat_map(|flow| askers.iter().map(move |from| Flow { from: Some(from.clone()), ..flow.clone() }))
        .collect()
}

fn askers(word: &str, v6: bool, world: &World) -> Vec<Asker> {
    if let Some(node) = word.strip_prefix("in") {
        let all = [format!("pod{node}-2"), format!("packets{node}-2"), format!("node{node}")];
        return all.iter().flat_map(|word| askers(word, v6, world)).collect();
    }
    if word == "out" {
        let client = Client::Outside(plan::client().of(v6));
        return vec![Asker { place: world.lab.client.clone(), client, node: None, sockets: false }];
    }
    let numbers: Vec<usize> =
        word.trim_start_matches(char::is_alphabetic).split('-').map(|n| n.parse().unwrap()).collect();
    let node = &world.lab.nodes[numbers[0] - 1];
    let at = Some(numbers[0] - 1);
    let Some(pod) = numbers.get(1).map(|n| &node.pods[n - 1]) else {
        return vec![Asker { place: node.host.clone(), client: Client::Node, node: at, sockets: true }];
    };
    let client = Client::Pod(pod.addresses.of(v6));
    let sockets = word.starts_with("pod");
    let place = if sockets { pod.place.clone() } else { pod.place.outside_cgroup() };
    vec![Asker { place, client, node: at, sockets }]
}

fn destination(word: &str, v6: bool, proto: Proto, world: &World) -> SocketAddr {
    let (word, port) = match word.split_once(':') {
        Some((word, port)) => (word, Some(port.parse().unwrap())),
        None => (word, None),
    };
    if let Some((kind, service)) = word.split_once('/') {
        let service = world.service(service);
        let virtual_port = port.unwrap_or(80);
        return match kind {
            "ip" => SocketAddr::new(service.cluster_ip(v6), virtual_port),
            "lb" => SocketAddr::new(service.load_balancer(v6), virtual_port),
            "ext" => SocketAddr::new(service.external_ip(v6), virtual_port),
            "lo" => SocketAddr::new(loopback(v6), service.node_port(proto)),
            _ => SocketAddr::new(node(kind, v6, world), service.node_port(proto)),
        };
    }
    match word {
        "lo" => SocketAddr::new(loopback(v6), port.unwrap()),
        _ if word.starts_with("node") => SocketAddr::new(node(word, v6, world), port.unwrap()),
        pod => world.server(pod, v6, proto),
    }
}

fn loopback(v6: bool) -> IpAddr {
    if v6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() }
}

/// The address of the node whose number the word ends with.
fn node(word: &str, v6: bool, world: &World) -> IpAddr {
    let number: usize = word.trim_start_matches(char::is_alphabetic).parse().unwrap();
    world.lab.nodes[number - 1].addresses.of(v6)
}

/// The names in a fate, if those are what it is.
pub fn names(words: &str) -> BTreeSet<String> {
    words.split(' ').map(ToString::to_string).collect()
}
