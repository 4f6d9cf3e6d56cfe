//! ServiceCIDRs: between the model's ranges and the one row that programs read.

use crate::{Error, Table};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use shunt_common::maps::SERVICE_CIDRS as MAP;
use shunt_common::{Addr, Cidr, Ip4, Ip6, SERVICE_CIDRS, ServiceCidrs};
use shunt_model::store::MapError;
use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

/// The row of all ranges.
#[derive(Debug)]
pub(crate) struct Cidrs(Table<u32, ServiceCidrs>);

impl Cidrs {
    pub(crate) fn new(map: impl Fn(&'static str) -> Result<OwnedFd, Error>) -> Result<Self, Error> {
        Ok(Self(Table::new(map(MAP)?, MAP)?))
    }

    pub(super) fn put(&self, nets: &BTreeSet<IpNet>) -> Result<(), MapError> {
        let row = row(nets).ok_or(MapError::Full { map: MAP, max: SERVICE_CIDRS as u32, key: "nothing" })?;
        self.0.set(&0, &row).map_err(super::kernel(MAP, "writing"))
    }

    pub(super) fn all(&self) -> io::Result<BTreeSet<IpNet>> {
        Ok(nets(&self.0.get(&0)?.unwrap_or(ServiceCidrs::NONE)))
    }
}

/// `None` when there are more than fit.
fn row(nets: &BTreeSet<IpNet>) -> Option<ServiceCidrs> {
    let (mut row, mut used4, mut used6) = (ServiceCidrs::NONE, 0, 0);
    for net in nets {
        match net {
            IpNet::V4(net) => {
                let (addr, mask) = (net.network().into(), net.netmask().into());
                *row.v4.get_mut(used4)? = Cidr { addr, mask };
                used4 += 1;
            }
            IpNet::V6(net) => {
                let (addr, mask) = (net.network().into(), net.netmask().into());
                *row.v6.get_mut(used6)? = Cidr { addr, mask };
                used6 += 1;
            }
        }
    }
    Some(row)
}

/// Rows that no agent of ours writes are not told.
fn nets(row: &ServiceCidrs) -> BTreeSet<IpNet> {
    let v4 = row.v4.iter().filter(|c| c.mask != Ip4::ZERO).filter_map(|c| {
        Some(Ipv4Net::with_netmask(Ipv4Addr::from(c.addr), Ipv4Addr::from(c.mask)).ok()?.into())
    });
    let v6 = row.v6.iter().filter(|c| c.mask != Ip6::ZERO).filter_map(|c| {
        Some(Ipv6Net::with_netmask(Ipv6Addr::from(c.addr), Ipv6Addr::from(c.mask)).ok()?.into())
    });
    v4.chain(v6).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_the_same_after_a_way_to_the_row_and_back() {
        let all = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect::<BTreeSet<IpNet>>();
        let some = all(&["10.96.0.0/16", "10.0.0.0/8", "192.0.2.1/32", "fd00:96::/112", "fd00::/8"]);
        let row = row(&some).unwrap();
        assert_eq!(nets(&row), some);
        assert!(row.v4[0].contains(&"10.77.0.1".parse::<Ipv4Addr>().unwrap().into()));
        assert_eq!(nets(&ServiceCidrs::NONE), all(&[]));
    }

    #[test]
    fn more_ranges_than_fit_are_refused_whole() {
        let many: BTreeSet<IpNet> = (0..5).map(|i| format!("10.{i}.0.0/16").parse().unwrap()).collect();
        assert_eq!(row(&many), None);
    }
}
