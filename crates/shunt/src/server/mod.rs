//! How others see the agent: the Unix socket for the command line, metrics and health over TCP.

pub mod api;
mod health;
pub mod metrics;
mod tcp;
mod unix;

pub use metrics::Metrics;
pub use unix::SOCKET;

use crate::config::{Config, Resolved};
use shunt_model::ServiceView;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// A question to the agent's loop, with where the answer goes.
#[derive(Debug)]
pub enum Query {
    /// `status`.
    Status(oneshot::Sender<api::Status>),
    /// `service list`.
    Services(oneshot::Sender<Vec<ServiceView>>),
    /// `/healthz`.
    Health(oneshot::Sender<api::Health>),
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
/// When the Unix socket cannot be made; TCP ports that are taken are retried and told in `status`.
pub fn start(config: &Config, metrics: Arc<Metrics>, queries: mpsc::Sender<Query>) -> Result<(), String> {
    let shared = Shared {
        queries,
        config: Arc::new(config.resolved.clone()),
        metrics,
        bpf_root: config.path("bpfRoot").unwrap_or_default(),
    };
    unix::start(&config.path("runDir").unwrap_or_default(), shared.clone())?;
    if let Some(port) = config.metrics_port() {
        tokio::spawn(tcp::serve(
            tcp::any(port),
            "prometheus.port",
            metrics::router(shared.clone()),
            shared.clone(),
        ));
    }
    if let Some(address) = config.health_address() {
        let key = "kubeProxyReplacementHealthzBindAddr";
        tokio::spawn(tcp::serve(address, key, health::router(shared.clone()), shared));
    }
    Ok(())
}
