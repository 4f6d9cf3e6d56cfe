//! Map contents as text: the one renderer for scenario files and `bpf lb list`.
//!
//! The columns are those of Cilium's listings; our service id stands where theirs has the REVNAT_ID.

use crate::store::{Actual, BackendRow, Family, FrontendRef};
use shunt_common::{Frontend, FrontendKind, Proto, Scope, frontend_flag};
use std::fmt::Write;
use std::net::IpAddr;

/// `10.0.0.1:80/TCP`, `[fd00::1]:53/UDP`.
#[must_use]
pub fn address(addr: IpAddr, port: u16, proto: u8) -> String {
    let proto = match (proto, Proto::from_number(proto)) {
        (_, Some(proto)) => proto.name(),
        (0, None) => "ANY",
        _ => "?",
    };
    match addr {
        IpAddr::V4(a) => format!("{a}:{port}/{proto}"),
        IpAddr::V6(a) => format!("[{a}]:{port}/{proto}"),
    }
}

/// Headings of [`services`].
pub const SERVICES: [&str; 2] = ["SERVICE ADDRESS", "BACKEND ADDRESS (REVNAT_ID) (SLOT)"];
/// Headings of [`frontends`].
pub const FRONTENDS: [&str; 2] = ["SERVICE ADDRESS", "BACKEND ID (REVNAT_ID) (SLOT)"];
/// Headings of [`backends`].
pub const BACKENDS: [&str; 2] = ["ID", "BACKEND ADDRESS"];

/// `bpf lb list`: every frontend, and after it the backends of its pools. Where the two scopes differ, the rows of the
/// internal one have `/i`.
#[must_use]
pub fn services(actual: &Actual) -> Vec<[String; 2]> {
    rows(actual, |family, id| match backend(actual, family, id) {
        Some(row) => address(row.addr(), row.port(), row.proto()),
        None => format!("backend {id} not found"),
    })
}

/// `bpf lb list --frontends`: the same with backend ids.
#[must_use]
pub fn frontends(actual: &Actual) -> Vec<[String; 2]> {
    rows(actual, |_, id| id.to_string())
}

/// `bpf lb list --backends`: ids with addresses, IPv4 first.
#[must_use]
pub fn backends(actual: &Actual) -> Vec<[String; 2]> {
    let v4 = actual.backends4.iter().map(|(id, b)| (id, BackendRow::V4(*b)));
    let v6 = actual.backends6.iter().map(|(id, b)| (id, BackendRow::V6(*b)));
    v4.chain(v6)
        .map(|(id, row)| {
            let mut text = address(row.addr(), row.port(), row.proto());
            if let Some(state) = row.state() {
                _ = write!(text, " ({})", state.name());
            }
            if row.is_local() {
                text.push_str(" (local)");
            }
            [id.to_string(), text]
        })
        .collect()
}

/// Heading of [`source_ranges`].
pub const SOURCE_RANGES: &str = "SOURCE RANGE (REVNAT_ID)";

/// `bpf lb list --source-ranges`: the ranges of clients that the flags of a service's frontends speak of.
#[must_use]
pub fn source_ranges(actual: &Actual) -> Vec<String> {
    actual.ranges.iter().map(|r| format!("{} ({})", r.net, r.service)).collect()
}

/// The words for a frontend's row in brackets, such as `[ClusterIP, non-routable]`.
#[must_use]
pub fn flags(row: &Frontend) -> String {
    format!("[{}]", flag_words(row).join(", "))
}

/// The words for a frontend's row: its kind, then what holds of it.
#[must_use]
pub fn flag_words(row: &Frontend) -> Vec<&'static str> {
    let mut words = vec![FrontendKind::from_number(row.kind).map_or("unknown", FrontendKind::name)];
    if row.pools[0] != row.pools[1] {
        words.push("two-scopes");
    }
    if row.flags & frontend_flag::SOURCE_RANGES != 0 {
        words.push(match row.flags & frontend_flag::SOURCE_DENY {
            0 => "check source-range",
            _ => "deny source-range",
        });
    }
    if row.affinity_timeout != 0 {
        words.push("sessionAffinity");
    }
    if row.flags & frontend_flag::HOST_ONLY != 0 {
        words.push("loopback");
    } else if row.flags & (frontend_flag::EXTERNAL | frontend_flag::MARKER) == 0 {
        words.push("non-routable");
    }
    if row.flags & frontend_flag::WILDCARD != 0 {
        words.push("wildcard");
    }
    if row.flags & frontend_flag::MARKER != 0 {
        words.push("bind-protection");
    }
    if row.flags & frontend_flag::DROP_EXTERNAL != 0 {
        words.push("drop-external");
    }
    if row.flags & frontend_flag::DROP_INTERNAL != 0 {
        words.push("drop-internal");
    }
    if row.mode != 0 {
        words.push("dsr");
    }
    words
}

/// Lays rows out in columns: each as wide as its widest cell and three blanks, the last one open.
#[must_use]
pub fn table(headings: &[&str; 2], rows: &[[String; 2]]) -> String {
    let width = rows.iter().map(|r| r[0].len()).chain([headings[0].len()]).max().unwrap_or(0);
    let mut text = format!("{:width$}   {}\n", headings[0], headings[1]);
    for [first, second] in rows {
        _ = writeln!(text, "{first:width$}   {second}");
    }
    text
}

fn backend(actual: &Actual, family: Family, id: u32) -> Option<BackendRow> {
    match family {
        Family::V4 => actual.backends4.get(&id).copied().map(BackendRow::V4),
        Family::V6 => actual.backends6.get(&id).copied().map(BackendRow::V6),
    }
}

fn rows(actual: &Actual, show: impl Fn(Family, u32) -> String) -> Vec<[String; 2]> {
    let mut rows = Vec::new();
    // By address as people count, not as bytes lie in memory.
    let mut sorted: Vec<(&FrontendRef, &Frontend)> = actual.frontends.iter().collect();
    sorted.sort_by_key(|(key, _)| (key.addr(), key.port(), key.proto()));
    for (key, row) in sorted {
        let name = address(key.addr(), key.port(), key.proto());
        let id = row.service;
        let none = address(key.family().unspecified(), 0, key.proto());
        let none = none.rsplit_once('/').map_or(none.as_str(), |(zero, _)| zero);
        rows.push([format!("{name} (0)"), format!("{none} ({id}) (0) {}", flags(row))]);
        let external = row.pool(Scope::External);
        let internal = row.pool(Scope::Internal);
        let scopes = [("", external), ("/i", internal)];
        for (suffix, pool) in scopes.into_iter().take(if external == internal { 1 } else { 2 }) {
            for (slot, n) in (pool.offset..pool.offset + pool.len).zip(1..) {
                let backend = actual.slots.get(&slot).copied().unwrap_or(0);
                let backend = show(key.family(), backend);
                rows.push([format!("{name}{suffix} ({n})"), format!("{backend} ({id}) ({n})")]);
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::{frontends, services};
    use crate::store::{Actual, BackendRow, FrontendRef};
    use shunt_common::{BackendState, Frontend, Pool, Proto, frontend_flag};

    #[test]
    fn scopes_that_differ_are_listed_apart_and_a_missing_backend_is_named() {
        let key = FrontendRef::new("192.168.1.10".parse().unwrap(), 31000, Proto::Tcp);
        let pools = [Pool { offset: 4, len: 1 }, Pool { offset: 8, len: 2 }];
        let flags = frontend_flag::EXTERNAL;
        let row = Frontend { service: 7, kind: 2, flags, pools, affinity_timeout: 10, ..Frontend::default() };
        let mut actual = Actual::default();
        actual.frontends.insert(key, row);
        actual.slots.extend([(4, 1), (8, 1), (9, 2)]);
        let backend =
            BackendRow::new("10.244.0.9".parse().unwrap(), 8080, Proto::Tcp, BackendState::Active, 0);
        let BackendRow::V4(backend) = backend else { unreachable!() };
        actual.backends4.insert(1, backend);
        let rows: Vec<String> = services(&actual).into_iter().map(|r| r.join(" | ")).collect();
        assert_eq!(
            rows,
            [
                "192.168.1.10:31000/TCP (0) | 0.0.0.0:0 (7) (0) [NodePort, two-scopes, sessionAffinity]",
                "192.168.1.10:31000/TCP (1) | 10.244.0.9:8080/TCP (7) (1)",
                "192.168.1.10:31000/TCP/i (1) | 10.244.0.9:8080/TCP (7) (1)",
                "192.168.1.10:31000/TCP/i (2) | backend 2 not found (7) (2)",
            ]
        );
        assert_eq!(frontends(&actual)[3], ["192.168.1.10:31000/TCP/i (2)", "2 (7) (2)"]);
    }
}
