//! `/healthz` and `/livez`, byte for byte as kube-proxy answers them (`pkg/proxy/healthcheck/proxy_health.go`): load
//! balancers' and kubelet's probes read them.

use super::sli_metrics::Check;
use super::{Condition, Metrics};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::any;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

/// The headers that every answer of a health check has.
pub(super) const HEADERS: [(header::HeaderName, &str); 2] =
    [(header::CONTENT_TYPE, "application/json"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];

#[derive(Clone)]
struct Health {
    condition: watch::Receiver<Condition>,
    metrics: Arc<Metrics>,
}

pub(super) fn router(condition: watch::Receiver<Condition>, metrics: Arc<Metrics>) -> Router {
    let health = Health { condition, metrics };
    Router::new().route("/healthz", any(healthz)).route("/livez", any(livez)).with_state(health)
}

async fn healthz(State(health): State<Health>) -> impl IntoResponse {
    let condition = *health.condition.borrow();
    let healthy = condition.healthy(Instant::now());
    let (status, body) = answer(&condition, Some(condition.eligible), healthy, Timestamp::now());
    health.metrics.slis.observe(Check::Sync, healthy);
    health.metrics.slis.observe(Check::NodeEligible, condition.eligible);
    health.metrics.kube_proxy.healthz.get_or_create(&[("code", code(status))]).inc();
    (status, HEADERS, body)
}

/// The same without the node, which no restart would mend. A full map is nobody's lateness either, see `agent/sync.rs`.
async fn livez(State(health): State<Health>) -> impl IntoResponse {
    let condition = *health.condition.borrow();
    let now = Instant::now();
    let (status, body) = answer(&condition, None, condition.healthy(now), Timestamp::now());
    health.metrics.slis.observe(Check::Loop, condition.alive(now));
    health.metrics.kube_proxy.livez.get_or_create(&[("code", code(status))]).inc();
    (status, HEADERS, body)
}

const fn code(status: StatusCode) -> &'static str {
    if status.as_u16() == 200 { "200" } else { "503" }
}

/// In kube-proxy's order of fields.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    last_updated: Timestamp,
    current_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_eligible: Option<bool>,
    healthy: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    status: BTreeMap<&'static str, Family>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Family {
    last_updated: Timestamp,
    healthy: bool,
}

fn answer(
    condition: &Condition,
    node_eligible: Option<bool>,
    healthy: bool,
    clock: Timestamp,
) -> (StatusCode, String) {
    let good = healthy && node_eligible != Some(false);
    let names = ["IPv4", "IPv6"].into_iter().zip(condition.families).filter(|(_, handled)| *handled);
    let body = Body {
        // Load balancers have always read a recent time from a healthy node.
        last_updated: condition.last_updated.filter(|_| !good).unwrap_or(clock),
        current_time: clock,
        node_eligible,
        healthy,
        status: condition.last_updated.map_or_else(BTreeMap::new, |last_updated| {
            names.map(|(name, _)| (name, Family { last_updated, healthy })).collect()
        }),
    };
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, serde_json::to_string(&body).unwrap_or_default())
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
