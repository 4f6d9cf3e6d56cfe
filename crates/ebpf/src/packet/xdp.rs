//! A packet at XDP: still in the driver's buffer, in one piece, with complete checksums and no VLAN tag that the NIC took.

use super::{Fib, KIND_UDP, Outer, Packet, Segments};
use crate::config;
use crate::family::Family;
use crate::headers::ETH_LEN;
use crate::maps::XDP_DEVICES;
use crate::steps::parse::bounded;
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{
    bpf_check_mtu, bpf_fib_lookup, bpf_redirect, bpf_xdp_adjust_head, bpf_xdp_adjust_meta,
    bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_load_bytes, bpf_xdp_store_bytes,
};
use core::ffi::c_void;
use shunt_common::{Mark, XdpDevice, csum};

/// `XDP_REDIRECT`, which `bpf_redirect` answers when it will.
const REDIRECT: i64 = 4;

/// A packet at XDP.
#[derive(Clone, Copy)]
pub struct Xdp(pub *mut xdp_md);

/// What the agent says of a device that runs our program at XDP; `None` for all others.
#[inline(always)]
fn device(ifindex: u32) -> Option<&'static XdpDevice> {
    let row = XDP_DEVICES.get_ptr(XdpDevice::slot(ifindex))?;
    // SAFETY: a row of an array map lives as long as the program.
    let row = unsafe { &*row };
    (row.ifindex == ifindex).then_some(row)
}

impl Xdp {
    /// Whether the frame is for the device's own MAC. Drivers show us what a promiscuous device hears, and a bridge floods.
    #[inline(always)]
    pub fn is_ours(self) -> bool {
        let Some(device) = device(self.ifindex()) else { return false };
        let Some(mac) = self.at::<[u8; 6]>(0) else { return false };
        // SAFETY: `at` checked the bounds.
        unsafe { *mac == device.mac }
    }

    /// Whether the packet lies in several buffers, which not every device can send.
    #[inline(always)]
    pub fn is_split(self) -> bool {
        let first = u64::from(field!(self, data_end)) - u64::from(field!(self, data));
        u64::from(self.len()) != first
    }

    /// Moves where the packet begins: forward, or by a negative number into the room that the driver has left in front.
    /// `false`, and nothing has changed, where that does not reach.
    #[inline(always)]
    fn shift(self, by: i32) -> bool {
        // SAFETY: the context is valid.
        unsafe { bpf_xdp_adjust_head(self.0, by) == 0 }
    }

    /// Opens `len` bytes of room behind the first `head` bytes, an even number, which move forward.
    #[inline(always)]
    fn insert(self, len: u32, head: u32) -> bool {
        if !self.shift(-(len as i32)) {
            return false;
        }
        let start = field!(self, data) as usize;
        if start + (len + head) as usize > field!(self, data_end) as usize {
            return false;
        }
        let (to, from) = (start as *mut u16, (start + len as usize) as *const u16);
        for word in 0..head as usize / 2 {
            // SAFETY: the bounds were checked. Volatile, or LLVM makes it a call of memmove, which nobody has here.
            unsafe { to.add(word).write_volatile(from.add(word).read_volatile()) };
        }
        true
    }

    /// Tells tc that no flow and no frontend of ours is concerned ([`Mark`]). Where the driver has no room for metadata the
    /// packet goes up without, and tc looks for itself.
    #[inline(always)]
    pub fn settle(self) {
        // SAFETY: the context is valid.
        if unsafe { bpf_xdp_adjust_meta(self.0, -(size_of::<Mark>() as i32)) } != 0 {
            return;
        }
        let start = field!(self, data_meta) as usize;
        if start + size_of::<Mark>() > field!(self, data) as usize {
            return;
        }
        // SAFETY: the bounds were checked.
        unsafe { *(start as *mut Mark) = Mark::new(config::host_netns_cookie(), self.ifindex()) };
    }
}

impl Packet for Xdp {
    const AT_DRIVER: bool = true;

    #[inline(always)]
    fn len(self) -> u32 {
        // SAFETY: the context is valid.
        unsafe { bpf_xdp_get_buff_len(self.0) as u32 }
    }
    #[inline(always)]
    fn ifindex(self) -> u32 {
        field!(self, ingress_ifindex)
    }
    #[inline(always)]
    fn ingress_ifindex(self) -> u32 {
        field!(self, ingress_ifindex)
    }
    #[inline(always)]
    fn protocol(self) -> u16 {
        // SAFETY: `at` checked the bounds.
        self.at::<u16>(ETH_LEN - 2).map_or(0, |protocol| unsafe { *protocol })
    }
    #[inline(always)]
    fn ctx(self) -> *mut c_void {
        self.0.cast()
    }
    #[inline(always)]
    fn at<T>(self, offset: u32) -> Option<*mut T> {
        let start = field!(self, data) as usize + offset as usize;
        let end = field!(self, data_end) as usize;
        if start + size_of::<T>() > end { None } else { Some(start as *mut T) }
    }

    /// All there is to reach lies in one piece already.
    #[inline(always)]
    fn pull(self, _: u32) -> bool {
        false
    }

    #[inline(always)]
    fn load<T: Copy>(self, offset: u32, to: &mut T) -> bool {
        // SAFETY: `to` is exactly the length given.
        unsafe { bpf_xdp_load_bytes(self.0, offset, (&raw mut *to).cast(), size_of::<T>() as u32) == 0 }
    }

    #[inline(always)]
    fn store<T: Copy>(self, offset: u32, from: &T) -> bool {
        let from = (&raw const *from).cast_mut().cast();
        // SAFETY: `from` is exactly the length given; the helper only reads it.
        unsafe { bpf_xdp_store_bytes(self.0, offset, from, size_of::<T>() as u32) == 0 }
    }

    /// The driver keeps no sum of a packet.
    #[inline(always)]
    fn store_summed<T: Copy>(self, offset: u32, from: &T) -> bool {
        self.store(offset, from)
    }

    /// Drivers leave room in front of a packet, 192 bytes or 256 by custom, of which the kernel keeps 40, and do not tell how
    /// much.
    #[inline(always)]
    fn can_grow(self, len: u32) -> bool {
        len == 0 || (self.shift(-(len as i32)) && self.shift(len as i32))
    }

    #[inline(always)]
    fn open<A: Family>(self, len: u32, _: Segments) -> bool {
        self.insert(len, ETH_LEN + A::HEADER)
    }

    #[inline(always)]
    fn cover(self, len: u32, _: Outer, _: Segments) -> bool {
        self.insert(len, ETH_LEN)
    }

    /// What shrinks is for a backend on this node, and so is tc's: neither this nor [`Self::uncover`] is ever asked for.
    #[inline(always)]
    fn close(self, _: u32) -> bool {
        false
    }

    #[inline(always)]
    fn uncover(self, _: u32) -> bool {
        false
    }

    /// Nothing has been put together yet.
    #[inline(always)]
    fn segment(self) -> u32 {
        0
    }

    #[inline(always)]
    fn fix_l4_csum(self, offset: u32, kind: u64, delta: u32, old: u32, new: u32) -> bool {
        let Some(field) = self.at::<u16>(bounded(offset)) else { return false };
        // SAFETY: `at` checked the bounds.
        unsafe {
            let udp = kind & KIND_UDP != 0;
            if udp && *field == 0 {
                return true;
            }
            let sum = csum::update(*field, csum::add(delta, csum::delta(old, new)));
            *field = if udp && sum == 0 { 0xffff } else { sum };
        }
        true
    }

    #[inline(always)]
    fn resize(self, len: u32) -> bool {
        let by = len.wrapping_sub(self.len()) as i32;
        // SAFETY: the context is valid.
        unsafe { bpf_xdp_adjust_tail(self.0, by) == 0 }
    }

    #[inline(always)]
    fn exceeds_mtu(self, ifindex: u32, mtu: &mut u32) -> bool {
        *mtu = 0;
        // SAFETY: `mtu` outlives the call.
        unsafe { bpf_check_mtu(self.0.cast(), ifindex, &raw mut *mtu, 0, 0) > 0 }
    }

    #[inline(always)]
    fn fib(self, params: &mut Fib, flags: u32) -> i64 {
        // At this hook the kernel does not look at the packet's own length.
        if params.mtu == 0 {
            params.mtu = self.len().wrapping_sub(ETH_LEN) as u16;
        }
        // SAFETY: `Fib` has the layout of struct bpf_fib_lookup.
        unsafe { bpf_fib_lookup(self.0.cast(), (&raw mut *params).cast(), size_of::<Fib>() as i32, flags) }
    }

    /// Drivers send only out of devices that take frames from XDP; of ours, those that run XDP themselves.
    #[inline(always)]
    fn reaches(self, ifindex: u32) -> bool {
        ifindex == self.ifindex() || device(ifindex).is_some()
    }

    #[inline(always)]
    fn send(self, ifindex: u32) -> bool {
        // SAFETY: no pointers.
        ifindex == self.ifindex() || unsafe { bpf_redirect(ifindex, 0) == REDIRECT }
    }

    /// The kernel's neighbour code works on what has gone up the stack.
    #[inline(always)]
    fn send_to_neighbour(self, _: u32, _: u8, _: &[u32; 4]) -> bool {
        false
    }

    #[inline(always)]
    fn is_settled(self) -> bool {
        false
    }
}
