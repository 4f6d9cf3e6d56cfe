//! Ending sockets whose backend is gone, in every network namespace of the node.
//!
//! A connected UDP socket was translated once, at connect: when its backend goes, it would send into the void for as long as
//! it lives. The kernel ends it on our word (sock_diag's `SOCK_DESTROY`), and its owner sees ECONNABORTED where it would
//! have waited.
//!
//! A pass first asks which sockets follow a backend that went, by what our programs keep in them: mostly none. Only for those
//! it goes through the namespaces, since sock_diag sees one at a time. It runs on a thread of its own: entering a namespace
//! changes the thread.

mod diag;
mod namespaces;
mod translated;

use crate::Error;
use diag::Diag;
use namespaces::Namespaces;
use shunt_common::{Proto, SockPeer};
use shunt_model::Departed;
use shunt_model::store::Family;
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use translated::Walk;

pub use namespaces::may_enter;

/// How often a namespace is looked at in one pass while sockets are found there: the kernel ends the first of several
/// sockets with the same addresses and ports, whichever was meant.
const ROUNDS: usize = 4;

/// Ends sockets. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sockets(Arc<Walk>);

/// What a pass did.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Repair {
    /// Translated sockets that were seen.
    pub seen: usize,
    /// Sockets that were ended.
    pub ended: usize,
    /// Sockets that should have been and still are: out of reach.
    pub left: usize,
    /// Network namespaces that were looked through.
    pub namespaces: usize,
    /// Namespaces, or processes whose namespace is unknown, that we may not look at.
    pub closed: usize,
    /// The first thing that went wrong, if any.
    pub error: Option<String>,
    /// How long it took.
    pub took: Duration,
}

impl Sockets {
    /// On the map that keeps the translation of connected sockets.
    pub(crate) fn new(map: OwnedFd) -> Self {
        Self(Arc::new(Walk::new(map)))
    }

    /// Ends the connected sockets that follow these backends, in the calling thread's network namespace and all others,
    /// and hands the result to `done` on another thread. Call it when no program picks them any more.
    ///
    /// # Errors
    /// When there is no room for a thread; `done` is not called then.
    pub fn repair(
        &self,
        departed: Vec<Departed>,
        done: impl FnOnce(Repair) + Send + 'static,
    ) -> io::Result<()> {
        let this = self.clone();
        let pass = move || done(this.pass(&departed));
        thread::Builder::new().name("shunt-sockets".into()).spawn(pass).map(drop)
    }

    /// One pass; leaves the thread in whatever namespace came last.
    fn pass(&self, departed: &[Departed]) -> Repair {
        let begun = Instant::now();
        let mut repair = Repair::default();
        if let Err(error) = self.end(departed, &mut repair) {
            repair.failed(error);
        }
        repair.took = begun.elapsed();
        repair
    }

    fn end(&self, departed: &[Departed], repair: &mut Repair) -> Result<(), Error> {
        let targets = Targets::new(departed);
        let translated = self.0.read()?;
        repair.seen = translated.len();
        let mut pending = Pending::new(&targets, &translated);
        if pending.cookies.is_empty() {
            return Ok(());
        }
        pending.everywhere(repair);
        if !pending.cookies.is_empty() {
            // Some may just have been closed, or connected to something else.
            let still = Pending::new(&targets, &self.0.read()?);
            repair.left = still.cookies.intersection(&pending.cookies).count();
        }
        if repair.left == 0 {
            // Processes and namespaces end while we look at them; what they had is gone with them.
            repair.error = None;
        }
        Ok(())
    }
}

impl Repair {
    fn failed(&mut self, error: impl ToString) {
        self.error.get_or_insert_with(|| error.to_string());
    }
}

/// Sockets that are to be ended, somewhere.
#[derive(Debug)]
struct Pending {
    cookies: HashSet<u64>,
    kinds: HashSet<(Family, Proto)>,
}

impl Pending {
    fn new(targets: &Targets, translated: &[(u64, SockPeer)]) -> Self {
        let mut pending = Self { cookies: HashSet::new(), kinds: HashSet::new() };
        for (cookie, peer) in translated {
            let Some(proto) = targets.hit(peer) else { continue };
            pending.cookies.insert(*cookie);
            // An IPv6 socket may talk to an IPv4 address.
            pending.kinds.insert((Family::V6, proto));
            if translated::backend(peer).0.is_ipv4() {
                pending.kinds.insert((Family::V4, proto));
            }
        }
        pending
    }

    /// Goes through the namespaces, the thread's own first, until every socket is found.
    fn everywhere(&mut self, repair: &mut Repair) {
        self.here(repair);
        if self.cookies.is_empty() {
            return;
        }
        let others = match Namespaces::others() {
            Ok(others) => others,
            Err(error) => return repair.failed(format!("looking for network namespaces: {error}")),
        };
        repair.closed = others.hidden;
        for path in others.paths {
            match namespaces::enter(&path) {
                Ok(true) => self.here(repair),
                // It is gone meanwhile, with its sockets.
                Ok(false) => {}
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => repair.closed += 1,
                Err(error) => repair.failed(format!("entering {}: {error}", path.display())),
            }
            if self.cookies.is_empty() {
                return;
            }
        }
    }

    /// In the thread's namespace.
    fn here(&mut self, repair: &mut Repair) {
        repair.namespaces += 1;
        let kinds: Vec<_> = self.kinds.iter().copied().collect();
        let looked = Diag::open().and_then(|mut diag| {
            for (family, proto) in kinds {
                for _ in 0..ROUNDS {
                    if !self.round(&mut diag, family, proto, repair)? {
                        break;
                    }
                }
            }
            Ok(())
        });
        if let Err(error) = looked {
            repair.failed(format!("ending sockets: {error}"));
        }
    }

    /// Lists one kind of socket and ends those that are pending; whether to look again.
    fn round(
        &mut self,
        diag: &mut Diag,
        family: Family,
        proto: Proto,
        repair: &mut Repair,
    ) -> io::Result<bool> {
        let mut again = false;
        for header in diag.connected(family, proto, |cookie| self.cookies.contains(&cookie))? {
            let cookie = diag::cookie(&header);
            if diag.destroy(header, proto)? {
                repair.ended += 1;
                self.cookies.remove(&cookie);
            } else {
                again = true;
            }
        }
        Ok(again)
    }
}

/// What sockets must follow to be ended.
#[derive(Debug)]
struct Targets(HashMap<(u32, IpAddr, u16), Lost>);

/// Who lost a backend.
#[derive(Debug)]
struct Lost {
    proto: Proto,
    /// Service ids; `None` for all.
    services: Vec<Option<u32>>,
}

impl Targets {
    fn new(departed: &[Departed]) -> Self {
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
    fn hit(&self, peer: &SockPeer) -> Option<Proto> {
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
mod tests {
    use super::*;
    use shunt_common::{BackendState, PortBe};
    use shunt_model::store::BackendRow;

    fn departed(service: Option<u32>, id: u32, addr: &str) -> Departed {
        let addr = addr.parse().unwrap();
        Departed { service, id, backend: BackendRow::new(addr, 53, Proto::Udp, BackendState::Active, 0) }
    }

    /// A socket that a service sent to 10.0.0.1.
    fn peer(service: u32, id: u32) -> SockPeer {
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

    #[test]
    fn sockets_of_both_families_may_follow_an_ipv4_backend() {
        let targets = Targets::new(&[departed(None, 3, "10.0.0.1")]);
        let pending = Pending::new(&targets, &[(77, peer(7, 3)), (78, peer(7, 9))]);
        assert_eq!(pending.cookies, HashSet::from([77]));
        assert_eq!(pending.kinds, HashSet::from([(Family::V4, Proto::Udp), (Family::V6, Proto::Udp)]));
    }
}
