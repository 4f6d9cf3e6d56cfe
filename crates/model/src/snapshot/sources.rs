//! Which clients may use a service: `spec.loadBalancerSourceRanges`.

use super::parse_net;
use super::service::Reader;
use crate::objects;
use crate::store::Family;
use ipnet::IpNet;
use std::net::IpAddr;

/// The ranges of a service that limits its clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sources {
    /// All clients but those in the ranges may enter, rather than only those.
    pub deny: bool,
    /// Ranges in canonical form, each once, in order.
    ranges: Box<[IpNet]>,
}

impl Sources {
    /// From the API object; `None` when it limits nobody.
    ///
    /// A range that makes no sense is a problem and the others count. When none is left nobody may enter: whoever wrote
    /// them did not mean everybody.
    pub(super) fn new(service: &objects::Service, read: &mut Reader) -> Option<Box<Self>> {
        let field = service.spec.load_balancer_source_ranges.as_deref().unwrap_or_default();
        let (mut ranges, mut given) = (Vec::new(), false);
        for text in field.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
            given = true;
            match parse_net(text) {
                Some(range) => ranges.push(range.trunc()),
                None => {
                    let what = format!("spec.loadBalancerSourceRanges: {text:?} is no address range");
                    read.problem(what, "correct it; only the others count");
                }
            }
        }
        ranges.sort_unstable();
        ranges.dedup();
        let deny = denies(service, read) && !ranges.is_empty();
        given.then(|| Box::new(Self { deny, ranges: ranges.into() }))
    }

    /// The ranges of a family that its clients are looked up in; `None` when it limits nobody there.
    ///
    /// Ranges of one family say nothing of the other, as in kube-proxy, which has rules of its own for each; a range of all
    /// addresses leaves everybody.
    #[must_use]
    pub fn of(&self, family: Family) -> Option<Vec<IpNet>> {
        let ranges: Vec<IpNet> =
            self.ranges.iter().filter(|r| Family::of(r.addr()) == family).copied().collect();
        let everybody = ranges.iter().any(|r| r.prefix_len() == 0);
        let silent = ranges.is_empty() && !self.ranges.is_empty();
        let limits = if self.deny { !ranges.is_empty() } else { !everybody && !silent };
        limits.then_some(ranges)
    }

    /// Whether a client may enter.
    #[must_use]
    pub fn admit(&self, addr: IpAddr) -> bool {
        let silent = || !self.ranges.iter().any(|r| Family::of(r.addr()) == Family::of(addr));
        !self.ranges.is_empty() && silent() || self.ranges.iter().any(|r| r.contains(&addr)) != self.deny
    }
}

fn denies(service: &objects::Service, read: &mut Reader) -> bool {
    let Some((key, value)) = service.metadata.ours("src-ranges-policy") else { return false };
    match value {
        "deny" => return true,
        "" | "allow" => {}
        other => {
            let what = format!("annotation {key}: {other:?} is unknown");
            read.problem(what, "use allow or deny; allow is taken");
        }
    }
    false
}
