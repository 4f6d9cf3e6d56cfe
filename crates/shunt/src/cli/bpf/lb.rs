//! `shunt bpf lb list`.

use super::{What, problem};
use crate::cli::output::Output;
use crate::cli::{Done, Failure};
use ipnet::IpNet;
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
    /// Its kind and what holds of it, in the words of the table.
    flags: Vec<&'static str>,
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

#[derive(Serialize)]
struct RangeJson {
    service: u32,
    range: IpNet,
}

pub(super) fn run(reader: &Reader, what: What, output: Output) -> Done {
    let actual = read(reader)?;
    let table = |headings: [&'static str; 2], rows: Vec<[String; 2]>| {
        (headings.to_vec(), rows.into_iter().map(Vec::from).collect())
    };
    if what.source_ranges {
        let rows = || dump::source_ranges(&actual).into_iter().map(|row| vec![row]).collect();
        return output.print(&ranges_json(&actual), || (vec![dump::SOURCE_RANGES], rows()));
    }
    if what.backends {
        return output.print(&backends_json(&actual), || table(dump::BACKENDS, dump::backends(&actual)));
    }
    if what.frontends {
        return output.print(&frontends_json(&actual), || table(dump::FRONTENDS, dump::frontends(&actual)));
    }
    let all = serde_json::json!({
        "frontends": frontends_json(&actual), "backends": backends_json(&actual),
    });
    output.print(&all, || table(dump::SERVICES, dump::services(&actual)))
}

fn read(reader: &Reader) -> Result<Actual, Failure> {
    let mut actual = Actual {
        backends4: reader.backends4().collect(),
        backends6: reader.backends6().collect(),
        ranges: reader.source_ranges().map_err(problem)?.into_iter().collect(),
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
        flags: dump::flag_words(row),
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

fn ranges_json(actual: &Actual) -> Vec<RangeJson> {
    actual.ranges.iter().map(|r| RangeJson { service: r.service, range: r.net }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shunt_common::{Proto, frontend_flag};
    use shunt_model::store::RangeRef;

    #[test]
    fn flags_are_a_list_and_source_ranges_name_their_service() {
        let key = FrontendRef::new("203.0.113.1".parse().unwrap(), 80, Proto::Tcp);
        let flags = frontend_flag::EXTERNAL | frontend_flag::SOURCE_RANGES;
        let row = Frontend { service: 7, kind: 4, flags, ..Frontend::default() };
        let mut actual = Actual::default();
        actual.frontends.insert(key, row);
        actual.ranges.insert(RangeRef { service: 7, net: "10.0.0.0/8".parse().unwrap() });
        let frontends = serde_json::to_value(frontends_json(&actual)).unwrap();
        assert_eq!(frontends[0]["flags"], serde_json::json!(["LoadBalancer", "check source-range"]));
        let ranges = serde_json::to_value(ranges_json(&actual)).unwrap();
        assert_eq!(ranges, serde_json::json!([{"service": 7, "range": "10.0.0.0/8"}]));
        assert_eq!(dump::source_ranges(&actual), ["10.0.0.0/8 (7)"]);
    }
}
