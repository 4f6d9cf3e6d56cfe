//! Going through the namespaces for the sockets that are to be ended.

use super::diag::{self, Diag};
use super::namespaces::{self, Namespaces};
use super::{Repair, Targets, translated};
use shunt_common::{Proto, SockPeer};
use shunt_model::store::Family;
use std::collections::HashSet;
use std::io;

/// How often a namespace is looked at in one pass while sockets are found there: the kernel ends the first of several
/// sockets with the same addresses and ports, whichever was meant.
const ROUNDS: usize = 4;

/// Sockets that are to be ended, somewhere.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) cookies: HashSet<u64>,
    kinds: HashSet<(Family, Proto)>,
}

impl Pending {
    pub(super) fn new(targets: &Targets, translated: &[(u64, SockPeer)]) -> Self {
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
    pub(super) fn everywhere(&mut self, repair: &mut Repair) {
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

#[cfg(test)]
mod tests {
    use super::super::targets::tests::{departed, peer};
    use super::*;

    #[test]
    fn sockets_of_both_families_may_follow_an_ipv4_backend() {
        let targets = Targets::new(&[departed(None, 3, "10.0.0.1")]);
        let pending = Pending::new(&targets, &[(77, peer(7, 3)), (78, peer(7, 9))]);
        assert_eq!(pending.cookies, HashSet::from([77]));
        assert_eq!(pending.kinds, HashSet::from([(Family::V4, Proto::Udp), (Family::V6, Proto::Udp)]));
    }
}
