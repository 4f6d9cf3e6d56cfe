//! Who may use a frontend: its source ranges.

use crate::family::Family;
use shunt_common::{Frontend, RangeKey, frontend_flag};

/// Whether a client's address may use a frontend (`spec.loadBalancerSourceRanges`).
#[inline(always)]
pub fn admits<A: Family>(frontend: &Frontend, client: A) -> bool {
    if frontend.flags & frontend_flag::SOURCE_RANGES == 0 {
        return true;
    }
    let denies = frontend.flags & frontend_flag::SOURCE_DENY != 0;
    A::in_ranges(&RangeKey::of(frontend.service, client)) != denies
}
