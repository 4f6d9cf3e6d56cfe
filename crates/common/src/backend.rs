//! Backends: one row for each endpoint address, port and protocol, shared by all services that point at it.

use crate::{Addr, Ip4, Ip6, PortBe, pod};

/// Value of the `backends4`/`backends6` arrays, indexed by backend id. Id zero is never used.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Backend<A> {
    /// The endpoint's address.
    pub addr: A,
    /// The endpoint's port.
    pub port: PortBe,
    /// IP protocol number.
    pub proto: u8,
    /// A [`BackendState`] as a number; zero means that no backend has this id.
    pub state: u8,
    /// Bits of [`Self::LOCAL`].
    pub flags: u32,
    /// Weight for Maglev; zero means the default of 100.
    pub weight: u16,
    /// Zone, as the agent numbers them; zero is unknown.
    pub zone: u16,
}

const _: () = assert!(size_of::<Backend<Ip4>>() == 16 && size_of::<Backend<Ip6>>() == 28);
pod!(Backend<Ip4>, Backend<Ip6>);

impl<A: Addr> Backend<A> {
    /// Flag: the endpoint is on this node, so its packets go up the stack with the client's address kept.
    pub const LOCAL: u32 = 1;
    /// The empty row.
    pub const ZERO: Self =
        Self { addr: A::ZERO, port: PortBe(0), proto: 0, state: 0, flags: 0, weight: 0, zone: 0 };

    /// Whether the endpoint is on this node.
    #[inline(always)]
    pub const fn is_local(&self) -> bool {
        self.flags & Self::LOCAL != 0
    }
}

/// The state of a backend, after the conditions of its EndpointSlice (KEP-1672).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum BackendState {
    /// Takes new flows.
    Active = 1,
    /// Terminating but still serving: keeps its flows, takes new ones only when nothing is active.
    Terminating = 2,
    /// Terminating and not serving: keeps its flows until it is gone.
    TerminatingNotServing = 3,
}

impl BackendState {
    /// From the number in a row; `None` for an unused id.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Active),
            2 => Some(Self::Terminating),
            3 => Some(Self::TerminatingNotServing),
            _ => None,
        }
    }
    /// The word in listings, as Cilium spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Terminating => "terminating",
            Self::TerminatingNotServing => "terminating-not-serving",
        }
    }
}
