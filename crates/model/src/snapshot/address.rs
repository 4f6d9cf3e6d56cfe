//! How objects write addresses, and which may be balanced at all.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr};

/// The address that a field of an object says.
///
/// The API server has let in, and keeps, IPv4 addresses with leading zeros, which it reads in decimal; so does kube-proxy
/// (`k8s.io/utils/net.ParseIPSloppy`). Taken as octal, as C libraries do, they would be somebody else's (CVE-2021-29923).
#[must_use]
pub fn parse_address(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| decimal(text).map(IpAddr::V4))
}

/// The range of addresses that a field of an object says, a lone address being a range of one.
#[must_use]
pub fn parse_net(text: &str) -> Option<IpNet> {
    let Some((addr, len)) = text.split_once('/') else { return parse_address(text).map(IpNet::from) };
    IpNet::new(parse_address(addr)?, number(len)?).ok()
}

fn decimal(text: &str) -> Option<Ipv4Addr> {
    let mut parts = text.split('.');
    let mut octets = [0; 4];
    for octet in &mut octets {
        *octet = number(parts.next()?)?;
    }
    parts.next().is_none().then(|| octets.into())
}

/// Digits alone: the standard library's reading lets a sign pass.
fn number(text: &str) -> Option<u8> {
    text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
}

/// Why packets may never be sent to or answered on `addr`, whatever an object says; `None` for a usable address.
///
/// An endpoint on a loopback or link-local address would let whoever may write EndpointSlices reach services of the
/// node itself or the cloud's metadata server through any service (DESIGN, safety rules).
#[must_use]
pub fn refused(addr: IpAddr) -> Option<&'static str> {
    let link_local = match addr {
        IpAddr::V4(a) => a.is_link_local(),
        IpAddr::V6(a) => a.is_unicast_link_local(),
    };
    match addr {
        _ if addr.is_unspecified() => Some("is the unspecified address"),
        _ if addr.is_loopback() => Some("is a loopback address"),
        _ if addr.is_multicast() => Some("is a multicast address"),
        _ if link_local => Some("is a link-local address"),
        IpAddr::V4(a) if a.is_broadcast() => Some("is the broadcast address"),
        IpAddr::V6(a) if a.to_ipv4_mapped().is_some() => Some("is an IPv4 address in IPv6 clothes"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{parse_address, parse_net, refused};
    use std::net::IpAddr;

    #[test]
    fn leading_zeros_mean_nothing_and_nothing_else_is_let_pass() {
        for (text, plain) in [
            ("010.0.0.010", "10.0.0.10"),
            ("0203.000.113.06", "203.0.113.6"),
            ("0000000010.8.09.1", "10.8.9.1"),
            ("10.0.0.1", "10.0.0.1"),
            ("fd00::1", "fd00::1"),
        ] {
            assert_eq!(parse_address(text), Some(plain.parse::<IpAddr>().unwrap()), "{text}");
        }
        for bad in [
            "",
            "1.2.3",
            "1.2.3.4.5",
            "1..3.4",
            "+1.2.3.4",
            "0x10.0.0.1",
            "1.2.3.0256",
            " 1.2.3.4",
            "1.2.3.4/32",
        ] {
            assert_eq!(parse_address(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_range_is_an_address_and_the_bits_that_count() {
        for (text, plain) in [
            ("010.0.0.0/8", "10.0.0.0/8"),
            ("010.0.0.1", "10.0.0.1/32"),
            ("fd00::/8", "fd00::/8"),
            ("fd00::1", "fd00::1/128"),
        ] {
            assert_eq!(parse_net(text), Some(plain.parse().unwrap()), "{text}");
        }
        for bad in ["", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/8/8", "fd00::/129"] {
            assert_eq!(parse_net(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_addresses_that_a_pod_can_have_are_usable() {
        for good in ["10.0.0.1", "192.168.1.1", "8.8.8.8", "fd00::1", "2001:db8::1"] {
            assert_eq!(refused(good.parse().unwrap()), None, "{good}");
        }
        for bad in [
            "0.0.0.0",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
        ] {
            assert!(refused(bad.parse().unwrap()).is_some(), "{bad}");
        }
    }
}
