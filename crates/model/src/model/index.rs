//! Which services have an address, so that a change of one finds the others that it matters to.

use crate::snapshot::{ServiceName, Spec};
use std::collections::HashMap;
use std::net::IpAddr;

/// Services by ClusterIP and by address from outside.
#[derive(Default, Debug)]
pub struct AddressIndex {
    cluster_ips: HashMap<IpAddr, Vec<ServiceName>>,
    vips: HashMap<IpAddr, Vec<ServiceName>>,
}

impl AddressIndex {
    /// The first service by name that has `addr` as its ClusterIP.
    #[must_use]
    pub fn cluster_ip(&self, addr: IpAddr) -> Option<&str> {
        self.cluster_ips.get(&addr)?.iter().min().map(|n| &**n)
    }

    /// Adds a service. Returns the services whose addresses from outside this may refuse.
    pub fn add(&mut self, name: &ServiceName, spec: &Spec) -> Vec<ServiceName> {
        for vip in &spec.vips {
            self.vips.entry(vip.addr).or_default().push(name.clone());
        }
        for addr in &spec.cluster_ips {
            self.cluster_ips.entry(*addr).or_default().push(name.clone());
        }
        self.users(spec)
    }

    /// Removes a service. Returns the services whose addresses from outside this may allow.
    pub fn remove(&mut self, name: &ServiceName, spec: &Spec) -> Vec<ServiceName> {
        for vip in &spec.vips {
            remove(&mut self.vips, vip.addr, name);
        }
        for addr in &spec.cluster_ips {
            remove(&mut self.cluster_ips, *addr, name);
        }
        self.users(spec)
    }

    fn users(&self, spec: &Spec) -> Vec<ServiceName> {
        spec.cluster_ips.iter().filter_map(|a| self.vips.get(a)).flatten().cloned().collect()
    }
}

fn remove(index: &mut HashMap<IpAddr, Vec<ServiceName>>, addr: IpAddr, name: &ServiceName) {
    if let Some(names) = index.get_mut(&addr) {
        names.retain(|n| n != name);
        if names.is_empty() {
            index.remove(&addr);
        }
    }
}
