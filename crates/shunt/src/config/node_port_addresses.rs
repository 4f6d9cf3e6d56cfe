//! `nodePort.addresses`: which addresses of the node answer NodePorts (`nodePortAddresses`, KEP-6032).

use super::value;
use ipnet::IpNet;
use std::net::IpAddr;

/// Any mix of words and ranges; each adds addresses.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct NodePortAddresses {
    /// The node's primary address of each family. Also when nothing is said, as in kube-proxy's nftables mode.
    pub primary: bool,
    /// Loopback.
    pub localhost: bool,
    /// Every address of the node.
    pub all: bool,
    /// Addresses of the node in these ranges.
    pub ranges: Vec<IpNet>,
}

impl NodePortAddresses {
    /// From words that have been checked.
    pub(super) fn new(words: &[String]) -> Self {
        let said = |word: &str| words.iter().any(|w| w == word);
        let ranges: Vec<IpNet> = words.iter().filter_map(|w| value::range(w)).collect();
        // kube-proxy's guide gives 127.0.0.0/8 for NodePorts on loopback.
        let loopback = ranges.iter().any(|range| range.network().is_loopback());
        Self {
            primary: words.is_empty() || said("primary"),
            localhost: said("localhost") || loopback,
            all: said("all"),
            ranges,
        }
    }

    /// Only the primary addresses.
    #[must_use]
    pub fn only_primary(&self) -> bool {
        self.primary && !self.all && self.ranges.is_empty()
    }

    /// Those of the node's addresses that answer, loopback aside.
    #[must_use]
    pub fn select(&self, addresses: &[IpAddr], primary: &[IpAddr]) -> Vec<IpAddr> {
        let is_primary = |addr: &IpAddr| self.primary && primary.contains(addr);
        let in_range = |addr: &IpAddr| self.ranges.iter().any(|range| range.contains(addr));
        addresses.iter().filter(|a| self.all || is_primary(a) || in_range(a)).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(words: &[&str]) -> NodePortAddresses {
        NodePortAddresses::new(&words.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn nothing_said_means_the_primary_addresses() {
        assert_eq!(new(&[]), NodePortAddresses { primary: true, ..NodePortAddresses::default() });
        assert!(new(&[]).only_primary() && new(&["primary", "localhost"]).only_primary());
    }

    #[test]
    fn each_word_and_range_adds_addresses_of_the_node() {
        let parse = |words: &[&str]| words.iter().map(|w| w.parse().unwrap()).collect::<Vec<IpAddr>>();
        let node = ["192.0.2.1", "10.0.0.1", "172.16.0.1", "fd00::1", "2001:db8::1"];
        let primary = parse(&["192.0.2.1", "fd00::1"]);
        for (words, localhost, want) in [
            (&[][..], false, &["192.0.2.1", "fd00::1"][..]),
            (&["primary"], false, &["192.0.2.1", "fd00::1"]),
            (&["localhost"], true, &[]),
            (&["127.0.0.0/8"], true, &[]),
            (&["::1"], true, &[]),
            (&["all"], false, &node),
            (&["all", "localhost", "primary"], true, &node),
            (&["10.0.0.0/8"], false, &["10.0.0.1"]),
            (
                &["10.0.0.0/8", "172.16.0.1", "2001:db8::/32"],
                false,
                &["10.0.0.1", "172.16.0.1", "2001:db8::1"],
            ),
            (&["primary", "localhost", "10.0.0.0/8"], true, &["192.0.2.1", "10.0.0.1", "fd00::1"]),
            (&["0.0.0.0/0"], false, &["192.0.2.1", "10.0.0.1", "172.16.0.1"]),
            (&["203.0.113.0/24"], false, &[]),
        ] {
            let asked = new(words);
            assert_eq!(asked.select(&parse(&node), &primary), parse(want), "{words:?}");
            assert_eq!(asked.localhost, localhost, "{words:?}");
        }
    }

    #[test]
    fn only_the_primary_addresses_need_no_look_at_the_interfaces() {
        for (words, only) in
            [(&["primary"][..], true), (&["primary", "all"], false), (&["10.0.0.0/8"], false)]
        {
            assert_eq!(new(words).only_primary(), only, "{words:?}");
        }
    }
}
