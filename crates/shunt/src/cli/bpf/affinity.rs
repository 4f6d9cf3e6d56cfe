//! `shunt bpf lb list --affinity`: which backend each client of a service with session affinity has.

use super::problem;
use crate::cli::output::Output;
use crate::cli::{Done, Failure};
use serde::Serialize;
use shunt_common::{AffinityKey, AffinityRow, Ip4, Ip6, client};
use shunt_datapath::dump::Reader;
use shunt_model::dump;
use shunt_model::store::BackendRow;
use std::net::{Ipv4Addr, Ipv6Addr};

const HEADINGS: [&str; 3] = ["CLIENT", "BACKEND ADDRESS (REVNAT_ID)", "IDLE"];

/// A client that is remembered. What has been idle for the service's timeout counts no more, and is there until its room is
/// needed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    service: u32,
    /// Its address, or its network namespace: a socket that connects has no address yet.
    client: String,
    backend: u32,
    /// `None` when no backend has the id any more.
    address: Option<String>,
    /// Since its last new connection.
    idle_seconds: u32,
}

impl Row {
    fn new(key: &AffinityKey, row: &AffinityRow, now: u32, backend: Option<BackendRow>) -> Self {
        let address = backend.map(|b| dump::address(b.addr(), b.port(), b.proto()));
        // Written since, by another CPU.
        let idle = now.wrapping_sub(row.stamp);
        let idle_seconds = if idle > u32::MAX / 2 { 0 } else { idle };
        Self { service: key.service, client: name(key), backend: row.backend, address, idle_seconds }
    }

    fn cells(self) -> Vec<String> {
        let address = self.address.unwrap_or_else(|| format!("backend {} not found", self.backend));
        vec![self.client, format!("{address} ({})", self.service), format!("{}s", self.idle_seconds)]
    }
}

fn name(key: &AffinityKey) -> String {
    let words = key.client;
    match key.kind {
        client::ADDR4 => Ipv4Addr::from(Ip4([words[0]])).to_string(),
        client::ADDR6 => Ipv6Addr::from(Ip6(words)).to_string(),
        _ => format!("netns:{}", u64::from(words[0]) | u64::from(words[1]) << 32),
    }
}

pub(super) fn run(reader: &Reader, output: Output) -> Done {
    let rows = rows(reader)?;
    output.print(&rows, || (HEADINGS.to_vec(), rows.iter().cloned().map(Row::cells).collect()))
}

/// By service, then by client.
fn rows(reader: &Reader) -> Result<Vec<Row>, Failure> {
    let now = reader.clock().map_err(problem)?.seconds().map_err(problem)?;
    let mut rows = Vec::new();
    for entry in reader.affinity().map_err(problem)? {
        let (key, row) = entry.map_err(problem)?;
        let backend = match key.kind {
            client::ADDR4 | client::NETNS4 => reader.backend4(row.backend).map(BackendRow::V4),
            _ => reader.backend6(row.backend).map(BackendRow::V6),
        };
        rows.push(Row::new(&key, &row, now, backend));
    }
    rows.sort();
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shunt_common::{BackendState, Proto};

    #[test]
    fn clients_are_addresses_or_namespaces_and_a_backend_that_is_gone_is_named() {
        let ip4 = Ip4::from("198.51.100.7".parse::<Ipv4Addr>().unwrap()).0[0];
        let ip6 = Ip6::from("2001:db8::7".parse::<Ipv6Addr>().unwrap()).0;
        let backend =
            BackendRow::new("10.244.1.2".parse().unwrap(), 8080, Proto::Tcp, BackendState::Active, 0);
        let cells = |client, kind, stamp, backend| {
            let key = AffinityKey { client, service: 7, kind };
            Row::new(&key, &AffinityRow { backend: 3, stamp }, 100, backend).cells()
        };
        assert_eq!(
            cells([ip4, 0, 0, 0], client::ADDR4, 88, Some(backend)),
            ["198.51.100.7", "10.244.1.2:8080/TCP (7)", "12s"]
        );
        assert_eq!(cells(ip6, client::ADDR6, 101, None), ["2001:db8::7", "backend 3 not found (7)", "0s"]);
        assert_eq!(cells([2, 1, 0, 0], client::NETNS6, 100, None)[0], "netns:4294967298");
    }
}
