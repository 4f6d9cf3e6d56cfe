//! `shunt bpf lb list`.

use super::problem;
use crate::cli::output::Output;
use crate::cli::{Done, Failure};
use serde::Serialize;
use shunt_common::{Frontend, Scope};
use shunt_datapath::dump::Reader;
use shunt_model::dump;
use shunt_model::store::{Actual, BackendRow, FrontendRef};

/// A frontend as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FrontendJson {
    address: String,
    service: u32,
    flags: String,
    /// Backend ids for traffic from outside.
    external: Vec<u32>,
    /// Backend ids for pods and the node.
    internal: Vec<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BackendJson {
    id: u32,
    address: String,
    state: &'static str,
    local: bool,
}

pub(super) fn run(reader: &Reader, frontends: bool, backends: bool, output: Output) -> Done {
    let actual = read(reader)?;
    let table = |headings: [&'static str; 2], rows: Vec<[String; 2]>| {
        (headings.to_vec(), rows.into_iter().map(Vec::from).collect())
    };
    match (frontends, backends) {
        (_, true) => output.print(&backends_json(&actual), || table(dump::BACKENDS, dump::backends(&actual))),
        (true, _) => {
            output.print(&frontends_json(&actual), || table(dump::FRONTENDS, dump::frontends(&actual)))
        }
        _ => {
            let all = serde_json::json!({
                "frontends": frontends_json(&actual), "backends": backends_json(&actual),
            });
            output.print(&all, || table(dump::SERVICES, dump::services(&actual)))
        }
    }
}

fn read(reader: &Reader) -> Result<Actual, Failure> {
    let mut actual = Actual {
        backends4: reader.backends4().collect(),
        backends6: reader.backends6().collect(),
        ..Actual::default()
    };
    let mut add = |key: FrontendRef, row: Frontend| {
        for pool in [row.pool(Scope::External), row.pool(Scope::Internal)] {
            actual.slots.extend((pool.offset..).zip(reader.slots(pool)));
        }
        actual.frontends.insert(key, row);
    };
    for entry in reader.frontends4().map_err(problem)? {
        let (key, row) = entry.map_err(problem)?;
        add(FrontendRef::V4(key), row);
    }
    for entry in reader.frontends6().map_err(problem)? {
        let (key, row) = entry.map_err(problem)?;
        add(FrontendRef::V6(key), row);
    }
    Ok(actual)
}

fn frontends_json(actual: &Actual) -> Vec<FrontendJson> {
    let ids = |row: &Frontend, scope| {
        let pool = row.pool(scope);
        let slots = pool.offset..pool.offset.saturating_add(pool.len);
        slots.filter_map(|slot| actual.slots.get(&slot).copied()).collect()
    };
    let one = |(key, row): (&FrontendRef, &Frontend)| FrontendJson {
        address: dump::address(key.addr(), key.port(), key.proto()),
        service: row.service,
        flags: dump::flags(row),
        external: ids(row, Scope::External),
        internal: ids(row, Scope::Internal),
    };
    actual.frontends.iter().map(one).collect()
}

fn backends_json(actual: &Actual) -> Vec<BackendJson> {
    let v4 = actual.backends4.iter().map(|(id, b)| (*id, BackendRow::V4(*b)));
    let v6 = actual.backends6.iter().map(|(id, b)| (*id, BackendRow::V6(*b)));
    let one = |(id, row): (u32, BackendRow)| BackendJson {
        id,
        address: dump::address(row.addr(), row.port(), row.proto()),
        state: row.state().map_or("unknown", |s| s.name()),
        local: row.is_local(),
    };
    v4.chain(v6).map(one).collect()
}
