//! What the CLI and the API show of services.

use super::{Entry, Model};
use crate::lower::Wanted;
use crate::snapshot::{Mode, ServiceName, whose};
use crate::store::Family;
use serde::{Deserialize, Serialize};
use shunt_common::{Pool, Proto, Scope};
use std::net::IpAddr;

/// A service as it is served on this node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceView {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Every frontend that it holds.
    pub frontends: Vec<FrontendView>,
    /// What is wrong with it or its slices.
    pub problems: Vec<crate::Problem>,
}

/// A frontend.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendView {
    /// Service id; zero until the frontend is first written.
    pub id: u32,
    /// Address; unspecified for the row that marks a NodePort.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// `ClusterIP`, `NodePort`, `ExternalIPs`, `LoadBalancer`, `HostPort`.
    pub kind: String,
    /// The name of the service's port.
    pub port_name: String,
    /// Whether the maps hold what is asked for.
    pub status: Status,
    /// What the maps hold, for traffic from outside.
    pub external: Vec<BackendView>,
    /// What the maps hold, for pods and the node; `None` when it is the same.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub internal: Option<Vec<BackendView>>,
}

/// A backend.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendView {
    /// Backend id.
    pub id: u32,
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// `active`, `terminating`, `terminating-not-serving`.
    pub state: String,
    /// On this node.
    pub local: bool,
}

/// How far a frontend has come.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// The maps hold what is asked for.
    Done,
    /// The next reconcile will write it.
    Pending,
    /// The last write failed; it is tried again.
    Error(String),
}

impl Model {
    /// Whether any service asks for DSR by its own annotation.
    #[must_use]
    pub fn asks_for_dsr(&self) -> bool {
        let mut specs = self.services.values().filter_map(|entry| entry.spec.as_ref());
        specs.any(|spec| spec.policy.mode.is_some_and(|mode| mode != Mode::Snat))
    }

    /// Every service that is ours to serve, in order of name, and the pods with host ports.
    pub fn services(&self) -> impl Iterator<Item = ServiceView> + '_ {
        self.services.iter().filter(|(_, e)| e.spec.is_some()).map(|(name, entry)| self.view(name, entry))
    }

    /// One service.
    #[must_use]
    pub fn service(&self, namespace: &str, name: &str) -> Option<ServiceView> {
        let (name, entry) = self.services.get_key_value(format!("{namespace}/{name}").as_str())?;
        entry.spec.as_ref()?;
        Some(self.view(name, entry))
    }

    fn view(&self, name: &ServiceName, entry: &Entry) -> ServiceView {
        let (_, full) = whose(name);
        let (namespace, short) = full.split_once('/').unwrap_or(("", full));
        let shown = entry.wanted.iter().filter(|w| !w.is_wildcard());
        let held = shown.filter(|w| self.claims.holder(&w.key) == Some(name));
        ServiceView {
            namespace: namespace.into(),
            name: short.into(),
            frontends: held.map(|w| self.frontend_view(name, entry, w)).collect(),
            problems: entry.problems().cloned().collect(),
        }
    }

    fn frontend_view(&self, name: &ServiceName, entry: &Entry, want: &Wanted) -> FrontendView {
        let row = self.ledger.frontend(&want.key).copied().unwrap_or_default();
        let (external, internal) = (row.pool(Scope::External), row.pool(Scope::Internal));
        let family = want.key.family();
        let port = entry.spec.as_ref().and_then(|s| s.ports.get(usize::from(want.port)));
        FrontendView {
            id: row.service,
            address: want.key.addr(),
            port: want.key.port(),
            protocol: protocol(want.key.proto()),
            kind: want.kind.name().into(),
            port_name: port.map_or_else(String::new, |p| p.name.to_string()),
            status: self.status(name, entry, want),
            external: self.backends(family, external),
            internal: (internal != external).then(|| self.backends(family, internal)),
        }
    }

    fn status(&self, name: &ServiceName, entry: &Entry, want: &Wanted) -> Status {
        if [&self.dirty, &self.stale, &self.tables_due].iter().any(|set| set.contains(name)) {
            return Status::Pending;
        }
        match entry.failed.iter().find(|(key, _)| *key == want.key) {
            Some((_, error)) => Status::Error(error.clone()),
            None => Status::Done,
        }
    }

    fn backends(&self, family: Family, pool: Pool) -> Vec<BackendView> {
        let ids = self.ledger.pool(family, pool);
        ids.iter()
            .filter_map(|id| {
                let row = self.ledger.backend(family, *id)?;
                Some(BackendView {
                    id: *id,
                    address: row.addr(),
                    port: row.port(),
                    protocol: protocol(row.proto()),
                    state: row.state()?.name().into(),
                    local: row.is_local(),
                })
            })
            .collect()
    }
}

fn protocol(number: u8) -> String {
    Proto::from_number(number).map_or("?", Proto::name).into()
}
