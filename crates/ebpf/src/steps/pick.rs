//! Choosing a backend of a pool.

use crate::family::Family;
use crate::maps::POOL;
use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use shunt_common::{Backend, Pool, Reason, maps::POOL_LANES};

/// A chosen backend.
#[derive(Clone, Copy)]
pub struct Pick<A: Family> {
    /// Its id.
    pub id: u32,
    /// Its row, as it was when chosen.
    pub backend: Backend<A>,
}

/// A number to pick with that is new for every flow.
#[inline(always)]
pub fn random() -> u32 {
    // SAFETY: no arguments.
    unsafe { bpf_get_prandom_u32() }
}

/// The slot that `number`, spread over a pool that is not empty, falls on.
#[inline(always)]
pub fn slot(pool: Pool, number: u32) -> u32 {
    pool.offset + spread(pool, number)
}

/// The backend in a slot; [`Reason::StaleBackend`] when it has no state.
#[inline(always)]
pub fn in_slot<A: Family>(slot: u32) -> Result<Pick<A>, Reason> {
    by_id(slot_id(slot).ok_or(Reason::StaleBackend)?)
}

/// Where in a pool a number falls, when all numbers are spread over it.
#[inline(always)]
pub fn spread(pool: Pool, number: u32) -> u32 {
    ((u64::from(number) * u64::from(pool.len)) >> 32) as u32
}

/// The backend with an id; [`Reason::StaleBackend`] when it has no state.
#[inline(always)]
pub fn by_id<A: Family>(id: u32) -> Result<Pick<A>, Reason> {
    let row = A::backend(id).ok_or(Reason::StaleBackend)?;
    // SAFETY: a row of an array map lives as long as the program.
    let backend = unsafe { *row };
    if backend.state == 0 {
        return Err(Reason::StaleBackend);
    }
    Ok(Pick { id, backend })
}

/// The backend id in a pool slot.
#[inline(always)]
pub fn slot_id(slot: u32) -> Option<u32> {
    let block = POOL.get_ptr(slot / POOL_LANES as u32)?;
    let mut lane = slot as usize;
    // SAFETY: a register move; it keeps LLVM from dropping the mask that the verifier needs.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) lane, options(pure, nomem, nostack, preserves_flags)) };
    lane &= POOL_LANES - 1;
    // SAFETY: `lane` is below POOL_LANES, and the block is that many words.
    Some(unsafe { *block.cast::<u32>().add(lane) })
}
