//! Session affinity: the client of a service port gets the backend that it had, as long as the pool has that.

use crate::config;
use crate::family::Family;
use crate::maps::AFFINITY;
use crate::steps::maglev;
use crate::steps::pick::{Pick, by_id, in_slot, random, slot, slot_id};
use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_loop};
use core::ffi::c_void;
use shunt_common::{AffinityKey, AffinityRow, Frontend, Pool, Reason, frontend_flag};

/// What a flow is picked by: its hash, where it has one. A socket that connects has no source yet, and so Maglev does not
/// count there. No enum: the verifier of 6.1 takes no word that was never written, even if nothing looks at it.
#[derive(Clone, Copy)]
pub struct Basis {
    /// Whether there is a hash.
    pub hashed: bool,
    /// The hash, else zero.
    pub hash: u32,
}

/// A backend for a new flow of `client`; `kind` says what the client is known by ([`shunt_common::client`]).
#[inline(always)]
pub fn choose<A: Family>(
    frontend: &Frontend,
    pool: Pool,
    client: &[u32],
    kind: u32,
    basis: Basis,
) -> Result<Pick<A>, Reason> {
    let by_table = basis.hashed && frontend.flags & frontend_flag::MAGLEV != 0;
    let timeout = frontend.affinity_timeout;
    if timeout == 0 {
        let number = if by_table { basis.hash } else { random() };
        return draw(pool, &Terms { timeout, by_table, number });
    }
    let mut key = AffinityKey { client: [0; 4], service: frontend.service, kind };
    let mut i = 0;
    while i < client.len() {
        key.client[i] = client[i];
        i += 1;
    }
    // Of the client alone, so that whichever of its flows comes first, on whichever node, leads to the same backend.
    let number = if by_table { maglev::client_hash(client) } else { random() };
    stick(&key, pool, &Terms { timeout, by_table, number })
}

/// For how long a client keeps its backend, and what a first pick goes by; behind a pointer, as a call takes five words.
struct Terms {
    timeout: u32,
    by_table: bool,
    number: u32,
}

/// The backend in the slot that the number leads to, by the pool's table or not.
#[inline(always)]
fn draw<A: Family>(pool: Pool, terms: &Terms) -> Result<Pick<A>, Reason> {
    if pool.len == 0 {
        return Err(Reason::NoBackend);
    }
    let slot = if terms.by_table { maglev::slot(pool, terms.number) } else { slot(pool, terms.number) };
    in_slot(slot)
}

/// The backend that the client had, or a new one that it will have.
#[inline(never)]
fn stick<A: Family>(key: &AffinityKey, pool: Pool, terms: &Terms) -> Result<Pick<A>, Reason> {
    let now = seconds();
    if let Some(row) = AFFINITY.get_ptr_mut(key) {
        // SAFETY: a value of the map; a race between two first packets of one client ends with either's choice in both.
        let row = unsafe { &mut *row };
        if row.holds(now, terms.timeout) && contains(pool, row.backend) {
            row.stamp = now;
            return by_id(row.backend);
        }
    }
    let picked = draw(pool, terms)?;
    // A full table only means that the client is not remembered; an LRU is never full.
    let _ = AFFINITY.insert(key, AffinityRow { backend: picked.id, stamp: now }, 0);
    Ok(picked)
}

/// Seconds of the jiffies clock.
#[inline(always)]
fn seconds() -> u32 {
    // SAFETY: no arguments.
    unsafe { (bpf_jiffies64() / u64::from(config::hz())) as u32 }
}

/// A binary search under way: the id is in `low..high`, if anywhere.
#[repr(C)]
struct Search {
    id: u32,
    low: u32,
    high: u32,
    found: u32,
}

/// Halvings that any pool ends in: slots are numbered with 32 bits.
const HALVINGS: u32 = 32;

/// Whether a pool has a backend. Ids ascend in a pool.
#[inline(always)]
pub fn contains(pool: Pool, id: u32) -> bool {
    let mut search = Search { id, low: pool.offset, high: pool.offset + pool.len, found: 0 };
    // A helper's loop: the verifier looks at its body once.
    // SAFETY: the callback has the signature that bpf_loop wants, and the context outlives the call.
    unsafe {
        bpf_loop(HALVINGS, halve as *mut c_void, (&raw mut search).cast(), 0);
    }
    search.found != 0
}

/// One halving; 1 ends the loop.
extern "C" fn halve(_: u32, search: *mut Search) -> i64 {
    // SAFETY: the context of the loop.
    let search = unsafe { &mut *search };
    if search.low >= search.high {
        return 1;
    }
    let middle = search.low + (search.high - search.low) / 2;
    let Some(there) = slot_id(middle) else { return 1 };
    if there == search.id {
        search.found = 1;
        return 1;
    }
    if there < search.id {
        search.low = middle + 1;
    } else {
        search.high = middle;
    }
    0
}
