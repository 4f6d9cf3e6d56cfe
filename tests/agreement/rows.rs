//! The rows that a node's programs decide by: its pinned maps, not what anybody meant to write there.

use shunt_common::{Frontend, Scope};
use shunt_datapath::dump::Reader;
use shunt_model::store::{Actual, FrontendRef};
use std::path::Path;

/// All rows under an agent's root.
pub fn of(bpf_root: &Path) -> Actual {
    let reader = Reader::open(bpf_root).unwrap();
    let four = reader.frontends4().unwrap().map(|entry| entry.map(|(key, row)| (FrontendRef::V4(key), row)));
    let six = reader.frontends6().unwrap().map(|entry| entry.map(|(key, row)| (FrontendRef::V6(key), row)));
    let mut actual = Actual {
        backends4: reader.backends4().collect(),
        backends6: reader.backends6().collect(),
        frontends: four.chain(six).collect::<Result<_, _>>().unwrap(),
        ..Actual::default()
    };
    actual.ranges.extend(reader.source_ranges().unwrap());
    let pools = |row: &Frontend| [row.pool(Scope::External), row.pool(Scope::Internal)];
    for pool in actual.frontends.values().flat_map(pools) {
        actual.slots.extend((pool.offset..).zip(reader.slots(pool)));
    }
    assert!(!actual.frontends.is_empty(), "no rows under {}", bpf_root.display());
    actual
}
