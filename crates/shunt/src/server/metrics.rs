//! `/metrics`.

use super::kube_proxy_metrics::KubeProxy;
use super::recent::Recent;
use super::rest_client_metrics::RestClient;
use super::sli_metrics::Slis;
use super::{Query, Shared, process_metrics};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use shunt_datapath::dump::{MapUse, Reader};
use std::sync::Arc;

/// What the loop counts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Services served.
    pub services: Gauge,
    /// Rows of frontends.
    pub frontends: Gauge,
    /// Backends.
    pub backends: Gauge,
    /// Objects that are wrong.
    pub problems: Gauge,
    /// Watches that are down.
    pub watches_down: Gauge,
    /// Pods that have left the socket path.
    pub opt_out_pods: Gauge,
    /// Pods that asked for it and whose cgroup is not there.
    pub opt_out_missing: Gauge,
    /// Time of each sync, seconds.
    pub sync_duration: Histogram,
    /// Unix time of the last sync.
    pub last_sync: Gauge,
    /// Ops written.
    pub ops: Counter,
    /// Ops that failed.
    pub apply_errors: Counter,
    /// Rows that the slow comparison had to mend.
    pub repairs: Counter,
    /// Flows that were ended after their lifetime.
    pub expired: Counter,
    /// UDP flows that were ended because their backend is gone.
    pub backend_gone: Counter,
    /// Flow rows without a partner that were removed.
    pub orphans: Counter,
    /// Under kube-proxy's names.
    pub kube_proxy: KubeProxy,
    /// Requests to the API server.
    pub rest_client: RestClient,
    /// Results of health checks.
    pub slis: Slis,
    /// Sockets that were ended because their backend is gone.
    pub sockets_ended: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut r = Registry::with_prefix("shunt");
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            r.register(name, help, gauge.clone());
            gauge
        };
        let services = gauge("services", "Services served");
        let frontends = gauge("frontends", "Rows of frontends, both families");
        let backends = gauge("backends", "Backends, both families");
        let problems = gauge("problems", "Objects that could not be honoured");
        let watches_down = gauge("watches_down", "Watches of the API that do not stand");
        let opt_out_pods =
            gauge("opt_out_pods", "Pods that have left the socket path by socketLB.optOutLabel");
        let opt_out_missing =
            gauge("opt_out_missing_pods", "Pods that asked to leave the socket path and have no cgroup here");
        let last_sync = gauge("last_sync_timestamp_seconds", "Unix time of the last sync");
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            r.register(name, help, counter.clone());
            counter
        };
        let ops = counter("ops", "Writes to the maps");
        let apply_errors = counter("apply_errors", "Writes to the maps that failed");
        let repairs = counter("repairs", "Writes that mended what others changed in the maps");
        let expired = counter("flows_expired", "Flows ended after their lifetime");
        let backend_gone = counter(
            "flows_backend_gone",
            "UDP flows ended because their backend is gone or left its service",
        );
        let orphans = counter("flows_orphaned", "Flow rows without a partner that were removed");
        let sockets_ended = counter("sockets_ended", "Sockets ended because their backend is gone");
        let sync_duration = Histogram::new(exponential_buckets(0.001, 2.0, 15));
        r.register("sync_duration_seconds", "Time of a sync", sync_duration.clone());
        Self {
            registry: r,
            services,
            frontends,
            backends,
            problems,
            watches_down,
            opt_out_pods,
            opt_out_missing,
            sync_duration,
            last_sync,
            ops,
            apply_errors,
            repairs,
            expired,
            backend_gone,
            orphans,
            kube_proxy: KubeProxy::default(),
            rest_client: RestClient::default(),
            slis: Slis::default(),
            sockets_ended,
        }
    }
}

/// Of what the encoder writes.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) fn router(shared: Shared) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(shared)
}

async fn metrics(State(shared): State<Shared>) -> impl IntoResponse {
    _ = shared.ask(Query::Gauges).await;
    // A walk over the maps can take a while: not on the loop's thread.
    let text = tokio::task::spawn_blocking(move || text(&shared)).await;
    match text {
        Ok(Ok(text)) => (StatusCode::OK, [(header::CONTENT_TYPE, CONTENT_TYPE)], text),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], String::new()),
    }
}

fn text(shared: &Shared) -> Result<String, std::fmt::Error> {
    let (metrics, mut text) = (&shared.metrics, String::new());
    encode_registry(&mut text, &metrics.registry)?;
    encode_registry(&mut text, &metrics.kube_proxy.registry)?;
    encode_registry(&mut text, &metrics.rest_client.registry())?;
    encode_registry(&mut text, &process_metrics::registry())?;
    if let Ok(reader) = Reader::open(&shared.bpf_root) {
        let mut registry = Registry::with_prefix("shunt");
        registry.register_collector(Box::new(Kernel(reader, shared.usage.clone())));
        encode_registry(&mut text, &registry)?;
    }
    encode_eof(&mut text)?;
    Ok(text)
}

/// What the maps say.
#[derive(Debug)]
struct Kernel(Reader, Arc<Recent<Vec<MapUse>>>);

impl Collector for Kernel {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Ok(counters) = self.0.counters() else { return Ok(()) };
        // Many scrapes at once shall not walk a full flow table each.
        let maps = self.1.get(|| self.0.maps().unwrap_or_default());
        for (name, help, drops, bytes) in [
            ("drop_packets", "Packets dropped or answered by Shunt, by reason", true, false),
            ("drop_bytes", "Bytes dropped or answered by Shunt, by reason", true, true),
            ("forward_packets", "Packets sent on their way, by reason", false, false),
            ("forward_bytes", "Bytes sent on their way, by reason", false, true),
        ] {
            let kind = ConstCounter::new(0u64).metric_type();
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (reason, direction, counter) in counters.iter().filter(|(r, ..)| r.is_drop() == drops) {
                let direction = crate::cli::direction(*direction);
                let labels = [("reason", reason.label()), ("direction", direction)];
                let value = if bytes { counter.bytes } else { counter.packets };
                ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
            }
        }
        let maps: Vec<_> = maps.iter().map(|m| (m.spec.name, m)).collect();
        let mut gauge = |name, help, values: Vec<(&str, u64)>| {
            let kind = ConstGauge::new(0i64).metric_type();
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (map, value) in values {
                let value = i64::try_from(value).unwrap_or(i64::MAX);
                ConstGauge::new(value).encode(family.encode_family(&[("map", map)])?)?;
            }
            Ok::<(), std::fmt::Error>(())
        };
        let used = maps.iter().filter_map(|(name, m)| Some((*name, m.used?))).collect();
        gauge("map_entries", "Entries in a map", used)?;
        let capacity = maps.iter().map(|(name, m)| (*name, u64::from(m.spec.max_entries))).collect();
        gauge("map_capacity", "Entries that a map has room for", capacity)?;
        gauge("map_bytes", "Kernel memory of a map", maps.iter().map(|(name, m)| (*name, m.bytes)).collect())
    }
}
