//! From the snapshot to desired entries: what one service asks for, before it has ids and slots.
//!
//! Pure: the same service, slices and node give the same groups, in the same order.

mod collector;
mod frontends;
mod host_port;
mod pools;

pub use frontends::{Env, Wanted, health_check_address, wanted};
pub use pools::Target;

use crate::snapshot::{Mode, NodeState, PortSpec, Reach, Slice, SlicePort, Spec, Zone};
use crate::store::{Family, FrontendRef};
use ipnet::IpNet;
use shunt_common::{FRONTEND_SCOPES, Frontend, frontend_flag};
use std::net::IpAddr;

/// What one port of a service asks for in one family: its frontends, which share a service id, and the pools that they
/// choose from, one for each [`Reach`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// Index in [`Spec::ports`].
    pub port: usize,
    /// Family of every frontend and backend here.
    pub family: Family,
    /// Backends by [`Reach`], in order of address and port, each once. A pool that no frontend uses is empty.
    pub pools: [Vec<Target>; REACHES],
    /// Backends beside those in the pools: a flow that one was picked for lives on for as long as its endpoint is ready
    /// or on its way out.
    pub others: Vec<Target>,
    /// The source ranges that the frontends' flags speak of.
    pub ranges: Vec<IpNet>,
    /// The frontends.
    pub frontends: Vec<Front>,
    /// An empty pool leaves the last one that had backends.
    pub keep_last: bool,
    /// Why the group is served by SNAT although DSR is asked for.
    pub not_direct: Option<&'static str>,
}

/// [`Frontend::algorithm`] of Maglev.
pub const MAGLEV: u8 = 1;

/// How many pools a group has.
pub const REACHES: usize = 2;

/// A frontend of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Front {
    /// Where it answers.
    pub key: FrontendRef,
    /// The pool of each scope, by [`shunt_common::Scope`]; `None` for a row that balances nothing.
    pub reach: Option<[Reach; FRONTEND_SCOPES]>,
    /// The row without id and pools.
    pub row: Frontend,
}

/// From where a service is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Here<'a> {
    /// This node.
    pub node: &'a NodeState,
    /// Its zone.
    pub zone: Zone,
    /// `loadBalancer.serviceTopology`: topology hints count.
    pub topology: bool,
    /// `loadBalancer.algorithm`, as in [`Frontend::algorithm`].
    pub algorithm: u8,
    /// Where the node's own server answers health checks, by [`Family`] ([`health_check_address`]).
    pub health_checks: [Option<IpAddr>; 2],
    /// `loadBalancer.mode`.
    pub mode: Mode,
}

/// The service whose last known endpoints are never removed: without them nobody could tell us of new ones.
const API_SERVER: &str = "default/kubernetes";

/// What a service asks for. `held` are its frontends that no older service keeps from it.
#[must_use]
pub fn lower<'a>(
    name: &str,
    spec: &Spec,
    slices: impl Iterator<Item = &'a Slice> + Clone,
    here: &Here<'_>,
    held: &[Wanted],
) -> Vec<Group> {
    let mut groups = Vec::new();
    for (index, port) in spec.ports.iter().enumerate() {
        for family in Family::ALL {
            let held = held.iter().filter(|w| usize::from(w.port) == index && w.key.family() == family);
            let direct = spec.policy.mode.unwrap_or(here.mode).is_direct(port.proto);
            let frontends: Vec<_> = held.map(|w| front(w, spec, here, direct)).collect();
            if frontends.is_empty() {
                continue;
            }
            let mut group = Group {
                port: index,
                family,
                pools: Default::default(),
                others: Vec::new(),
                ranges: Vec::new(),
                frontends,
                keep_last: name == API_SERVER,
                not_direct: None,
            };
            if let Some(sources) = spec.policy.sources.as_ref().filter(|_| group.is_limited()) {
                group.ranges = sources.of(family).unwrap_or_default();
            }
            if direct && spec.policy.nodes.is_some() {
                group.give_up_dsr("only some nodes serve it, and a backend's node may not be one of them");
            }
            if port.health_check {
                let own = here.health_checks[family as usize].map(|addr| own_server(addr, port));
                group.fill(port, own.iter(), here);
            } else {
                group.fill(port, slices.clone(), here);
            }
            groups.push(group);
        }
    }
    groups
}

/// The node's own server of health checks, as the one endpoint of their port.
fn own_server(addr: IpAddr, port: &PortSpec) -> Slice {
    let port = SlicePort { name: port.name.clone(), port: port.port, proto: port.proto };
    Slice::of_one(addr, [port].into(), false)
}

fn front(want: &Wanted, spec: &Spec, here: &Here<'_>, direct: bool) -> Front {
    let mut row = want.row();
    let health_check = spec.ports[usize::from(want.port)].health_check;
    // The row that marks a NodePort stands for those of other nodes' addresses, which name what a backend here is for.
    let direct = direct && want.can_be_direct() && !health_check;
    if direct {
        row.mode = Mode::Dsr as u8;
        row.flags |= frontend_flag::DSR;
    }
    let reach = (want.balances() || direct).then(|| want.reach(spec));
    if want.balances() && !health_check {
        row.affinity_timeout = spec.policy.affinity;
        row.algorithm = spec.policy.algorithm.unwrap_or(here.algorithm);
    }
    Front { key: want.key, reach, row }
}

impl Group {
    /// Whether the pools are to have Maglev tables.
    #[must_use]
    pub fn wants_maglev(&self) -> bool {
        self.frontends.iter().any(|f| f.row.algorithm == MAGLEV)
    }

    /// Whether source ranges count for any of the frontends.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.frontends.iter().any(|f| f.row.flags & frontend_flag::SOURCE_RANGES != 0)
    }

    /// Has remote backends reached by SNAT after all.
    fn give_up_dsr(&mut self, why: &'static str) {
        for front in self.frontends.iter_mut().filter(|f| f.row.flags & frontend_flag::DSR != 0) {
            front.row.flags &= !frontend_flag::DSR;
            front.row.mode = Mode::Snat as u8;
            if front.row.flags & frontend_flag::MARKER != 0 {
                front.reach = None;
            }
            self.not_direct = Some(why);
        }
    }

    /// Chooses the backends, and says in each row what an empty pool means.
    fn fill<'a>(&mut self, port: &PortSpec, slices: impl Iterator<Item = &'a Slice>, here: &Here<'_>) {
        let idle = |group: &Self| group.frontends.iter().all(|f| f.reach.is_none());
        if idle(self) {
            return;
        }
        let endpoints = pools::endpoints(port, self.family, slices, here);
        if pools::any_hinted(&endpoints) {
            // What this node may pick is then not what the backend's node may.
            self.give_up_dsr(
                "its endpoints have topology hints, by which each node chooses among other backends",
            );
            if idle(self) {
                return;
            }
        }
        // A pool that no row names, or none any more, would be written and freed again each time.
        let uses = |reach: &Reach| self.frontends.iter().any(|f| f.reach.is_some_and(|r| r.contains(reach)));
        for reach in [Reach::Cluster, Reach::Local].into_iter().filter(uses) {
            self.pools[reach as usize] = pools::pool(&endpoints, reach);
        }
        self.others = pools::others(&endpoints, &self.pools);
        if !pools::any_usable(&endpoints) {
            return;
        }
        // Endpoints elsewhere: dropped in silence, so that a load balancer that probes looks elsewhere too. Without any
        // the client is told at once.
        for front in self.frontends.iter_mut().filter(|f| f.row.flags & frontend_flag::MARKER == 0) {
            let Some(reach) = front.reach else { continue };
            let bits = [frontend_flag::DROP_EXTERNAL, frontend_flag::DROP_INTERNAL];
            for (bit, reach) in bits.into_iter().zip(reach) {
                if self.pools[reach as usize].is_empty() {
                    front.row.flags |= bit;
                }
            }
        }
    }
}
