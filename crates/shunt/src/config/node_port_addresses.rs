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
        Self {
            primary: words.is_empty() || said("primary"),
            localhost: said("localhost"),
            all: said("all"),
            ranges: words.iter().filter_map(|w| value::range(w)).collect(),
        }
    }

    /// Only the primary addresses.
    #[must_use]
    pub fn only_primary(&self) -> bool {
        self.primary && !self.all && self.ranges.is_empty()
    }

    /// Whether an address of the node answers by `all` or a range.
    #[must_use]
    pub fn contains(&self, addr: IpAddr) -> bool {
        self.all || self.ranges.iter().any(|range| range.contains(&addr))
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
    fn words_and_ranges_mix() {
        let both = new(&["primary", "localhost", "10.0.0.0/8", "fd00::1"]);
        assert!(both.primary && both.localhost && !both.all && !both.only_primary());
        assert!(both.contains("fd00::1".parse().unwrap()) && !both.contains("192.0.2.1".parse().unwrap()));
        assert!(new(&["all"]).contains("192.0.2.1".parse().unwrap()));
        assert!(!new(&["10.0.0.0/8"]).primary);
    }
}
