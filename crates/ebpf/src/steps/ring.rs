//! The bounded set of unconfirmed flows: a ring of forward keys on each CPU.
//!
//! A new flow takes the next slot. Whoever stood there, if still unconfirmed or closed by now, is removed, both rows at once. So a
//! flood of handshakes that nobody finishes turns the ring over and touches nothing else (DESIGN section 4), and no
//! half of a pair ever goes alone, as it would in an LRU.

use crate::family::Family;
use crate::outcome::count;
use crate::{config, maps};
use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;
use shunt_common::{Direction, FlowKey, Proto, Reason, flow_flag, tcp};

/// Takes a slot for `key`; returns its number for `Flow::ring`.
#[inline(always)]
pub fn take<A: Family>(key: &FlowKey<A>) -> u32 {
    let Some(head) = maps::RING_HEAD.get_ptr_mut(A::INDEX) else { return 0 };
    // SAFETY: a per-CPU value; programs of one CPU do not interleave at these hooks.
    let slot = unsafe {
        let slot = *head & (config::ring_size() - 1);
        *head = slot + 1;
        slot
    };
    // SAFETY: no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let owner = cpu << 24 | slot;
    if let Some(place) = A::ring(slot) {
        // SAFETY: a per-CPU value, as above.
        unsafe {
            if (*place).proto != 0 {
                evict(&*place, owner);
            }
            *place = *key;
        }
    }
    owner
}

/// Removes the flow that owns a slot, unless it is confirmed and not closed, or has moved on.
#[inline(always)]
fn evict<A: Family>(key: &FlowKey<A>, owner: u32) {
    let Some(row) = A::flow(key) else { return };
    // SAFETY: a row of the map; a torn read can only make the owner differ, which leaves the flow alone.
    let (stale, partner) = unsafe {
        let row = &*row;
        let unconfirmed = row.flags & flow_flag::CONFIRMED == 0;
        // Nobody needs a closed flow for long, and while the agent is away nobody else removes it.
        let closed =
            key.proto != Proto::Udp as u32 && tcp::phase(row.seen, row.peer_seen) == tcp::Phase::Closed;
        ((unconfirmed || closed) && row.ring == owner, row.partner(key))
    };
    if stale {
        A::remove_flow(&partner);
        A::remove_flow(key);
        count(Reason::Evicted, Direction::Ingress, 0);
    }
}
