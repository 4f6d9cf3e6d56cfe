//! Which translated sockets follow a backend that went.

use super::translated;
use shunt_common::{Proto, SockPeer};
use shunt_model::Departed;
use std::collections::HashMap;
use std::net::IpAddr;

/// What sockets must follow to be ended.
#[derive(Debug)]
pub(super) struct Targets(HashMap<(u32, IpAddr, u16), Lost>);

/// Who lost a backend.
#[derive(Debug)]
struct Lost {
    proto: Proto,
    /// Service ids; `None` for all.
    services: Vec<Option<u32>>,
}

impl Targets {
    pub(super) fn new(departed: &[Departed]) -> Self {
        let mut targets = HashMap::new();
        for Departed { service, id, backend } in departed {
            let Some(proto) = Proto::from_number(backend.proto()) else { continue };
            let key = (*id, backend.addr(), backend.port());
            let lost = targets.entry(key).or_insert(Lost { proto, services: Vec::new() });
            lost.services.push(*service);
        }
        Self(targets)
    }

    /// Whether a translated socket follows one, and by which protocol: an id stands for one.
    pub(super) fn hit(&self, peer: &SockPeer) -> Option<Proto> {
        // An empty translation is one that a later connect, to no service, has ended.
        if peer.frontend_port.0 == 0 {
            return None;
        }
        let (addr, port) = translated::backend(peer);
        let lost = self.0.get(&(peer.backend_id, addr, port))?;
        lost.services.iter().any(|s| s.is_none_or(|s| s == peer.service)).then_some(lost.proto)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use shunt_common::{BackendState, PortBe};
    use shunt_model::store::BackendRow;

    pub(in crate::sockets) fn departed(service: Option<u32>, id: u32, addr: &str) -> Departed {
        let addr = addr.parse().unwrap();
        Departed { service, id, backend: BackendRow::new(addr, 53, Proto::Udp, BackendState::Active, 0) }
    }

    /// A socket that a service sent to 10.0.0.1.
    pub(in crate::sockets) fn peer(service: u32, id: u32) -> SockPeer {
        let backend = [0, 0, 0xffffu32.to_be(), u32::from_ne_bytes([10, 0, 0, 1])];
        let (backend_port, frontend_port) = (PortBe::new(53), PortBe::new(53));
        SockPeer { backend, backend_port, frontend_port, backend_id: id, service, ..SockPeer::default() }
    }

    #[test]
    fn only_sockets_of_the_service_that_lost_the_backend_are_meant() {
        let of_one = Targets::new(&[departed(Some(7), 3, "10.0.0.1")]);
        assert_eq!(of_one.hit(&peer(7, 3)), Some(Proto::Udp));
        assert_eq!(of_one.hit(&peer(8, 3)), None, "another service still has it");
        assert_eq!(of_one.hit(&peer(7, 4)), None, "the backend has come back, under another id");
        let of_all = Targets::new(&[departed(None, 3, "10.0.0.1")]);
        assert_eq!(of_all.hit(&peer(8, 3)), Some(Proto::Udp));
        let elsewhere = Targets::new(&[departed(None, 3, "10.0.0.2")]);
        assert_eq!(elsewhere.hit(&peer(8, 3)), None);
    }

    #[test]
    fn a_translation_that_is_over_counts_for_nothing() {
        let all = Targets::new(&[departed(None, 3, "10.0.0.1")]);
        assert_eq!(all.hit(&SockPeer { frontend_port: PortBe(0), ..peer(7, 3) }), None);
    }
}
