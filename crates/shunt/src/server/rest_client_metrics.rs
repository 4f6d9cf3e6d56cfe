//! Requests to the API server, under the names and with the buckets of Kubernetes' own clients
//! (`k8s.io/component-base/metrics/prometheus/restclient`).

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

/// Seconds.
const BUCKETS: [f64; 12] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];

type Requests = Family<[(&'static str, String); 3], Counter>;
type Durations = Family<[(&'static str, String); 2], Histogram, fn() -> Histogram>;

/// `rest_client_*`. Clones count together.
#[derive(Clone, Debug)]
pub struct RestClient {
    requests: Requests,
    durations: Durations,
}

impl Default for RestClient {
    fn default() -> Self {
        let durations = Durations::new_with_constructor(|| Histogram::new(BUCKETS));
        Self { requests: Requests::default(), durations }
    }
}

impl RestClient {
    /// Notes a request to `host` that was answered with `code`, or not at all, and the time until the answer began. There is
    /// one host, and methods and codes are those of HTTP: nobody else can make the figures grow.
    pub fn observe(&self, host: &str, method: &str, code: Option<u16>, took: Duration) {
        let method = match method {
            "GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "HEAD" | "OPTIONS" => method,
            _ => "OTHER",
        };
        let code = code.map_or_else(|| "<error>".into(), |code| code.to_string());
        let labels = [("code", code), ("host", host.into()), ("method", method.into())];
        self.requests.get_or_create(&labels).inc();
        let labels = [("host", host.into()), ("verb", method.into())];
        self.durations.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Both, to be encoded.
    #[must_use]
    pub fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("rest_client");
        registry.register("requests", "Requests to the API server", self.requests.clone());
        let help = "Time until the API server's answer began";
        registry.register("request_duration_seconds", help, self.durations.clone());
        registry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_count_by_code_host_and_method_and_methods_are_few() {
        let metrics = RestClient::default();
        let took = Duration::from_millis(30);
        metrics.observe("h:6443", "GET", Some(200), took);
        metrics.observe("h:6443", "BREW", None, took);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &metrics.registry()).unwrap();
        for line in [
            r#"rest_client_requests_total{code="200",host="h:6443",method="GET"} 1"#,
            r#"rest_client_requests_total{code="<error>",host="h:6443",method="OTHER"} 1"#,
            r#"rest_client_request_duration_seconds_bucket{le="0.025",host="h:6443",verb="GET"} 0"#,
            r#"rest_client_request_duration_seconds_bucket{le="0.1",host="h:6443",verb="GET"} 1"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
