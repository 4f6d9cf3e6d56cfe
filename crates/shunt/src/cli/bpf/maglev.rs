//! `shunt bpf lb maglev list` and `get`.

use super::problem;
use crate::cli::output::Output;
use crate::cli::{Done, Failure};
use serde::Serialize;
use shunt_common::Frontend;
use shunt_datapath::dump::Reader;
use std::collections::BTreeMap;

/// The tables of a service port, each value the id of a backend.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Tables {
    service: u32,
    ipv4: Vec<Vec<u32>>,
    ipv6: Vec<Vec<u32>>,
}

/// All tables, or those of one service id.
pub(super) fn run(reader: &Reader, service: Option<u32>, output: Output) -> Done {
    let mut found: BTreeMap<u32, Tables> = BTreeMap::new();
    let wanted = |row: &Frontend| service.is_none_or(|id| id == row.service);
    for entry in reader.frontends4().map_err(problem)? {
        let (_, row) = entry.map_err(problem)?;
        if wanted(&row) {
            add(reader, &row, &mut found, |tables| &mut tables.ipv4)?;
        }
    }
    for entry in reader.frontends6().map_err(problem)? {
        let (_, row) = entry.map_err(problem)?;
        if wanted(&row) {
            add(reader, &row, &mut found, |tables| &mut tables.ipv6)?;
        }
    }
    if let Some(id) = service.filter(|_| found.is_empty()) {
        return Err(Failure::Problem(format!(
            "service {id} has no Maglev table; see `shunt bpf lb maglev list`"
        )));
    }
    let found: Vec<Tables> = found.into_values().collect();
    output.print(&found, || (vec!["SVC ID", "LOOKUP TABLE"], found.iter().map(line).collect()))
}

fn add(
    reader: &Reader,
    row: &Frontend,
    found: &mut BTreeMap<u32, Tables>,
    of_family: impl Fn(&mut Tables) -> &mut Vec<Vec<u32>>,
) -> Result<(), Failure> {
    for pool in row.pools {
        let table = reader.lookup_table(row, pool).map_err(problem)?;
        if table.is_empty() {
            continue;
        }
        let tables = found.entry(row.service).or_default();
        tables.service = row.service;
        let tables = of_family(tables);
        if !tables.contains(&table) {
            tables.push(table);
        }
    }
    Ok(())
}

/// As Cilium has it: IPv4, a colon, IPv6. A service whose scopes differ has two of a family, with a blank between.
fn line(tables: &Tables) -> Vec<String> {
    let family = |tables: &[Vec<u32>]| match tables {
        [] => "[]".to_owned(),
        _ => tables.iter().map(|t| format!("{t:?}")).collect::<Vec<_>>().join(" "),
    };
    let both = format!("{}:{}", family(&tables.ipv4), family(&tables.ipv6));
    vec![tables.service.to_string(), both]
}
