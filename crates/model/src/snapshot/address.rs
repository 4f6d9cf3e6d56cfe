//! Which addresses may be balanced at all.

use std::net::IpAddr;

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
    use super::refused;

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
