//! `shunt bpf nat list`: the rows of flows whose source is rewritten too, as translations.

use super::ct::{self, Row};
use crate::cli::Done;
use crate::cli::output::{Form, Output, put};
use shunt_common::flow_flag;
use shunt_datapath::dump::Reader;

pub(super) fn run(reader: &Reader, output: Output) -> Done {
    let mut rows = ct::rows(reader)?;
    rows.retain(|row| row.flags & flow_flag::SNAT != 0);
    if output.output != Form::Table {
        return output.data(&rows);
    }
    put(&rows.iter().map(|row| line(row) + "\n").collect::<String>())
}

/// The client's half is keyed by what the client sends, so it shows both addresses that are written.
fn line(row: &Row) -> String {
    let Row { protocol, direction, source, destination, new_source, new_destination, .. } = row;
    let (word, new) =
        if *direction == "IN" { ("XLATE_DST", new_destination) } else { ("XLATE_SRC", new_source) };
    format!("{protocol} {direction} {source} -> {destination} {word} {new} Idle={}sec", row.idle_seconds)
}
