//! Datagrams in fragments: only the first names ports, so where it went is remembered for those behind it.

use crate::{Ip4, Ip6, pod};

/// Key of the `fragments4`/`fragments6` maps: what the fragments of a datagram share, as they arrive.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FragmentKey<A> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Identification, as it stands in the packet, and for IPv4 the protocol (RFC 791 3.2, RFC 8200 4.5).
    pub datagram: [u32; 2],
}

/// Value of the `fragments4`/`fragments6` maps: the part of a flow's row that a fragment without ports needs.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fragment<A> {
    /// Source address after rewriting.
    pub src: A,
    /// Destination address after rewriting.
    pub dst: A,
    /// What rewriting the addresses adds to a ones'-complement sum, see [`crate::csum`].
    pub delta: u32,
    /// Low 32 bits of jiffies when the first fragment came.
    pub stamp: u32,
    /// Bits of [`crate::flow_flag`], of the flow's row.
    pub flags: u32,
}

/// Seconds after which a first fragment's row is not believed any more, as the kernel's own reassembly
/// (`net.ipv4.ipfrag_time`): senders use identifications again.
pub const FRAGMENT_SECONDS: u32 = 30;

const _: () = assert!(size_of::<FragmentKey<Ip4>>() == 16 && size_of::<FragmentKey<Ip6>>() == 40);
const _: () = assert!(size_of::<Fragment<Ip4>>() == 20 && size_of::<Fragment<Ip6>>() == 44);
pod!(FragmentKey<Ip4>, FragmentKey<Ip6>, Fragment<Ip4>, Fragment<Ip6>);
