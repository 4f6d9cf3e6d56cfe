//! Reading the pinned maps: what the command line lists, with or without an agent.

mod usage;

pub use usage::MapUse;

use crate::attach::status;
use crate::load::adopt_sizes;
use crate::mapped::Arrays;
use crate::pins::Pins;
use crate::store::ranges::Ranges;
use crate::store::rows;
use crate::store::tables::Tables;
use crate::table::{self, Table};
use crate::{Attachment, Clock, Error, MapSpec, Sizes, clock, sys};
use aya::Pod;
use shunt_common::maglev::{CHUNK_UNITS, HEADER_UNITS, SIZES, TableRef};
use shunt_common::maps::{AFFINITY, COUNTERS, DEVICES, FLOWS4, FLOWS6, FRONTENDS4, FRONTENDS6};
use shunt_common::{
    AffinityKey, AffinityRow, Backend, Counter, Device, Direction, Flow, FlowKey, Frontend, FrontendKey, Ip4,
    Ip6, Pool, Reason,
};
use shunt_model::store::RangeRef;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::Ordering;

/// Read access to the datapath that is pinned under one root.
#[derive(Debug)]
pub struct Reader {
    pins: Pins,
    arrays: Arrays,
    specs: [MapSpec; shunt_common::maps::PINNED.len()],
}

impl Reader {
    /// Opens the maps under a root.
    ///
    /// # Errors
    /// [`Error::NotRunning`] when nothing is pinned there, [`Error::IncompatiblePin`] when it is not this version's.
    pub fn open(bpf_root: &Path) -> Result<Self, Error> {
        Self::from_pins(Pins::new(bpf_root))
    }

    pub(crate) fn from_pins(pins: Pins) -> Result<Self, Error> {
        let sizes = adopt_sizes(&pins, &Sizes::default(), |_, _| {})?;
        let arrays = Arrays::new(|name| open_map(&pins, name), false)?;
        Ok(Self { specs: crate::maps::specs(&sizes), pins, arrays })
    }

    fn table<K: Pod, V: Pod>(&self, name: &'static str) -> Result<Table<K, V>, Error> {
        Table::new(open_map(&self.pins, name)?, name)
    }

    /// Every IPv4 frontend, in no order.
    ///
    /// # Errors
    /// What the kernel says; so for all below.
    pub fn frontends4(&self) -> Result<Entries<FrontendKey<Ip4>, Frontend>, Error> {
        Ok(Entries::new(self.table(FRONTENDS4)?))
    }

    /// Every IPv6 frontend, in no order.
    ///
    /// # Errors
    /// As above.
    pub fn frontends6(&self) -> Result<Entries<FrontendKey<Ip6>, Frontend>, Error> {
        Ok(Entries::new(self.table(FRONTENDS6)?))
    }

    /// One IPv4 frontend.
    ///
    /// # Errors
    /// As above.
    pub fn frontend4(&self, key: &FrontendKey<Ip4>) -> Result<Option<Frontend>, Error> {
        self.table(FRONTENDS4)?.get(key).map_err(Error::system("reading map frontends4"))
    }

    /// One IPv6 frontend.
    ///
    /// # Errors
    /// As above.
    pub fn frontend6(&self, key: &FrontendKey<Ip6>) -> Result<Option<Frontend>, Error> {
        self.table(FRONTENDS6)?.get(key).map_err(Error::system("reading map frontends6"))
    }

    /// Every source range, in no order.
    ///
    /// # Errors
    /// As above.
    pub fn source_ranges(&self) -> Result<Vec<RangeRef>, Error> {
        let ranges = Ranges::new(|name| open_map(&self.pins, name))?;
        ranges.all().map_err(Error::system("reading the maps of source ranges"))
    }

    /// The values of a pool's Maglev table of `size` values, as its backends' ids; empty when it has none.
    ///
    /// # Errors
    /// As above.
    pub fn lookup_table(&self, row: &Frontend, pool: Pool) -> Result<Vec<u32>, Error> {
        let extent = row.extent(pool);
        let slots: Vec<u32> = self.slots(Pool { offset: pool.offset, len: extent }).into_iter().collect();
        let Some(word) = slots.last().filter(|_| extent > pool.len && slots.len() as u32 == extent) else {
            return Ok(Vec::new());
        };
        let table = TableRef(*word);
        let mut tables = Tables::new(|name| open_map(&self.pins, name))?;
        let failed = || Error::system("reading map maglev");
        let Some(head) = tables.head(table).map_err(failed())? else { return Ok(Vec::new()) };
        let bytes = TableRef::units(CHUNK_UNITS, false).min(head.units as u32);
        let words = tables.read(table.at(), bytes).map_err(failed())?.unwrap_or_default();
        let values = words.iter().skip(HEADER_UNITS as usize).flat_map(|w| w.to_le_bytes());
        let values: Vec<u8> = values.collect();
        let ordered = &slots[pool.len as usize..];
        let width = if table.is_wide() { 2 } else { 1 };
        let value = |v: &[u8]| v.iter().rev().fold(0usize, |n, b| n << 8 | usize::from(*b));
        // The sizes are odd, so the last element is not full.
        let count = SIZES.iter().rev().find(|s| **s as usize * width <= values.len()).copied().unwrap_or(0);
        let ids = values.chunks(width).take(count as usize).map(value);
        Ok(ids.filter_map(|v| ordered.get(..pool.len as usize)?.get(v).copied()).collect())
    }

    /// What session affinity remembers, in no order.
    ///
    /// # Errors
    /// As above.
    pub fn affinity(&self) -> Result<Entries<AffinityKey, AffinityRow>, Error> {
        Ok(Entries::new(self.table(AFFINITY)?))
    }

    /// Every used IPv4 backend, by id.
    pub fn backends4(&self) -> impl Iterator<Item = (u32, Backend<Ip4>)> {
        rows::all(&self.arrays.backends4).into_iter().flatten()
    }

    /// Every used IPv6 backend, by id.
    pub fn backends6(&self) -> impl Iterator<Item = (u32, Backend<Ip6>)> {
        rows::all(&self.arrays.backends6).into_iter().flatten()
    }

    /// One IPv4 backend; `None` when the id is not in use.
    pub fn backend4(&self, id: u32) -> Option<Backend<Ip4>> {
        rows::Row::read(&self.arrays.backends4, id).filter(|row: &Backend<Ip4>| rows::Row::used(row))
    }

    /// One IPv6 backend; `None` when the id is not in use.
    pub fn backend6(&self, id: u32) -> Option<Backend<Ip6>> {
        rows::Row::read(&self.arrays.backends6, id).filter(|row: &Backend<Ip6>| rows::Row::used(row))
    }

    /// The backend ids in a pool's slots.
    pub fn slots(&self, pool: Pool) -> Vec<u32> {
        let slots = pool.offset..pool.offset.saturating_add(pool.len);
        slots.map_while(|slot| Some(self.arrays.pool.word(slot).ok()??.load(Ordering::Acquire))).collect()
    }

    /// Every IPv4 flow row, both of each flow, in no order.
    ///
    /// # Errors
    /// As above.
    pub fn flows4(&self) -> Result<Entries<FlowKey<Ip4>, Flow<Ip4>>, Error> {
        Ok(Entries::new(self.table(FLOWS4)?))
    }

    /// Every IPv6 flow row, both of each flow, in no order.
    ///
    /// # Errors
    /// As above.
    pub fn flows6(&self) -> Result<Entries<FlowKey<Ip6>, Flow<Ip6>>, Error> {
        Ok(Entries::new(self.table(FLOWS6)?))
    }

    /// Removes every flow row of both families; answers how many. Established connections through the packet paths
    /// break, or start anew.
    ///
    /// # Errors
    /// As above.
    pub fn flush_flows(&self) -> Result<u64, Error> {
        Ok(flush(&self.table::<FlowKey<Ip4>, Flow<Ip4>>(FLOWS4)?)?
            + flush(&self.table::<FlowKey<Ip6>, Flow<Ip6>>(FLOWS6)?)?)
    }

    /// Every device's row, by ifindex.
    ///
    /// # Errors
    /// As above.
    pub fn devices(&self) -> Result<Vec<(u32, Device)>, Error> {
        let mut all = self.table(DEVICES)?.entries().map_err(Error::system("reading map devices"))?;
        all.sort_by_key(|(ifindex, _)| *ifindex);
        Ok(all)
    }

    /// Every reason's packets and bytes in each direction, summed over CPUs; also those that are zero.
    ///
    /// # Errors
    /// As above.
    pub fn counters(&self) -> Result<Vec<(Reason, Direction, Counter)>, Error> {
        let table: Table<u32, Counter> = self.table(COUNTERS)?;
        let mut all = Vec::new();
        for reason in Reason::ALL {
            for direction in [Direction::Ingress, Direction::Egress] {
                let each = table
                    .get_each_cpu(&reason.index(direction))
                    .map_err(Error::system("reading map counters"))?;
                let mut sum = Counter::default();
                for counter in each {
                    sum.packets += counter.packets;
                    sum.bytes += counter.bytes;
                }
                all.push((*reason, direction, sum));
            }
        }
        Ok(all)
    }

    /// Size and fill of every map.
    ///
    /// # Errors
    /// As above.
    pub fn maps(&self) -> Result<Vec<MapUse>, Error> {
        self.specs
            .iter()
            .map(|spec| usage::of(spec, &open_map(&self.pins, spec.name)?, &self.arrays))
            .collect()
    }

    /// Everything of ours that is attached now.
    ///
    /// # Errors
    /// As above.
    pub fn attachments(&self) -> Result<Vec<Attachment>, Error> {
        status::attachments(&self.pins)
    }

    /// The clock that flows are stamped by.
    ///
    /// # Errors
    /// As above.
    pub fn clock(&self) -> Result<Clock, Error> {
        let path = self.pins.program("clock");
        let program =
            sys::object::get(&path).map_err(Error::system(format!("opening {}", path.display())))?;
        Ok(Clock::new(program, clock::hz()?))
    }
}

fn open_map(pins: &Pins, name: &str) -> Result<OwnedFd, Error> {
    sys::object::get(&pins.map(name)).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::NotRunning { path: pins.root().into() },
        _ => Error::system(format!("opening {}", pins.map(name).display()))(e),
    })
}

fn flush<K: Pod, V: Pod>(table: &Table<K, V>) -> Result<u64, Error> {
    let failed = || Error::system(format!("flushing map {}", table.name()));
    let mut removed = 0;
    for (key, _) in table.entries().map_err(failed())? {
        removed += u64::from(table.remove(&key).map_err(failed())?);
    }
    Ok(removed)
}

/// The entries of a hash map, read in chunks as they are asked for. Entries that come or go meanwhile may or may not
/// be among them; none that stays is missed.
#[derive(Debug)]
pub struct Entries<K, V> {
    table: Table<K, V>,
    cursor: Option<u32>,
    over: bool,
    chunk: std::vec::IntoIter<(K, V)>,
}

impl<K: Pod, V: Pod> Entries<K, V> {
    pub(crate) fn new(table: Table<K, V>) -> Self {
        Self { table, cursor: None, over: false, chunk: Vec::new().into_iter() }
    }
}

impl<K: Pod, V: Pod> Iterator for Entries<K, V> {
    type Item = Result<(K, V), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.chunk.next() {
                return Some(Ok(entry));
            }
            if self.over {
                return None;
            }
            match table::next_chunk(&self.table, &mut self.cursor, table::CHUNK) {
                Ok((chunk, over)) => (self.chunk, self.over) = (chunk.into_iter(), over),
                Err(e) => {
                    self.over = true;
                    return Some(Err(Error::system(format!("reading map {}", self.table.name()))(e)));
                }
            }
        }
    }
}
