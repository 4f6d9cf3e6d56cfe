//! Source ranges: which clients may use a service (`spec.loadBalancerSourceRanges`).

use crate::{Addr, Ip4, Ip6, pod};

/// Key of the `source_ranges4`/`source_ranges6` maps, as `struct bpf_lpm_trie_key` wants it: a service id and a range of
/// addresses.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RangeKey<A> {
    /// Bits of what follows that count: 32 for the service and the length of the address prefix. Host order.
    pub prefix_len: u32,
    /// Service id.
    pub service: u32,
    /// The range's address; bits beyond the prefix are zero.
    pub addr: A,
}

const _: () = assert!(size_of::<RangeKey<Ip4>>() == 12 && size_of::<RangeKey<Ip6>>() == 24);
pod!(RangeKey<Ip4>, RangeKey<Ip6>);

impl<A: Addr> RangeKey<A> {
    /// The key of a range of `bits` bits.
    #[inline(always)]
    pub const fn new(service: u32, addr: A, bits: u32) -> Self {
        Self { prefix_len: 32 + bits, service, addr }
    }
    /// The key that looks up one address.
    #[inline(always)]
    pub const fn of(service: u32, addr: A) -> Self {
        Self::new(service, addr, A::LEN as u32 * 8)
    }
}
