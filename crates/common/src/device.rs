//! Devices: the interfaces that face the network.

use crate::{Ip4, Ip6, pod};

/// Value of the `devices` map, keyed by ifindex (u32, host order). Only the agent writes it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Device {
    /// Source of SNAT for IPv4 flows that leave here; zero when the device has none.
    pub addr4: Ip4,
    /// Source of SNAT for IPv6 flows that leave here; zero when the device has none.
    pub addr6: Ip6,
    /// Bits of [`device_flag`].
    pub flags: u32,
}

const _: () = assert!(size_of::<Device>() == 24);
pod!(Device);

/// Bits of [`Device::flags`].
pub mod device_flag {
    /// The device has no link layer header (a tunnel, a tun device).
    pub const NO_ETHERNET: u32 = 1 << 0;
}
