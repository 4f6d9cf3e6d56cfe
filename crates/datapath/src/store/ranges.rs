//! Source ranges: between the model's ranges and the keys of the tries.

use crate::{Error, Table, maps as specs};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use shunt_common::maps::{SOURCE_RANGES4, SOURCE_RANGES6};
use shunt_common::{Addr, Ip4, Ip6, RangeKey};
use shunt_model::store::{MapError, RangeRef};
use std::io;
use std::os::fd::OwnedFd;

/// The tries of both families.
#[derive(Debug)]
pub(crate) struct Ranges {
    v4: Table<RangeKey<Ip4>, u32>,
    v6: Table<RangeKey<Ip6>, u32>,
}

impl Ranges {
    pub(crate) fn new(map: impl Fn(&'static str) -> Result<OwnedFd, Error>) -> Result<Self, Error> {
        Ok(Self {
            v4: Table::new(map(SOURCE_RANGES4)?, SOURCE_RANGES4)?,
            v6: Table::new(map(SOURCE_RANGES6)?, SOURCE_RANGES6)?,
        })
    }

    pub(crate) fn max_entries(&self) -> u32 {
        self.v4.max_entries().min(self.v6.max_entries())
    }

    pub(super) fn put(&self, range: &RangeRef) -> Result<(), MapError> {
        let (written, map, max) = match range.net {
            IpNet::V4(net) => {
                (self.v4.set(&key4(range.service, net), &1), SOURCE_RANGES4, self.v4.max_entries())
            }
            IpNet::V6(net) => {
                (self.v6.set(&key6(range.service, net), &1), SOURCE_RANGES6, self.v6.max_entries())
            }
        };
        written.map_err(|e| match e.raw_os_error() {
            // What a full trie says, and what a full hash map would.
            Some(libc::ENOSPC | libc::E2BIG) => MapError::Full { map, max, key: specs::RANGE_MAX },
            _ => super::kernel(map, "writing a source range")(e),
        })
    }

    pub(super) fn delete(&self, range: &RangeRef) -> Result<(), MapError> {
        let (removed, map) = match range.net {
            IpNet::V4(net) => (self.v4.remove(&key4(range.service, net)), SOURCE_RANGES4),
            IpNet::V6(net) => (self.v6.remove(&key6(range.service, net)), SOURCE_RANGES6),
        };
        removed.map(|_| ()).map_err(super::kernel(map, "removing a source range"))
    }

    /// Every range. Rows that no agent of ours writes are not told.
    pub(crate) fn all(&self) -> io::Result<Vec<RangeRef>> {
        let v4 = self.v4.keys()?.into_iter().filter_map(|key| {
            let net = Ipv4Net::new(key.addr.into(), bits(&key)?).ok()?;
            Some(RangeRef { service: key.service, net: net.into() })
        });
        let v6 = self.v6.keys()?.into_iter().filter_map(|key| {
            let net = Ipv6Net::new(key.addr.into(), bits(&key)?).ok()?;
            Some(RangeRef { service: key.service, net: net.into() })
        });
        Ok(v4.chain(v6).collect())
    }
}

fn key4(service: u32, net: Ipv4Net) -> RangeKey<Ip4> {
    RangeKey::new(service, net.network().into(), net.prefix_len().into())
}

fn key6(service: u32, net: Ipv6Net) -> RangeKey<Ip6> {
    RangeKey::new(service, net.network().into(), net.prefix_len().into())
}

fn bits<A: Addr>(key: &RangeKey<A>) -> Option<u8> {
    u8::try_from(key.prefix_len.checked_sub(32)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trie_of_the_kernel_is_read_key_by_key_and_says_when_it_is_full() {
        const LPM_TRIE: u32 = 11;
        const NO_PREALLOC: u32 = 1;
        let map = |name: &'static str| {
            let key = if name == SOURCE_RANGES4 { 12 } else { 24 };
            crate::sys::map::create(LPM_TRIE, key, 4, 8, NO_PREALLOC)
                .map_err(Error::system("creating a trie"))
        };
        let ranges = Ranges::new(map).unwrap();
        assert_eq!(ranges.all().unwrap(), []);
        let nets = [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "10.1.0.0/16",
            "192.0.2.1/32",
            "::/0",
            "2001:db8::/32",
            "fd00::1/128",
        ];
        let mut want: Vec<RangeRef> = [1, 7]
            .into_iter()
            .flat_map(|service| nets.map(|net| RangeRef { service, net: net.parse().unwrap() }))
            .collect();
        for range in want.iter().chain(&want) {
            ranges.put(range).unwrap();
        }
        let mut have = ranges.all().unwrap();
        have.sort_unstable();
        want.sort_unstable();
        assert_eq!(have, want);
        let more = RangeRef { service: 9, net: "10.0.0.0/8".parse().unwrap() };
        let full = MapError::Full { map: SOURCE_RANGES4, max: 8, key: "bpf.lbSourceRangeMapMax" };
        assert_eq!(ranges.put(&more), Err(full));
        for range in want.iter().chain(&want) {
            ranges.delete(range).unwrap();
        }
        assert_eq!(ranges.all().unwrap(), []);
    }

    #[test]
    fn a_range_is_the_same_after_a_way_to_its_key_and_back() {
        for text in ["0.0.0.0/0", "10.0.0.0/8", "192.0.2.1/32"] {
            let net: Ipv4Net = text.parse().unwrap();
            let key = key4(7, net);
            assert_eq!((key.service, key.prefix_len), (7, 32 + u32::from(net.prefix_len())));
            assert_eq!(Ipv4Net::new(key.addr.into(), bits(&key).unwrap()).unwrap(), net);
        }
        let net: Ipv6Net = "2001:db8::/32".parse().unwrap();
        let key = key6(7, net);
        assert_eq!(Ipv6Net::new(key.addr.into(), bits(&key).unwrap()).unwrap(), net);
        assert_eq!(bits(&RangeKey { prefix_len: 31, ..key }), None);
    }
}
