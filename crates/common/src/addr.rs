//! Addresses, ports and protocols as they stand in a packet.

use crate::pod;

/// An IP address of one family, in network byte order, as 32-bit words that eBPF can compare and add.
///
/// The two implementations let every key, value and program be written once and compiled for both families.
pub trait Addr: Copy + PartialEq + Eq + core::fmt::Debug + 'static {
    /// Bytes in an address.
    const LEN: usize;
    /// 4 or 6.
    const VERSION: u8;
    /// All zero: the unspecified address.
    const ZERO: Self;
    /// The address as words in network byte order.
    fn words(&self) -> &[u32];
}

/// An IPv4 address in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Ip4(pub [u32; 1]);

/// An IPv6 address in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Ip6(pub [u32; 4]);

pod!(Ip4, Ip6);

impl Addr for Ip4 {
    const LEN: usize = 4;
    const VERSION: u8 = 4;
    const ZERO: Self = Self([0]);
    #[inline(always)]
    fn words(&self) -> &[u32] {
        &self.0
    }
}

impl Addr for Ip6 {
    const LEN: usize = 16;
    const VERSION: u8 = 6;
    const ZERO: Self = Self([0; 4]);
    #[inline(always)]
    fn words(&self) -> &[u32] {
        &self.0
    }
}

/// A transport port in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct PortBe(pub u16);

pod!(PortBe);

impl PortBe {
    /// From a port number in host order.
    #[inline(always)]
    pub const fn new(host: u16) -> Self {
        Self(host.to_be())
    }
    /// The port number in host order.
    #[inline(always)]
    pub const fn host(self) -> u16 {
        u16::from_be(self.0)
    }
}

/// IP protocol numbers (IANA) that Shunt knows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Proto {
    /// ICMP (RFC 792).
    Icmp = 1,
    /// TCP (RFC 9293).
    Tcp = 6,
    /// UDP (RFC 768).
    Udp = 17,
    /// ICMPv6 (RFC 4443).
    Icmp6 = 58,
    /// SCTP (RFC 9260).
    Sctp = 132,
}

impl Proto {
    /// From the number in an IP header; `None` for a protocol that Shunt passes by.
    #[inline(always)]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Icmp),
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            58 => Some(Self::Icmp6),
            132 => Some(Self::Sctp),
            _ => None,
        }
    }
    /// The name that Kubernetes and Cilium's listings use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Icmp => "ICMP",
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Icmp6 => "ICMPv6",
            Self::Sctp => "SCTP",
        }
    }
}

#[cfg(any(test, feature = "user"))]
mod std_net {
    use super::{Ip4, Ip6};
    use std::net::{Ipv4Addr, Ipv6Addr};

    impl From<Ipv4Addr> for Ip4 {
        fn from(a: Ipv4Addr) -> Self {
            Self([u32::from_ne_bytes(a.octets())])
        }
    }
    impl From<Ip4> for Ipv4Addr {
        fn from(a: Ip4) -> Self {
            Self::from(a.0[0].to_ne_bytes())
        }
    }
    impl From<Ipv6Addr> for Ip6 {
        fn from(a: Ipv6Addr) -> Self {
            let o = a.octets();
            let word = |i: usize| u32::from_ne_bytes([o[i], o[i + 1], o[i + 2], o[i + 3]]);
            Self([word(0), word(4), word(8), word(12)])
        }
    }
    impl From<Ip6> for Ipv6Addr {
        fn from(a: Ip6) -> Self {
            let mut o = [0; 16];
            for (to, from) in o.chunks_exact_mut(4).zip(a.0) {
                to.copy_from_slice(&from.to_ne_bytes());
            }
            Self::from(o)
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn addresses_keep_the_order_of_the_wire() {
            let a: Ipv4Addr = "10.96.0.1".parse().unwrap();
            assert_eq!(Ip4::from(a).0[0].to_ne_bytes(), [10, 96, 0, 1]);
            assert_eq!(Ipv4Addr::from(Ip4::from(a)), a);
            let b: Ipv6Addr = "fd00:10::ffee".parse().unwrap();
            assert_eq!(Ipv6Addr::from(Ip6::from(b)), b);
            assert_eq!(crate::PortBe::new(80).0.to_ne_bytes(), [0, 80]);
        }
    }
}
