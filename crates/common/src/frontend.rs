//! Frontends: one row for each address, port and protocol that a service answers on.

use crate::{Addr, Ip4, Ip6, PortBe, pod};

/// Key of the `frontends4`/`frontends6` maps.
///
/// The row at the unspecified address and a NodePort's port marks that port for bind protection. The row at port 0 and
/// protocol 0 stands for every port of its address that has no row ([`frontend_flag::WILDCARD`]).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FrontendKey<A> {
    /// The address clients send to.
    pub addr: A,
    /// The port clients send to.
    pub port: PortBe,
    /// IP protocol number, see [`crate::Proto`].
    pub proto: u8,
    /// Always zero.
    pub pad: u8,
}

const _: () = assert!(size_of::<FrontendKey<Ip4>>() == 8 && size_of::<FrontendKey<Ip6>>() == 20);

impl<A: Addr> FrontendKey<A> {
    /// A key with its padding zeroed.
    #[inline(always)]
    pub const fn new(addr: A, port: PortBe, proto: u8) -> Self {
        Self { addr, port, proto, pad: 0 }
    }
}

/// Where a packet or a connect comes from, as far as a service's policies care.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Scope {
    /// From outside the cluster.
    External = 0,
    /// From a pod or from the node itself.
    Internal = 1,
}

/// Number of scopes, and so of pools in a frontend's row.
pub const FRONTEND_SCOPES: usize = 2;

/// The backends that a frontend may pick from in one scope: `len` consecutive slots of the `pool` map, each a
/// backend id. Ids ascend, so that membership is a binary search.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Pool {
    /// Index of the first slot.
    pub offset: u32,
    /// Number of slots; zero means `no backend`.
    pub len: u32,
}

/// Value of the `frontends4`/`frontends6` maps. One update of a row switches both pools at once, so that a packet
/// sees the whole old set of backends or the whole new one.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Frontend {
    /// Service id, never zero in a row that is used. All frontends of one service port share it.
    pub service: u32,
    /// A [`FrontendKind`] as a number; zero is refused.
    pub kind: u8,
    /// How a backend is picked: 0 random, 1 Maglev. Only for listings; programs go by [`frontend_flag::MAGLEV`].
    pub algorithm: u8,
    /// Forwarding mode: 0 SNAT, 1 DSR, 2 hybrid. Only for listings; programs look at [`frontend_flag::DSR`].
    pub mode: u8,
    /// Always zero.
    pub pad: u8,
    /// Bits of [`frontend_flag`].
    pub flags: u32,
    /// Session affinity (ClientIP) timeout in seconds, zero for none.
    pub affinity_timeout: u32,
    /// Indexed by [`Scope`].
    pub pools: [Pool; FRONTEND_SCOPES],
}

const _: () = assert!(size_of::<Frontend>() == 32);
pod!(FrontendKey<Ip4>, FrontendKey<Ip6>, Frontend);

impl Frontend {
    /// The pool for one scope.
    #[inline(always)]
    pub const fn pool(&self, scope: Scope) -> Pool {
        match scope {
            Scope::External => self.pools[0],
            Scope::Internal => self.pools[1],
        }
    }

    /// How many slots a pool of this row has. With [`frontend_flag::MAGLEV`] the `len` ascending ids are followed by the same
    /// ids in order of address and port, which is what the table's values count by, and by the table's
    /// [`TableRef`](crate::maglev::TableRef).
    #[inline(always)]
    pub const fn extent(&self, pool: Pool) -> u32 {
        if self.flags & frontend_flag::MAGLEV != 0 && pool.len > 0 { pool.len * 2 + 1 } else { pool.len }
    }
}

/// Bits of [`Frontend::flags`].
pub mod frontend_flag {
    /// The row only marks a NodePort's port at the unspecified address (bind protection); no packet is balanced by it.
    pub const MARKER: u32 = 1 << 0;
    /// Traffic from outside may use this frontend. Never set on a ClusterIP unless asked for.
    pub const EXTERNAL: u32 = 1 << 1;
    /// An empty external pool drops silently: there are endpoints, on other nodes (externalTrafficPolicy Local).
    /// Without the bit an empty pool is answered by a reset or an ICMP error.
    pub const DROP_EXTERNAL: u32 = 1 << 2;
    /// The same for the internal pool (internalTrafficPolicy Local).
    pub const DROP_INTERNAL: u32 = 1 << 3;
    /// Only clients in the service's rows of the `source_ranges` map may use this frontend, in both scopes.
    pub const SOURCE_RANGES: u32 = 1 << 4;
    /// With [`SOURCE_RANGES`]: all clients but those in the rows may.
    pub const SOURCE_DENY: u32 = 1 << 5;
    /// With [`SOURCE_RANGES`]: the node's own addresses may use it, so that its sockets are translated; a socket in a pod
    /// is left to the packet path, which sees the pod's address.
    pub const NODE_ALLOWED: u32 = 1 << 6;
    /// Only sockets of the node itself may use this frontend: a NodePort on a loopback address. Never together with
    /// [`EXTERNAL`]; packets never match it (CVE-2020-8558).
    pub const HOST_ONLY: u32 = 1 << 7;
    /// The row at port 0 and protocol 0 of a virtual address: ports that no service has are refused there, and ICMP echo
    /// is answered. No packet is balanced by it.
    pub const WILDCARD: u32 = 1 << 8;
    /// Each pool that is not empty has a Maglev table, see [`Frontend::extent`](crate::Frontend::extent).
    pub const MAGLEV: u32 = 1 << 9;
    /// Remote backends answer clients outside directly (DSR). A row that marks a NodePort has the bit and a pool too: the
    /// node that a client asked may be another one, whose address this node does not know.
    pub const DSR: u32 = 1 << 12;
}

/// What kind of address a frontend is; the numbers are part of the ABI.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum FrontendKind {
    /// `spec.clusterIPs`.
    ClusterIp = 1,
    /// A node address with `spec.ports[].nodePort`.
    NodePort = 2,
    /// `spec.externalIPs`.
    ExternalIp = 3,
    /// `status.loadBalancer.ingress[].ip` with ipMode VIP.
    LoadBalancer = 4,
    /// A pod's `hostPort`.
    HostPort = 5,
}

impl FrontendKind {
    /// From the number in a row.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::ClusterIp),
            2 => Some(Self::NodePort),
            3 => Some(Self::ExternalIp),
            4 => Some(Self::LoadBalancer),
            5 => Some(Self::HostPort),
            _ => None,
        }
    }
    /// The word in listings, as Cilium spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClusterIp => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::ExternalIp => "ExternalIPs",
            Self::LoadBalancer => "LoadBalancer",
            Self::HostPort => "HostPort",
        }
    }
}
