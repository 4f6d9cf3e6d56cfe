//! `shunt bpf ct list global`: a line for each flow row.

use super::problem;
use crate::cli::output::{Form, Output, put};
use crate::cli::{Done, Failure};
use serde::Serialize;
use shunt_common::{Addr, Flow, FlowKey, Proto, flow_flag};
use shunt_datapath::Clock;
use shunt_datapath::dump::Reader;
use std::net::{IpAddr, SocketAddr};

/// A flow row.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    pub(super) protocol: &'static str,
    /// `OUT` as the client sends, `IN` as the backend answers.
    pub(super) direction: &'static str,
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) new_source: SocketAddr,
    pub(super) new_destination: SocketAddr,
    /// Since this direction's last packet.
    pub(super) idle_seconds: u64,
    pub(super) seen: u8,
    pub(super) peer_seen: u8,
    pub(super) flags: u16,
    pub(super) flag_names: Vec<&'static str>,
    pub(super) service: u32,
    pub(super) backend: u32,
}

const FLAGS: [(u16, &str); 11] = [
    (flow_flag::REPLY, "Reply"),
    (flow_flag::CONFIRMED, "Confirmed"),
    (flow_flag::SNAT, "SNAT"),
    (flow_flag::FIB, "FIB"),
    (flow_flag::POD, "Pod"),
    (flow_flag::LOCAL_SOCKET, "LocalSocket"),
    (flow_flag::HAIRPIN, "Hairpin"),
    (flow_flag::MOVED, "Moved"),
    (flow_flag::DSR, "DSR"),
    (flow_flag::INFORM, "DSRInfo"),
    (flow_flag::DSR_END, "DSREnd"),
];

impl Row {
    fn new<A: Addr>(key: &FlowKey<A>, flow: &Flow<A>, ip: fn(A) -> IpAddr, clock: &Clock, now: u32) -> Self {
        let proto = u8::try_from(key.proto).ok().and_then(Proto::from_number);
        Self {
            protocol: proto.map_or("?", Proto::name),
            direction: if flow.flags & flow_flag::REPLY != 0 { "IN" } else { "OUT" },
            source: SocketAddr::new(ip(key.src), key.sport.host()),
            destination: SocketAddr::new(ip(key.dst), key.dport.host()),
            new_source: SocketAddr::new(ip(flow.src), flow.sport.host()),
            new_destination: SocketAddr::new(ip(flow.dst), flow.dport.host()),
            idle_seconds: clock.age(now, flow.stamp).as_secs(),
            seen: flow.seen,
            peer_seen: flow.peer_seen,
            flags: flow.flags,
            flag_names: FLAGS
                .iter()
                .filter(|(bit, _)| flow.flags & bit != 0)
                .map(|(_, name)| *name)
                .collect(),
            service: flow.service,
            backend: flow.backend,
        }
    }

    fn line(&self) -> String {
        format!(
            "{} {} {} -> {} idle={}s SeenFlags=0x{:02x} PeerSeenFlags=0x{:02x} Flags=0x{:04x} [ {}] RevNAT={} \
             BackendID={} NatPort={}",
            self.protocol,
            self.direction,
            self.source,
            self.destination,
            self.idle_seconds,
            self.seen,
            self.peer_seen,
            self.flags,
            self.flag_names.iter().map(|n| format!("{n} ")).collect::<String>(),
            self.service,
            self.backend,
            if self.new_source.port() == self.source.port() { 0 } else { self.new_source.port() },
        )
    }
}

/// Every flow row, IPv4 first.
pub(super) fn rows(reader: &Reader) -> Result<Vec<Row>, Failure> {
    let clock = reader.clock().map_err(problem)?;
    let now = clock.now().map_err(problem)?;
    let mut rows = Vec::new();
    for entry in reader.flows4().map_err(problem)? {
        let (key, flow) = entry.map_err(problem)?;
        rows.push(Row::new(&key, &flow, |a| IpAddr::V4(a.into()), &clock, now));
    }
    for entry in reader.flows6().map_err(problem)? {
        let (key, flow) = entry.map_err(problem)?;
        rows.push(Row::new(&key, &flow, |a| IpAddr::V6(a.into()), &clock, now));
    }
    Ok(rows)
}

pub(super) fn run(reader: &Reader, output: Output) -> Done {
    let rows = rows(reader)?;
    if output.output != Form::Table {
        return output.data(&rows);
    }
    put(&rows.iter().map(|r| r.line() + "\n").collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_one_line_with_the_words_that_scripts_look_for() {
        let socket = |text: &str| text.parse().unwrap();
        let row = Row {
            protocol: "TCP",
            direction: "OUT",
            source: socket("192.0.2.9:41000"),
            destination: socket("[2001:db8::1]:30080"),
            new_source: socket("192.0.2.1:40001"),
            new_destination: socket("10.244.1.2:8080"),
            idle_seconds: 3,
            seen: 3,
            peer_seen: 2,
            flags: 6,
            flag_names: vec!["Confirmed", "SNAT"],
            service: 7,
            backend: 12,
        };
        assert_eq!(
            row.line(),
            "TCP OUT 192.0.2.9:41000 -> [2001:db8::1]:30080 idle=3s SeenFlags=0x03 PeerSeenFlags=0x02 Flags=0x0006 \
             [ Confirmed SNAT ] RevNAT=7 BackendID=12 NatPort=40001"
        );
    }
}
