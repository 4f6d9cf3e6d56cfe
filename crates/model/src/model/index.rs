//! Which services have an address, so that a change of one finds the others that it matters to.

use crate::snapshot::{ServiceName, Spec};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Services by ClusterIP and by address from outside.
#[derive(Default, Debug)]
pub struct AddressIndex {
    cluster_ips: BTreeSet<(IpAddr, ServiceName)>,
    vips: BTreeSet<(IpAddr, ServiceName)>,
}

impl AddressIndex {
    /// The first service by name that has `addr` as its ClusterIP.
    #[must_use]
    pub fn cluster_ip(&self, addr: IpAddr) -> Option<&ServiceName> {
        with(&self.cluster_ips, addr).next()
    }

    /// Adds a service. Returns the services whose addresses from outside this may refuse.
    pub fn add(&mut self, name: &ServiceName, spec: &Spec) -> Vec<ServiceName> {
        self.vips.extend(spec.vips.iter().map(|vip| (vip.addr, name.clone())));
        self.cluster_ips.extend(spec.cluster_ips.iter().map(|addr| (*addr, name.clone())));
        self.users(spec)
    }

    /// Removes a service. Returns the services whose addresses from outside this may allow.
    pub fn remove(&mut self, name: &ServiceName, spec: &Spec) -> Vec<ServiceName> {
        for vip in &spec.vips {
            self.vips.remove(&(vip.addr, name.clone()));
        }
        for addr in &spec.cluster_ips {
            self.cluster_ips.remove(&(*addr, name.clone()));
        }
        self.users(spec)
    }

    fn users(&self, spec: &Spec) -> Vec<ServiceName> {
        spec.cluster_ips.iter().flat_map(|addr| with(&self.vips, *addr)).cloned().collect()
    }
}

fn with(index: &BTreeSet<(IpAddr, ServiceName)>, addr: IpAddr) -> impl Iterator<Item = &ServiceName> {
    let from = (addr, ServiceName::from(""));
    index.range(from..).take_while(move |(a, _)| *a == addr).map(|(_, name)| name)
}
