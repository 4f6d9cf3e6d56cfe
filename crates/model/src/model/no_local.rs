//! Service ports with a traffic policy of Local that have endpoints, and none on this node: a figure that kube-proxy has.

use super::Model;
use crate::lower::Group;
use crate::snapshot::ServiceName;
use shunt_common::{FrontendKind, frontend_flag};
use std::collections::BTreeMap;

/// Service ports by policy ([`shunt_common::Scope`]: external, internal), then by [`crate::store::Family`].
pub type NoLocal = [[usize; 2]; 2];

/// Kept at the cost of what changes.
#[derive(Default, Debug)]
pub(super) struct Counts {
    /// Of services that have any.
    by_service: BTreeMap<ServiceName, NoLocal>,
    total: NoLocal,
}

impl Counts {
    /// Looks again at a service, by what it asks for.
    pub(super) fn set(&mut self, name: &ServiceName, groups: &[Group]) {
        let mut new = NoLocal::default();
        for group in groups {
            for (policy, lacks) in lacking(group).into_iter().enumerate() {
                new[policy][group.family as usize] += usize::from(lacks);
            }
        }
        let old = match new == NoLocal::default() {
            true => self.by_service.remove(name),
            false => self.by_service.insert(name.clone(), new),
        };
        let old = old.unwrap_or_default();
        let totals = self.total.iter_mut().flatten();
        for ((total, new), old) in totals.zip(new.as_flattened()).zip(old.as_flattened()) {
            *total = *total + new - old;
        }
    }
}

/// Whether the external and the internal policy leave a port without endpoints that it has elsewhere. A ClusterIP follows
/// the internal policy, in both scopes.
fn lacking(group: &Group) -> [bool; 2] {
    let drops = |internal: bool, flag| {
        let of_policy = |kind| (kind == FrontendKind::ClusterIp as u8) == internal;
        group.frontends.iter().any(|f| of_policy(f.row.kind) && f.row.flags & flag != 0)
    };
    [drops(false, frontend_flag::DROP_EXTERNAL), drops(true, frontend_flag::DROP_INTERNAL)]
}

impl Model {
    /// How many service ports have a policy of Local and endpoints on other nodes only, since the last reconcile.
    #[must_use]
    pub const fn no_local_endpoints(&self) -> NoLocal {
        self.no_local.total
    }
}
