//! A packet at a tc hook of a device without a link layer header: a tunnel, a tun device.

use super::{Fib, Outer, Packet, Segments, Skb};
use crate::family::Family;
use crate::headers::ETH_LEN;
use crate::steps::parse::bounded;
use aya_ebpf::helpers::generated::bpf_skb_change_head;
use core::ffi::c_void;

/// A packet that begins with its IP header. To the steps it seems to have an Ethernet header in front, so they are the same;
/// it gets a real one when it is sent on, since the kernel takes it off again where the next device has none.
#[derive(Clone, Copy)]
pub struct Bare(pub Skb);

/// Where something lies that the steps look for at `offset`. The bound is for the verifier.
#[inline(always)]
fn here(offset: u32) -> u32 {
    bounded(offset.wrapping_sub(ETH_LEN))
}

impl Bare {
    /// Puts an Ethernet header of zeros in front: what redirects to a device with such headers counts on one.
    #[inline(always)]
    fn dress(self) -> bool {
        // SAFETY: the context is valid.
        unsafe { bpf_skb_change_head(self.0.0, ETH_LEN, 0) == 0 }
    }
}

impl Packet for Bare {
    const AT_DRIVER: bool = false;

    #[inline(always)]
    fn len(self) -> u32 {
        self.0.len() + ETH_LEN
    }
    #[inline(always)]
    fn ifindex(self) -> u32 {
        self.0.ifindex()
    }
    #[inline(always)]
    fn ingress_ifindex(self) -> u32 {
        self.0.ingress_ifindex()
    }
    #[inline(always)]
    fn protocol(self) -> u16 {
        self.0.protocol()
    }
    #[inline(always)]
    fn ctx(self) -> *mut c_void {
        self.0.ctx()
    }
    #[inline(always)]
    fn at<T>(self, offset: u32) -> Option<*mut T> {
        self.0.at(here(offset))
    }
    #[inline(always)]
    fn pull(self, len: u32) -> bool {
        self.0.pull(len - ETH_LEN)
    }
    #[inline(always)]
    fn load<T: Copy>(self, offset: u32, to: &mut T) -> bool {
        self.0.load(offset - ETH_LEN, to)
    }
    #[inline(always)]
    fn store<T: Copy>(self, offset: u32, from: &T) -> bool {
        self.0.store(offset - ETH_LEN, from)
    }
    #[inline(always)]
    fn store_summed<T: Copy>(self, offset: u32, from: &T) -> bool {
        self.0.store_summed(offset - ETH_LEN, from)
    }
    #[inline(always)]
    fn can_grow(self, len: u32) -> bool {
        self.0.can_grow(len)
    }
    #[inline(always)]
    fn open<A: Family>(self, len: u32, segments: Segments) -> bool {
        self.0.open::<A>(len, segments)
    }
    #[inline(always)]
    fn close(self, len: u32) -> bool {
        self.0.close(len)
    }
    #[inline(always)]
    fn cover(self, len: u32, outer: Outer, segments: Segments) -> bool {
        self.0.cover(len, outer, segments)
    }
    #[inline(always)]
    fn uncover(self, len: u32) -> bool {
        self.0.uncover(len)
    }
    #[inline(always)]
    fn segment(self) -> u32 {
        self.0.segment()
    }
    #[inline(always)]
    fn fix_l4_csum(self, offset: u32, kind: u64, delta: u32, old: u32, new: u32) -> bool {
        self.0.fix_l4_csum(offset - ETH_LEN, kind, delta, old, new)
    }
    #[inline(always)]
    fn resize(self, len: u32) -> bool {
        self.0.resize(len - ETH_LEN)
    }
    #[inline(always)]
    fn exceeds_mtu(self, ifindex: u32, mtu: &mut u32) -> bool {
        super::exceeds_mtu(self.0, self.len(), ifindex, mtu)
    }
    #[inline(always)]
    fn fib(self, params: &mut Fib, flags: u32) -> i64 {
        super::fib(self.0, self.len(), params, flags)
    }
    #[inline(always)]
    fn reaches(self, ifindex: u32) -> bool {
        self.0.reaches(ifindex)
    }
    /// An answer goes out as it is; what is forwarded has got its header by [`Self::set_macs`].
    #[inline(always)]
    fn send(self, ifindex: u32) -> bool {
        self.0.send(ifindex)
    }
    #[inline(always)]
    fn send_to_neighbour(self, ifindex: u32, family: u8, next_hop: &[u32; 4]) -> bool {
        self.dress() && self.0.send_to_neighbour(ifindex, family, next_hop)
    }
    #[inline(always)]
    fn set_macs(self, macs: [[u8; 6]; 2]) -> bool {
        let ethertype = self.protocol();
        if !self.dress() || !self.0.set_macs(macs) {
            return false;
        }
        let Some(room) = self.0.at::<u16>(ETH_LEN - 2) else { return false };
        // SAFETY: `at` checked the bounds.
        unsafe { *room = ethertype };
        true
    }
    /// There is one neighbour at the other end, and it needs no address.
    #[inline(always)]
    fn swap_macs(self) -> bool {
        true
    }
    /// Such devices have no XDP.
    #[inline(always)]
    fn is_settled(self) -> bool {
        false
    }
}
