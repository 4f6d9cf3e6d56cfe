//! `/healthz` and `/livez`, as kube-proxy answers them.

use super::{Query, Shared, api::Health};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::json;
use std::time::{Duration, SystemTime};

/// A loop that does not answer for so long is not alive.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn router(shared: Shared) -> Router {
    Router::new().route("/healthz", get(healthz)).route("/livez", get(livez)).with_state(shared)
}

async fn healthz(State(shared): State<Shared>) -> impl IntoResponse {
    let (health, now) = ask(&shared).await;
    // Only the Node object could make the node unfit for new load balancer traffic.
    answer(health, now, true)
}

async fn livez(State(shared): State<Shared>) -> impl IntoResponse {
    let (health, now) = ask(&shared).await;
    answer(health, now, false)
}

async fn ask(shared: &Shared) -> (Health, u64) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let health = tokio::time::timeout(PATIENCE, shared.ask(Query::Health)).await;
    (health.ok().flatten().unwrap_or(Health { healthy: false, last_updated: 0 }), now)
}

fn answer(health: Health, now: u64, with_node: bool) -> impl IntoResponse {
    let updated = rfc3339(if health.healthy { now } else { health.last_updated });
    let family = json!({ "lastUpdated": updated, "healthy": health.healthy });
    let mut body = json!({
        "lastUpdated": updated,
        "currentTime": rfc3339(now),
        "healthy": health.healthy,
        "status": { "IPv4": family, "IPv6": family },
    });
    if with_node {
        body["nodeEligible"] = true.into();
    }
    let status = if health.healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (status, headers, body.to_string())
}

/// Seconds since 1970 as `2026-01-02T03:04:05Z`.
pub(crate) fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Count years from a March, so that the leap day is the last of its year.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_kubernetes_reads_them() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_767_225_599), "2025-12-31T23:59:59Z");
    }
}
