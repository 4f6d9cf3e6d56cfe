//! ServiceCIDRs: the ranges that ClusterIPs come from.

use crate::{Addr, Ip4, Ip6, pod};

/// ServiceCIDRs of each family that the programs know.
pub const SERVICE_CIDRS: usize = 4;

/// Addresses that agree with `addr` in the bits of `mask`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Cidr<A> {
    /// The network's address.
    pub addr: A,
    /// Ones for the bits that count; all zero in a row that is not in use.
    pub mask: A,
}

/// Value of the `service_cidrs` map: all ranges, unused ones zero.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServiceCidrs {
    /// Of IPv4.
    pub v4: [Cidr<Ip4>; SERVICE_CIDRS],
    /// Of IPv6.
    pub v6: [Cidr<Ip6>; SERVICE_CIDRS],
}

const _: () = assert!(size_of::<ServiceCidrs>() == SERVICE_CIDRS * 40);
pod!(ServiceCidrs);

impl<A: Addr> Cidr<A> {
    /// In no range's place.
    pub const UNUSED: Self = Self { addr: A::ZERO, mask: A::ZERO };

    /// Whether an address lies in it; none does in an unused one.
    #[inline(always)]
    pub fn contains(&self, addr: &A) -> bool {
        let (net, mask, addr) = (self.addr.words(), self.mask.words(), addr.words());
        let mut differs = 0;
        let mut i = 0;
        while i < A::LEN / 4 {
            differs |= (net[i] ^ addr[i]) & mask[i];
            i += 1;
        }
        // Every range has its first bit, so its first word tells whether it is in use.
        differs == 0 && mask[0] != 0
    }
}

impl ServiceCidrs {
    /// No range at all.
    pub const NONE: Self = Self { v4: [Cidr::UNUSED; SERVICE_CIDRS], v6: [Cidr::UNUSED; SERVICE_CIDRS] };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn an_address_is_in_a_range_by_the_bits_of_its_mask() {
        let ip = |text: &str| Ip4::from(text.parse::<Ipv4Addr>().unwrap());
        let net = Cidr { addr: ip("10.96.0.0"), mask: ip("255.255.240.0") };
        assert!(net.contains(&ip("10.96.0.1")) && net.contains(&ip("10.96.15.255")));
        assert!(!net.contains(&ip("10.96.16.0")) && !net.contains(&ip("0.0.0.0")));
        assert!(!Cidr::UNUSED.contains(&ip("0.0.0.0")) && !Cidr::UNUSED.contains(&ip("10.96.0.1")));
        let ip = |text: &str| Ip6::from(text.parse::<Ipv6Addr>().unwrap());
        let net = Cidr { addr: ip("fd00:96::"), mask: ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:0") };
        assert!(net.contains(&ip("fd00:96::ffff")) && !net.contains(&ip("fd00:96::1:0")));
    }
}
