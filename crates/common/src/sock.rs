//! What the socket path remembers, in the socket itself (socket local storage, freed with the socket).

use crate::{PortBe, pod};

/// One translation of a socket: the backend it really talks to, and the frontend that it believes it talks to.
/// IPv4 addresses are kept IPv4-mapped (RFC 4291 2.5.5.2), so that one layout serves both families.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SockPeer {
    /// Backend address, IPv4-mapped for IPv4.
    pub backend: [u32; 4],
    /// Frontend address.
    pub frontend: [u32; 4],
    /// Backend port.
    pub backend_port: PortBe,
    /// Frontend port; zero marks an empty slot.
    pub frontend_port: PortBe,
    /// Backend id, so that sockets of a backend that went away can be found.
    pub backend_id: u32,
    /// Service id.
    pub service: u32,
}

/// How many services one unconnected UDP socket can talk to at a time before the oldest reply is shown with the
/// backend's own address.
pub const SOCK_PEERS: usize = 8;

/// Value of the `sock_peers` socket storage: the last [`SOCK_PEERS`] translations of an unconnected UDP socket.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SockPeers {
    /// Translations, in no order.
    pub peers: [SockPeer; SOCK_PEERS],
    /// Where the next one goes.
    pub next: u32,
}

const _: () = assert!(size_of::<SockPeer>() == 44);
pod!(SockPeer, SockPeers);
