//! The seam between what should be in the maps and the maps: [`Op`] and [`MapStore`].

mod faulty;
mod keys;
mod memory;

pub use faulty::Faulty;
pub use memory::MemoryStore;

use ipnet::IpNet;
use shunt_common::{Backend, Frontend, FrontendKey, Ip4, Ip6, Pool};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// IP family. Backend ids count separately in each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A frontend's key in either family.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FrontendRef {
    /// In `frontends4`.
    V4(FrontendKey<Ip4>),
    /// In `frontends6`.
    V6(FrontendKey<Ip6>),
}

/// A backend's row in either family.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum BackendRow {
    /// In `backends4`.
    V4(Backend<Ip4>),
    /// In `backends6`.
    V6(Backend<Ip6>),
}

/// A row of `source_ranges4` or `source_ranges6`: a range of clients of a service port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RangeRef {
    /// Service id.
    pub service: u32,
    /// The range, without bits beyond its prefix.
    pub net: IpNet,
}

/// One write to the maps. Ops come in an order that is safe to stop after any of them: backends before the pool
/// that names them, the pool before the frontend that makes it visible, deletes the other way round.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// Writes a backend's row.
    PutBackend {
        /// Index in the family's `backends` array, never zero.
        id: u32,
        /// The row.
        row: BackendRow,
    },
    /// Writes a Maglev table that no visible pool names yet.
    PutTable {
        /// Its first 8-byte element.
        at: u32,
        /// As [`crate::maglev::Settings::table`] lays it out.
        table: Arc<[u8]>,
    },
    /// Fills a range of pool slots that no visible frontend names yet.
    PutPool {
        /// The range; `len` equals `ids.len()`, or with a Maglev table `2 * len + 1` does.
        pool: Pool,
        /// Backend ids, one for each slot; behind them what [`Frontend::extent`] tells of.
        ids: Vec<u32>,
    },
    /// Writes a source range, before the frontend whose flags say that it counts.
    PutRange(RangeRef),
    /// Writes a frontend's row: the one step that packets see.
    PutFrontend {
        /// Its key.
        key: FrontendRef,
        /// Its value.
        row: Frontend,
    },
    /// Removes a frontend; fine when it is not there.
    DeleteFrontend {
        /// Its key.
        key: FrontendRef,
    },
    /// Writes the ServiceCIDRs, all at once; at most [`shunt_common::SERVICE_CIDRS`] of each family.
    PutServiceCidrs(BTreeSet<IpNet>),
    /// Removes a source range, after the frontends that it counted for; fine when it is not there.
    DeleteRange(RangeRef),
    /// Zeroes a backend's row.
    DeleteBackend {
        /// Which array.
        family: Family,
        /// Index in it.
        id: u32,
    },
}

/// The header of a Maglev table.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TableHead {
    /// [`crate::maglev::Settings::digest`].
    pub digest: u64,
    /// 8-byte elements, the header included.
    pub units: u64,
}

impl TableHead {
    /// Of a table as it lies in the map.
    #[must_use]
    pub fn of(table: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u64::from_le_bytes(table.get(at..at + 8)?.try_into().ok()?));
        Some(Self { digest: word(0)?, units: word(8)? })
    }
}

/// What the maps hold.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Actual {
    /// All frontends.
    pub frontends: BTreeMap<FrontendRef, Frontend>,
    /// All backends of IPv4 with a state, by id.
    pub backends4: BTreeMap<u32, Backend<Ip4>>,
    /// All backends of IPv6 with a state, by id.
    pub backends6: BTreeMap<u32, Backend<Ip6>>,
    /// The pool slots that the frontends name, by slot.
    pub slots: BTreeMap<u32, u32>,
    /// The Maglev tables that the frontends' pools name, by first element.
    pub tables: BTreeMap<u32, TableHead>,
    /// All source ranges.
    pub ranges: BTreeSet<RangeRef>,
    /// All ServiceCIDRs.
    pub service_cidrs: BTreeSet<IpNet>,
}

/// Why a write or a dump failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MapError {
    /// The map has no room.
    #[error("map {map} is full at {max} entries; raise {key}")]
    Full {
        /// Name of the map.
        map: &'static str,
        /// Its size.
        max: u32,
        /// The configuration key that sizes it.
        key: &'static str,
    },
    /// There is no Maglev table for a pool; it is balanced at random.
    #[error("balanced at random, for want of a Maglev table: {why}")]
    NoTable {
        /// What there is no room for, and what to do.
        why: String,
    },
    /// The kernel refused.
    #[error("map {map}: {what}: {error}")]
    Kernel {
        /// Name of the map.
        map: &'static str,
        /// What was tried.
        what: &'static str,
        /// The kernel's error.
        error: String,
    },
}

impl MapError {
    /// Whether there is no room, as opposed to a kernel that refuses.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::NoTable { .. })
    }

    /// There is no room for one more Maglev table.
    #[must_use]
    pub fn tables_full() -> Self {
        let why = "map maglev is full; use a smaller maglev.tableSize, or Maglev for fewer services";
        Self::NoTable { why: why.into() }
    }
}

/// Limits that the allocators of ids and ranges keep to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capacity {
    /// Backend ids run from 1 to this, exclusive, in each family.
    pub backends: u32,
    /// Pool slots run from 0 to this, exclusive.
    pub slots: u32,
    /// Rows in each `frontends` map.
    pub frontends: u32,
    /// Rows in each `source_ranges` map.
    pub ranges: u32,
    /// 8-byte elements for Maglev tables, in arrays of [`shunt_common::maglev::CHUNK_UNITS`].
    pub table_units: u32,
}

/// The maps, or something that stands for them. Each op is idempotent: applying it twice is applying it once.
pub trait MapStore {
    /// Applies one op, wholly or not at all.
    ///
    /// # Errors
    /// [`MapError`] when the map is full or the kernel refuses; the map is then as before.
    fn apply(&mut self, op: &Op) -> Result<(), MapError>;

    /// Reads everything back. Costs as much as the maps are full: for start-up, errors and the slow timer only.
    ///
    /// # Errors
    /// [`MapError::Kernel`] when a map cannot be read.
    fn dump(&mut self) -> Result<Actual, MapError>;

    /// The sizes of the maps.
    fn capacity(&self) -> Capacity;
}
