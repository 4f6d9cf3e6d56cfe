//! What service ports have beside their rows and pools: backends that they keep, and source ranges.

use super::Ledger;
use crate::store::{Family, RangeRef};
use ipnet::{IpNet, Ipv4Net};

impl Ledger {
    /// Backends that a service port keeps beside its pools, in place of those that it kept before.
    pub fn keep(&mut self, service: u32, family: Family, ids: &[u32]) {
        ids.iter().for_each(|id| self.name_backend(family, *id));
        let key = (service, family);
        let old = if ids.is_empty() { self.kept.remove(&key) } else { self.kept.insert(key, ids.into()) };
        self.unname_backends(family, &old.unwrap_or_default());
    }

    /// The backends that a service port keeps beside its pools.
    #[must_use]
    pub fn kept(&self, service: u32, family: Family) -> &[u32] {
        self.kept.get(&(service, family)).map_or(&[], |ids| ids)
    }

    /// The source ranges of a service port.
    pub fn sources(&self, service: u32, family: Family) -> impl Iterator<Item = IpNet> {
        let least = IpNet::V4(Ipv4Net::default());
        let from = self.sources.range(RangeRef { service, net: least }..);
        let of = from.take_while(move |r| r.service == service).map(|r| r.net);
        of.filter(move |net| Family::of(net.addr()) == family)
    }
}
