//! Between `std::net` and the rows of either family.

use super::{BackendRow, Family, FrontendRef};
use shunt_common::{Backend, BackendState, FrontendKey, Ip4, Ip6, PortBe, Proto};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

impl Family {
    /// Both families.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// The family of an address.
    #[must_use]
    pub const fn of(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// `0.0.0.0` or `::`.
    #[must_use]
    pub const fn unspecified(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }

    /// `127.0.0.1` or `::1`.
    #[must_use]
    pub const fn loopback(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Self::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
        }
    }

    /// `IPv4` or `IPv6`, as Kubernetes spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

impl FrontendRef {
    /// The key of a frontend; `port` in host order.
    #[must_use]
    pub fn new(addr: IpAddr, port: u16, proto: Proto) -> Self {
        let port = PortBe::new(port);
        match addr {
            IpAddr::V4(a) => Self::V4(FrontendKey::new(Ip4::from(a), port, proto as u8)),
            IpAddr::V6(a) => Self::V6(FrontendKey::new(Ip6::from(a), port, proto as u8)),
        }
    }

    /// The key of the row that stands for every port of an address that has none.
    #[must_use]
    pub fn wildcard(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(a) => Self::V4(FrontendKey::new(Ip4::from(a), PortBe::new(0), 0)),
            IpAddr::V6(a) => Self::V6(FrontendKey::new(Ip6::from(a), PortBe::new(0), 0)),
        }
    }

    /// Its family.
    #[must_use]
    pub const fn family(&self) -> Family {
        match self {
            Self::V4(_) => Family::V4,
            Self::V6(_) => Family::V6,
        }
    }

    /// Its address.
    #[must_use]
    pub fn addr(&self) -> IpAddr {
        match self {
            Self::V4(k) => IpAddr::V4(k.addr.into()),
            Self::V6(k) => IpAddr::V6(k.addr.into()),
        }
    }

    /// Its port, host order.
    #[must_use]
    pub const fn port(&self) -> u16 {
        match self {
            Self::V4(k) => k.port.host(),
            Self::V6(k) => k.port.host(),
        }
    }

    /// Its IP protocol number.
    #[must_use]
    pub const fn proto(&self) -> u8 {
        match self {
            Self::V4(k) => k.proto,
            Self::V6(k) => k.proto,
        }
    }
}

impl BackendRow {
    /// A row with the default weight and no zone; `port` in host order, `flags` as [`Backend::flags`].
    #[must_use]
    pub fn new(addr: IpAddr, port: u16, proto: Proto, state: BackendState, flags: u32) -> Self {
        let (port, proto, state) = (PortBe::new(port), proto as u8, state as u8);
        match addr {
            IpAddr::V4(a) => {
                Self::V4(Backend { addr: a.into(), port, proto, state, flags, weight: 0, zone: 0 })
            }
            IpAddr::V6(a) => {
                Self::V6(Backend { addr: a.into(), port, proto, state, flags, weight: 0, zone: 0 })
            }
        }
    }

    /// The row with a weight for Maglev; zero is the default of 100.
    #[must_use]
    pub const fn with_weight(mut self, weight: u16) -> Self {
        match &mut self {
            Self::V4(b) => b.weight = weight,
            Self::V6(b) => b.weight = weight,
        }
        self
    }

    /// Its weight for Maglev; zero is the default of 100.
    #[must_use]
    pub const fn weight(&self) -> u16 {
        match self {
            Self::V4(b) => b.weight,
            Self::V6(b) => b.weight,
        }
    }

    /// The row with a zone; zero is none.
    #[must_use]
    pub const fn with_zone(mut self, zone: u16) -> Self {
        match &mut self {
            Self::V4(b) => b.zone = zone,
            Self::V6(b) => b.zone = zone,
        }
        self
    }

    /// Its family.
    #[must_use]
    pub const fn family(&self) -> Family {
        match self {
            Self::V4(_) => Family::V4,
            Self::V6(_) => Family::V6,
        }
    }

    /// The endpoint's address.
    #[must_use]
    pub fn addr(&self) -> IpAddr {
        match self {
            Self::V4(b) => IpAddr::V4(b.addr.into()),
            Self::V6(b) => IpAddr::V6(b.addr.into()),
        }
    }

    /// The endpoint's port, host order.
    #[must_use]
    pub const fn port(&self) -> u16 {
        match self {
            Self::V4(b) => b.port.host(),
            Self::V6(b) => b.port.host(),
        }
    }

    /// The endpoint's IP protocol number.
    #[must_use]
    pub const fn proto(&self) -> u8 {
        match self {
            Self::V4(b) => b.proto,
            Self::V6(b) => b.proto,
        }
    }

    /// Its state, `None` when the row is empty.
    #[must_use]
    pub const fn state(&self) -> Option<BackendState> {
        match self {
            Self::V4(b) => BackendState::from_number(b.state),
            Self::V6(b) => BackendState::from_number(b.state),
        }
    }

    /// Whether the endpoint is on this node.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        match self {
            Self::V4(b) => b.is_local(),
            Self::V6(b) => b.is_local(),
        }
    }
}
