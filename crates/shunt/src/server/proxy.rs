//! What kube-proxy serves on `metricsBindAddress` (10249): `/metrics`, `/metrics/slis`, `/proxyMode`, `/configz`,
//! `/healthz`.

use super::sli_metrics::{self, Check};
use super::{Shared, metrics};
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::any;
use axum::{Json, Router};
use serde_json::{Map, Value, json};

pub(super) fn router(shared: Shared) -> Router {
    // Only that the process answers; what the node is like is asked on the port for it.
    let own = Router::new()
        .route("/proxyMode", any(|| async { plain("ebpf") }))
        .route("/healthz", any(healthz))
        .route("/configz", any(configz))
        .with_state(shared.clone());
    own.merge(metrics::router(shared.clone())).merge(sli_metrics::router(shared))
}

async fn healthz(State(shared): State<Shared>) -> impl IntoResponse {
    shared.metrics.slis.observe(Check::Ping, true);
    plain("ok")
}

fn plain(text: &'static str) -> impl IntoResponse {
    let headers =
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (headers, text)
}

/// Every key of ours with its value.
async fn configz(State(shared): State<Shared>) -> impl IntoResponse {
    let keys: Map<String, Value> = shared.config.shown().into_iter().map(|s| (s.key, s.value)).collect();
    Json(json!({ "shunt": keys }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Layers, Resolved};
    use crate::server::test_client::get;
    use std::sync::Arc;

    #[tokio::test]
    async fn the_port_answers_what_kube_proxys_does() {
        let (queries, _) = tokio::sync::mpsc::channel(1);
        let config = Arc::new(Resolved::new(&Layers::default()).unwrap());
        let shared = Shared {
            queries,
            config,
            metrics: Arc::default(),
            bpf_root: "/nonexistent".into(),
            usage: Arc::default(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(axum::serve(listener, router(shared)).into_future());
        for (path, says) in [("/proxyMode", "ebpf"), ("/healthz", "ok")] {
            let answer = get(at, path).await;
            assert_eq!((answer.status, answer.body.as_str()), (200, says), "{path}");
            assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        }
        let configz: Value = serde_json::from_str(&get(at, "/configz").await.body).unwrap();
        assert_eq!(configz["shunt"]["nodePort.range"], "30000-32767");
        let metrics = get(at, "/metrics").await;
        assert_eq!(metrics.status, 200);
        assert!(metrics.body.contains("# TYPE kubeproxy_proxy_healthz counter"), "{}", metrics.body);
        assert!(metrics.body.contains("\nprocess_resident_memory_bytes "), "{}", metrics.body);
        assert!(metrics.body.ends_with("# EOF\n"));
        // What was asked above.
        let slis = get(at, "/metrics/slis").await;
        for line in [
            r#"kubernetes_healthcheck{name="ping",type="healthz"} 1"#,
            r#"kubernetes_healthchecks_total{name="ping",status="success",type="healthz"} 1"#,
        ] {
            assert!(slis.body.lines().any(|l| l == line), "{line} is not in\n{}", slis.body);
        }
    }
}
