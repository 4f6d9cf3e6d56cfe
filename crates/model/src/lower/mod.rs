//! From the snapshot to desired entries: what one service asks for, before it has ids and slots.
//!
//! Pure: the same service, slices and node give the same groups, in the same order.

mod frontends;
mod pools;

pub use frontends::{Env, Wanted, wanted};
pub use pools::Target;

use crate::snapshot::{NodeState, Slice, Spec};
use crate::store::{Family, FrontendRef};
use shunt_common::{FRONTEND_SCOPES, Frontend};

/// What one port of a service asks for in one family: frontends that share their pools.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// Index in [`Spec::ports`].
    pub port: usize,
    /// Family of every frontend and backend here.
    pub family: Family,
    /// Backends by [`shunt_common::Scope`], in order of address and port, each once.
    pub pools: [Vec<Target>; FRONTEND_SCOPES],
    /// Backends beside those in the pools: a flow that one was picked for lives on for as long as its endpoint is ready
    /// or on its way out.
    pub others: Vec<Target>,
    /// Key, whether it has the pools (a marker has none), and the row without id and pools.
    pub frontends: Vec<(FrontendRef, bool, Frontend)>,
    /// An empty pool leaves the last one that had backends.
    pub keep_last: bool,
}

/// The service whose last known endpoints are never removed: without them nobody could tell us of new ones.
const API_SERVER: &str = "default/kubernetes";

/// What a service asks for. `held` are its frontends that no older service keeps from it.
#[must_use]
pub fn lower<'a>(
    name: &str,
    spec: &Spec,
    slices: impl Iterator<Item = &'a Slice> + Clone,
    node: &NodeState,
    node_name: &str,
    held: &[Wanted],
) -> Vec<Group> {
    let mut groups = Vec::new();
    for (index, port) in spec.ports.iter().enumerate() {
        for family in Family::ALL {
            let frontends: Vec<_> = held
                .iter()
                .filter(|w| usize::from(w.port) == index && w.key.family() == family)
                .map(|w| (w.key, !w.is_marker(), w.row()))
                .collect();
            if frontends.is_empty() {
                continue;
            }
            // A pool that only a marker's row could name would be written and freed again each time.
            let (pools, others) = if frontends.iter().any(|(_, balanced, _)| *balanced) {
                let endpoints = pools::endpoints(port, family, slices.clone(), node, node_name);
                let pools = [pools::external(&endpoints), pools::internal(&endpoints)];
                let others = pools::others(&endpoints, &pools);
                (pools, others)
            } else {
                Default::default()
            };
            groups.push(Group {
                port: index,
                family,
                pools,
                others,
                frontends,
                keep_last: name == API_SERVER,
            });
        }
    }
    groups
}
