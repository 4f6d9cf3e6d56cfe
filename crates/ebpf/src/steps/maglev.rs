//! Choosing a backend by a pool's Maglev table: the same for a flow on every node.

use crate::config;
use crate::family::Family;
use crate::maps::MAGLEV;
use crate::steps::parse::Parsed;
use crate::steps::pick::{slot_id, spread};
use shunt_common::Pool;
use shunt_common::maglev::{CHUNK_UNITS, FlowHash, TableRef};

/// The hash of a packet's tuple.
#[inline(always)]
pub fn flow_hash<A: Family>(p: &Parsed<A>) -> u32 {
    let ports = u32::from(p.key.sport.0) | u32::from(p.key.dport.0) << 16;
    FlowHash::new(config::maglev_seed())
        .words(p.key.src.words())
        .words(p.key.dst.words())
        .word(ports)
        .word(p.key.proto as u32)
        .finish()
}

/// The hash of a client whose every flow goes to one backend.
#[inline(always)]
pub fn client_hash(client: &[u32]) -> u32 {
    FlowHash::new(config::maglev_seed()).words(client).finish()
}

/// The slot with the backend that the table of a pool, which is not empty, has for a hash. Where there is no table, or one of
/// another size, just after an agent with other settings took over, the hash itself is spread over the pool.
#[inline(always)]
pub fn slot(pool: Pool, hash: u32) -> u32 {
    let mut index = value(pool, hash);
    if index >= pool.len {
        index = spread(pool, hash);
    }
    pool.offset + pool.len + index
}

/// What the table says: an index into the pool's backends in order of address and port; [`u32::MAX`] without a table.
#[inline(always)]
fn value(pool: Pool, hash: u32) -> u32 {
    let Some(word) = slot_id(pool.offset + 2 * pool.len) else { return u32::MAX };
    let table = TableRef(word);
    let (unit, byte) = table.value(hash % config::maglev_size());
    let Some(word) = MAGLEV.get_value(unit / CHUNK_UNITS, &(unit % CHUNK_UNITS)) else { return u32::MAX };
    let mask = if table.is_wide() { 0xffff } else { 0xff };
    (*word >> (byte * 8)) as u32 & mask
}
