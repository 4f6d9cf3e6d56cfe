//! `/metrics/slis`: what health checks have found, under the names of Kubernetes' components
//! (`k8s.io/component-base/metrics/prometheus/slis`).

use super::Shared;
use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// A health check, by its labels `name` and `type`, and what asks for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Check {
    /// The process answers: `/healthz` of `metricsBindAddress`.
    Ping,
    /// Every update reaches the maps in time: `/healthz`.
    Sync,
    /// The Node may get new traffic: `/healthz`.
    NodeEligible,
    /// The agent's loop goes round: `/livez`.
    Loop,
}

impl Check {
    const fn labels(self) -> [(&'static str, &'static str); 2] {
        let (name, kind) = match self {
            Self::Ping => ("ping", "healthz"),
            Self::Sync => ("sync-proxy-rules", "healthz"),
            Self::NodeEligible => ("node-eligible", "healthz"),
            Self::Loop => ("sync-loop", "livez"),
        };
        [("name", name), ("type", kind)]
    }
}

/// `kubernetes_healthcheck` and `kubernetes_healthchecks_total`.
#[derive(Debug)]
pub struct Slis {
    registry: Registry,
    last: Family<[(&'static str, &'static str); 2], Gauge>,
    all: Family<[(&'static str, &'static str); 3], Counter>,
}

impl Default for Slis {
    fn default() -> Self {
        let (last, all) = (Family::default(), Family::default());
        let mut registry = Registry::with_prefix("kubernetes");
        registry.register("healthcheck", "Result of the last health check: 1 for good", last.clone());
        registry.register("healthchecks", "Results of all health checks", all.clone());
        Self { registry, last, all }
    }
}

impl Slis {
    /// Notes a result.
    pub fn observe(&self, check: Check, good: bool) {
        let [name, kind] = check.labels();
        self.last.get_or_create(&[name, kind]).set(good.into());
        let status = ("status", if good { "success" } else { "error" });
        self.all.get_or_create(&[name, status, kind]).inc();
    }
}

pub(super) fn router(shared: Shared) -> Router {
    Router::new().route("/metrics/slis", get(slis)).with_state(shared)
}

async fn slis(State(shared): State<Shared>) -> impl IntoResponse {
    let mut text = String::new();
    // Writing to a string cannot fail.
    _ = encode(&mut text, &shared.metrics.slis.registry);
    ([(header::CONTENT_TYPE, super::metrics::CONTENT_TYPE)], text)
}
