//! The snapshot: everything the API server has told us, in the compact form that the model keeps.
//!
//! Conversion is where bad input ends: what comes out of here is well formed, and what was not is a [`Problem`].
//!
//! [`Problem`]: crate::Problem

mod address;
mod exposure;
mod health_port;
mod hints;
mod node;
mod pod;
mod policy;
mod selector;
mod service;
mod service_cidr;
mod slice;
mod sources;

use address::parse_net;
pub use address::{parse_address, refused};
pub use exposure::{Nodes, Types};
pub use hints::{Hinted, Hints, Zone};
pub use node::NodeState;
pub use pod::{Hosts, host_ports, pod_name, whose};
pub use policy::{Mode, Policy, Reach};
pub use selector::Selector;
pub use service::{PortSpec, Spec, Vip};
pub use service_cidr::ServiceCidrs;
pub use slice::{Endpoint, Slice, SlicePort, service_name};
pub use sources::Sources;

use shunt_common::Proto;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// `namespace/name` of a service. One allocation however often it is kept.
pub type ServiceName = Arc<str>;

/// Words that stand in many objects (port names, zones), each kept once.
#[derive(Default, Debug)]
pub struct Words {
    known: HashSet<Arc<str>>,
    /// How many words make the next cleaning worth its while.
    clean_at: usize,
    zones: HashMap<Box<str>, Zone>,
    /// The numbers that zones have.
    numbers: HashSet<u16>,
}

impl Words {
    /// The one copy of `word`.
    pub fn get(&mut self, word: &str) -> Arc<str> {
        if let Some(known) = self.known.get(word) {
            return known.clone();
        }
        if self.known.len() >= self.clean_at {
            // Services come and go for months; words that only we still hold are dropped.
            self.known.retain(|w| Arc::strong_count(w) > 1);
            self.clean_at = (self.known.len() * 2).max(1024);
        }
        let word: Arc<str> = word.into();
        self.known.insert(word.clone());
        word
    }

    /// The number of a zone, a new one for a new zone while there are any left. It follows from the name, so that the rows
    /// of backends keep theirs over a restart, whatever comes first then; of two that would have the same, the later has the
    /// next that is free.
    pub fn zone(&mut self, name: &str) -> Zone {
        if let Some(known) = self.zones.get(name) {
            return *known;
        }
        let first = number(name);
        let mut all = (first..=u16::MAX).chain(1..first);
        // Zero, which is no zone, is not among them.
        let Some(number) = all.find(|n| !self.numbers.contains(n)) else { return Zone::default() };
        self.numbers.insert(number);
        self.zones.insert(name.into(), Zone(number));
        Zone(number)
    }

    /// The number of a zone that some endpoint or hint has named.
    #[must_use]
    pub fn known_zone(&self, name: Option<&str>) -> Zone {
        name.and_then(|name| self.zones.get(name)).copied().unwrap_or_default()
    }
}

/// A number for a name, never zero: FNV-1a, folded.
fn number(name: &str) -> u16 {
    let hash =
        name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    ((hash >> 16) as u16 ^ hash as u16).max(1)
}

/// The protocol of a port field; absent means TCP.
fn protocol(field: Option<&str>) -> Result<Proto, String> {
    match field {
        None | Some("" | "TCP") => Ok(Proto::Tcp),
        Some("UDP") => Ok(Proto::Udp),
        Some("SCTP") => Ok(Proto::Sctp),
        Some(other) => Err(format!("protocol {other:?}")),
    }
}

/// A port number that a packet can carry.
fn port_number(field: i64) -> Option<u16> {
    u16::try_from(field).ok().filter(|p| *p != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_have_numbers_of_their_own_that_follow_from_their_names() {
        let numbers = |names: &[String]| {
            let mut words = Words::default();
            names.iter().map(|name| words.zone(name).0).collect::<Vec<_>>()
        };
        let mut names: Vec<String> = (0..20).map(|n| format!("eu-west-{n}")).collect();
        let first = numbers(&names);
        names.reverse();
        let mut second = numbers(&names);
        second.reverse();
        assert_eq!(first, second, "in whichever order they come");
        let many: Vec<String> = (0..usize::from(u16::MAX)).map(|n| format!("zone-{n}")).collect();
        let mut full = Words::default();
        let all: HashSet<u16> = many.iter().map(|name| full.zone(name).0).collect();
        assert!(all.len() == many.len() && !all.contains(&0));
        assert_eq!((full.zone("another"), full.known_zone(Some("another"))), (Zone(0), Zone(0)));
        assert_eq!(full.zone("zone-7"), full.known_zone(Some("zone-7")));
    }
}
