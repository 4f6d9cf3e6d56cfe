//! What XDP, tc and the agent agree on.

use crate::pod;

/// Value of the `xdp_devices` map: a device that runs our program at XDP. Only the agent writes it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct XdpDevice {
    /// Its index; zero in an empty row.
    pub ifindex: u32,
    /// Its own MAC address.
    pub mac: [u8; 6],
    /// Always zero.
    pub pad: [u8; 2],
}

const _: () = assert!(size_of::<XdpDevice>() == 12);
pod!(XdpDevice);

impl XdpDevice {
    /// Rows of the map.
    pub const SLOTS: u32 = 256;

    /// The row that a device may have. Two devices may want the same one, and then only one of them runs XDP: an array is
    /// read for every packet, and indexes of interfaces have no bound.
    #[inline(always)]
    pub const fn slot(ifindex: u32) -> u32 {
        ifindex % Self::SLOTS
    }
}

/// What XDP writes in front of a packet (its metadata) to tell tc on the same device that it has looked for a flow and a
/// frontend, and that there is none.
///
/// It names who says so, about which device: metadata may outlive the way through a veth to another node on the same
/// machine, and what stands there after a header has been taken off is not ours.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    magic: u32,
    node: u32,
    ifindex: u32,
}

impl Mark {
    /// The mark of a node, by the low half of its network namespace's cookie, for a device.
    #[inline(always)]
    pub const fn new(netns_cookie: u64, ifindex: u32) -> Self {
        Self { magic: 0x5344_4e54, node: netns_cookie as u32, ifindex }
    }

    /// As it stands in memory.
    #[must_use]
    pub fn bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        for (at, word) in [self.magic, self.node, self.ifindex].into_iter().enumerate() {
            bytes[at * 4..at * 4 + 4].copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }
}
