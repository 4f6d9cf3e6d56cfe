//! The metrics that dashboards and `ClusterLoader2` know from kube-proxy, under its names, with its labels and buckets
//! (`pkg/proxy/metrics/metrics.go`).

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};
use shunt_model::NoLocal;
use shunt_model::store::Family as IpFamily;
use std::sync::atomic::AtomicU64;

/// One label with one of few values.
pub type Label = [(&'static str, &'static str); 1];
/// Two labels with few values each.
pub type Labels = [(&'static str, &'static str); 2];
/// Counts by one label.
pub type Coded = Family<Label, Counter>;
type Gauges = Family<Label, Gauge<f64, AtomicU64>>;
type Histograms = Family<Label, Histogram, fn() -> Histogram>;

/// `kubeproxy_*`.
#[derive(Debug)]
pub struct KubeProxy {
    pub(super) registry: Registry,
    /// Answers of `/healthz` by code.
    pub healthz: Coded,
    /// Answers of `/livez` by code.
    pub livez: Coded,
    /// Time of each sync, by family.
    pub sync: Histograms,
    /// Of those, the ones that followed a full list.
    pub full_sync: Histograms,
    /// And the others.
    pub partial_sync: Histograms,
    /// From the change of an endpoint to the maps.
    pub programming: Histograms,
    /// Unix time of the last sync.
    pub last_sync: Gauges,
    /// Unix time of the last event.
    pub last_queued: Gauges,
    /// Changes of `EndpointSlice`s that wait.
    pub endpoints_pending: Gauge,
    /// All of them.
    pub endpoints: Counter,
    /// Changes of Services that wait.
    pub services_pending: Gauge,
    /// All of them.
    pub services: Counter,
    /// Service ports whose policy of Local leaves them without endpoints. A gauge, whatever its name says.
    pub no_local_endpoints: Family<Labels, Gauge>,
    /// UDP flows ended because their backend is gone.
    pub conntrack_deleted: Coded,
    /// Time of each step over the flows.
    pub conntrack_sync: Histograms,
}

impl Default for KubeProxy {
    fn default() -> Self {
        let mut r = Registry::with_prefix("kubeproxy");
        let metrics = Self {
            healthz: put(&mut r, "proxy_healthz", "Cumulative proxy healthz HTTP status"),
            livez: put(&mut r, "proxy_livez", "Cumulative proxy livez HTTP status"),
            sync: put_histograms(&mut r, "sync_proxy_rules_duration_seconds", "Time of a sync", sync_buckets),
            full_sync: put_histograms(
                &mut r,
                "sync_full_proxy_rules_duration_seconds",
                "Time of a sync after a full list",
                sync_buckets,
            ),
            partial_sync: put_histograms(
                &mut r,
                "sync_partial_proxy_rules_duration_seconds",
                "Time of a sync of changes",
                sync_buckets,
            ),
            programming: put_histograms(
                &mut r,
                "network_programming_duration_seconds",
                "From the change of an endpoint to the maps",
                programming_buckets,
            ),
            last_sync: put(&mut r, "sync_proxy_rules_last_timestamp_seconds", "Unix time of the last sync"),
            last_queued: put(
                &mut r,
                "sync_proxy_rules_last_queued_timestamp_seconds",
                "Unix time of the last event",
            ),
            endpoints_pending: put(
                &mut r,
                "sync_proxy_rules_endpoint_changes_pending",
                "Endpoint changes that wait",
            ),
            endpoints: put(&mut r, "sync_proxy_rules_endpoint_changes", "Endpoint changes"),
            services_pending: put(
                &mut r,
                "sync_proxy_rules_service_changes_pending",
                "Service changes that wait",
            ),
            services: put(&mut r, "sync_proxy_rules_service_changes", "Service changes"),
            no_local_endpoints: put(
                &mut r,
                "sync_proxy_rules_no_local_endpoints_total",
                "Service ports with a Local traffic policy and no endpoint on this node",
            ),
            conntrack_deleted: put(
                &mut r,
                "conntrack_reconciler_deleted_entries",
                "UDP flows ended because their backend is gone",
            ),
            conntrack_sync: put_histograms(
                &mut r,
                "conntrack_reconciler_sync_duration_seconds",
                "Time of a step over the flows",
                sync_buckets,
            ),
            registry: r,
        };
        // From the start, so that an alert on a rate sees the first 503.
        for (family, code) in [&metrics.healthz, &metrics.livez].into_iter().zip([["200", "503"]; 2]) {
            code.into_iter().for_each(|code| drop(family.get_or_create(&[("code", code)])));
        }
        metrics
    }
}

impl KubeProxy {
    /// Brings the gauges of service ports without local endpoints up to date.
    pub fn set_no_local_endpoints(&self, counts: NoLocal, families: &[IpFamily]) {
        for (policy, counts) in ["external", "internal"].into_iter().zip(counts) {
            for family in families {
                let labels = [("traffic_policy", policy), ip_family(*family)[0]];
                let count = i64::try_from(counts[*family as usize]).unwrap_or(i64::MAX);
                self.no_local_endpoints.get_or_create(&labels).set(count);
            }
        }
    }
}

/// The label of a family.
#[must_use]
pub const fn ip_family(family: IpFamily) -> Label {
    [("ip_family", family_name(family))]
}

const fn family_name(family: IpFamily) -> &'static str {
    match family {
        IpFamily::V4 => "IPv4",
        IpFamily::V6 => "IPv6",
    }
}

fn put<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

fn put_histograms(registry: &mut Registry, name: &str, help: &str, new: fn() -> Histogram) -> Histograms {
    let metric = Histograms::new_with_constructor(new);
    registry.register(name, help, metric.clone());
    metric
}

/// 1 ms, doubling, 15 of them.
fn sync_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

/// Zero (as kube-proxy has it), 0.25 s, 0.5 s, each second to 59 s, each 5 s from a minute, each 30 s from two minutes to five.
fn programming_buckets() -> Histogram {
    let steps = |from: u32, by: u32, to: u32| (from..=to).step_by(by as usize).map(f64::from);
    let buckets = [0.0, 0.25, 0.5].into_iter().chain(steps(1, 1, 59)).chain(steps(60, 5, 115));
    Histogram::new(buckets.chain(steps(120, 30, 300)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode_registry;

    fn text(metrics: &KubeProxy) -> String {
        let mut text = String::new();
        encode_registry(&mut text, &metrics.registry).unwrap();
        text
    }

    #[test]
    fn names_and_labels_are_kube_proxys() {
        let metrics = KubeProxy::default();
        let v4 = ip_family(IpFamily::V4);
        for histogram in [&metrics.sync, &metrics.full_sync, &metrics.partial_sync, &metrics.programming] {
            histogram.get_or_create(&v4).observe(0.3);
        }
        for gauge in [&metrics.last_sync, &metrics.last_queued] {
            gauge.get_or_create(&v4).set(7.0);
        }
        metrics.endpoints_pending.set(7);
        metrics.services_pending.set(7);
        metrics.endpoints.inc();
        metrics.services.inc();
        metrics.set_no_local_endpoints([[1, 2], [3, 4]], &IpFamily::ALL);
        metrics.conntrack_deleted.get_or_create(&v4).inc_by(5);
        metrics.conntrack_sync.get_or_create(&v4).observe(0.3);
        metrics.healthz.get_or_create(&[("code", "200")]).inc();
        metrics.livez.get_or_create(&[("code", "503")]).inc();
        let text = text(&metrics);
        for line in [
            r#"kubeproxy_sync_proxy_rules_duration_seconds_bucket{le="0.001",ip_family="IPv4"} 0"#,
            r#"kubeproxy_sync_proxy_rules_duration_seconds_bucket{le="16.384",ip_family="IPv4"} 1"#,
            r#"kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family="IPv4"} 1"#,
            r#"kubeproxy_sync_partial_proxy_rules_duration_seconds_count{ip_family="IPv4"} 1"#,
            r#"kubeproxy_network_programming_duration_seconds_bucket{le="0.5",ip_family="IPv4"} 1"#,
            r#"kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv4"} 7.0"#,
            r#"kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family="IPv4"} 7.0"#,
            r#"kubeproxy_sync_proxy_rules_endpoint_changes_pending 7"#,
            r#"kubeproxy_sync_proxy_rules_endpoint_changes_total 1"#,
            r#"kubeproxy_sync_proxy_rules_service_changes_pending 7"#,
            r#"kubeproxy_sync_proxy_rules_service_changes_total 1"#,
            r#"kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy="external",ip_family="IPv6"} 2"#,
            r#"kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy="internal",ip_family="IPv4"} 3"#,
            r#"kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family="IPv4"} 5"#,
            r#"kubeproxy_conntrack_reconciler_sync_duration_seconds_bucket{le="0.512",ip_family="IPv4"} 1"#,
            r#"kubeproxy_proxy_healthz_total{code="200"} 1"#,
            r#"kubeproxy_proxy_livez_total{code="503"} 1"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn the_buckets_of_network_programming_are_kube_proxys() {
        let metrics = KubeProxy::default();
        metrics.programming.get_or_create(&ip_family(IpFamily::V6)).observe(0.1);
        let text = text(&metrics);
        let buckets: Vec<&str> =
            text.lines().filter_map(|l| Some(l.split_once("{le=\"")?.1.split_once('"')?.0)).collect();
        assert_eq!(buckets.len(), 3 + 59 + 12 + 7 + 1);
        assert_eq!(buckets[..5], ["0.0", "0.25", "0.5", "1.0", "2.0"]);
        assert_eq!(buckets[61..64], ["59.0", "60.0", "65.0"]);
        assert_eq!(
            buckets[73..],
            ["115.0", "120.0", "150.0", "180.0", "210.0", "240.0", "270.0", "300.0", "+Inf"]
        );
    }
}
