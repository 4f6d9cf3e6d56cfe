//! `shunt bpf metrics list`.

use super::problem;
use crate::cli::output::Output;
use crate::cli::{Done, direction};
use serde::Serialize;
use shunt_datapath::dump::Reader;

#[derive(Serialize)]
struct Row {
    reason: &'static str,
    text: &'static str,
    direction: &'static str,
    drop: bool,
    packets: u64,
    bytes: u64,
}

pub(super) fn run(reader: &Reader, output: Output) -> Done {
    let counters = reader.counters().map_err(problem)?;
    let rows: Vec<Row> = counters
        .into_iter()
        .filter(|(.., counter)| counter.packets > 0)
        .map(|(reason, way, counter)| Row {
            reason: reason.label(),
            text: reason.text(),
            direction: direction(way),
            drop: reason.is_drop(),
            packets: counter.packets,
            bytes: counter.bytes,
        })
        .collect();
    output.print(&rows, || {
        let line = |r: &Row| {
            vec![r.text.to_owned(), r.direction.to_uppercase(), r.packets.to_string(), r.bytes.to_string()]
        };
        (vec!["REASON", "DIRECTION", "PACKETS", "BYTES"], rows.iter().map(line).collect())
    })
}
