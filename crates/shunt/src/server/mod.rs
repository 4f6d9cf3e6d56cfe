//! How others see the agent: the Unix socket for the command line, metrics and health over TCP.

pub mod api;
mod condition;
mod health;
pub mod health_ports;
pub mod kube_proxy_metrics;
mod limited;
pub mod metrics;
mod process_metrics;
mod proxy;
mod recent;
pub mod rest_client_metrics;
pub mod sli_metrics;
mod tcp;
#[cfg(test)]
mod test_client;
mod unix;

pub use condition::Condition;
pub use metrics::Metrics;
pub use unix::SOCKET;

use crate::config::{Config, Resolved};
use recent::Recent;
use shunt_datapath::dump::MapUse;
use shunt_model::ServiceView;
use std::path::PathBuf;
use std::sync::Arc;
use tcp::Listen;
use tokio::sync::{mpsc, oneshot, watch};

/// A question to the agent's loop, with where the answer goes.
#[derive(Debug)]
pub enum Query {
    /// `status`.
    Status(oneshot::Sender<api::Status>),
    /// `service list`.
    Services(oneshot::Sender<Vec<ServiceView>>),
    /// Bring the gauges up to date before they are read.
    Gauges(oneshot::Sender<()>),
    /// A listener is up (`None`) or down.
    Listener(String, Option<String>),
}

/// What every handler has.
#[derive(Clone)]
pub(crate) struct Shared {
    queries: mpsc::Sender<Query>,
    config: Arc<Resolved>,
    metrics: Arc<Metrics>,
    bpf_root: PathBuf,
    /// How full the maps are, for which the flow table is walked.
    usage: Arc<Recent<Vec<MapUse>>>,
}

impl Shared {
    /// Asks the loop; `None` when it is ending.
    async fn ask<T>(&self, query: impl FnOnce(oneshot::Sender<T>) -> Query) -> Option<T> {
        let (answer, wait) = oneshot::channel();
        self.queries.send(query(answer)).await.ok()?;
        wait.await.ok()
    }
}

/// Starts every server.
///
/// # Errors
/// When the Unix socket cannot be made. TCP ports that are taken are retried and told in `status`, unless
/// `bindAddressHardFail` is set.
pub fn start(
    config: &Config,
    metrics: Arc<Metrics>,
    condition: watch::Receiver<Condition>,
    queries: mpsc::Sender<Query>,
) -> Result<(), String> {
    let shared = Shared {
        queries,
        config: Arc::new(config.resolved.clone()),
        metrics: metrics.clone(),
        bpf_root: config.path("bpfRoot").unwrap_or_default(),
        usage: Arc::default(),
    };
    unix::start(&config.path("runDir").unwrap_or_default(), shared.clone())?;
    let hard_fail = config.resolved.bool("bindAddressHardFail");
    if let Some(port) = config.metrics_port() {
        let listen = Listen { address: tcp::any(port), key: "prometheus.port", hard_fail };
        listen.start(metrics::router(shared.clone()), &shared)?;
    }
    let key = "metricsBindAddress";
    if let Some(address) = config.socket(key) {
        Listen { address, key, hard_fail }.start(proxy::router(shared.clone()), &shared)?;
    }
    let key = "kubeProxyReplacementHealthzBindAddr";
    if let Some(address) = config.socket(key) {
        Listen { address, key, hard_fail }.start(health::router(condition, metrics), &shared)?;
    }
    Ok(())
}
