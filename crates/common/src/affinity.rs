//! Session affinity: which backend a client of a service port was given (`sessionAffinity: ClientIP`).

use crate::pod;

/// Key of the `affinity` map.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AffinityKey {
    /// The client's address (one word for IPv4, the rest zero), or the cookie of its network namespace, low word first:
    /// a socket that connects has no address yet, and every pod has a namespace of its own.
    pub client: [u32; 4],
    /// Service id.
    pub service: u32,
    /// One of [`client`].
    pub kind: u32,
}

const _: () = assert!(size_of::<AffinityKey>() == 24);

/// Values of [`AffinityKey::kind`]. The families are apart, since backend ids are.
pub mod client {
    /// An IPv4 address.
    pub const ADDR4: u32 = 4;
    /// An IPv6 address.
    pub const ADDR6: u32 = 6;
    /// A network namespace's cookie; the backend is of IPv4.
    pub const NETNS4: u32 = 0x104;
    /// A network namespace's cookie; the backend is of IPv6.
    pub const NETNS6: u32 = 0x106;
}

/// Value of the `affinity` map.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct AffinityRow {
    /// Backend id. It holds only while the frontend's pool has it: ids are used again.
    pub backend: u32,
    /// When the client last opened a connection, in seconds of the kernel's jiffies clock.
    pub stamp: u32,
}

pod!(AffinityKey, AffinityRow);

impl AffinityRow {
    /// Whether the client may still be given its backend; `timeout` in seconds.
    #[inline(always)]
    pub const fn holds(&self, now: u32, timeout: u32) -> bool {
        now.wrapping_sub(self.stamp) < timeout
    }
}
