//! `spec.healthCheckNodePort`.

use super::port_number;
use super::service::Reader;
use crate::objects::ServiceSpec;

impl Reader {
    /// The port, of a service that has one: type LoadBalancer with external traffic policy Local (KEP-27, kube-proxy's
    /// contract). Zero for none.
    pub(super) fn health_port(&mut self, spec: &ServiceSpec, kind: &str) -> u16 {
        let local = spec.external_traffic_policy.as_deref() == Some("Local");
        let Some(field) = spec.health_check_node_port.filter(|n| kind == "LoadBalancer" && local && *n != 0)
        else {
            return 0;
        };
        port_number(field).unwrap_or_else(|| {
            self.problem(
                format!("spec.healthCheckNodePort {field} is not in 1-65535"),
                "correct it; the service is served, but no health check answers",
            );
            0
        })
    }
}
