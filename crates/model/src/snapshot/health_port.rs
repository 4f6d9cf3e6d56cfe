//! `spec.healthCheckNodePort`.

use super::service::Reader;
use super::{PortSpec, Words, port_number};
use crate::objects::ServiceSpec;
use shunt_common::Proto;

/// The name of the port in listings; the API lets no port of a Service have it.
const NAME: &str = "healthCheckNodePort";

/// Adds the port at which a health check answers on a load balancer's addresses too: some load balancers probe these and
/// not the node's. A port of the service's own with that number comes first.
pub(super) fn add(ports: &mut Vec<PortSpec>, port: u16, words: &mut Words) {
    let proto = Proto::Tcp;
    let free = ports.iter().all(|p| (p.port, p.proto) != (port, proto) && &*p.name != NAME);
    if port != 0 && free {
        ports.push(PortSpec { name: words.get(NAME), port, node_port: 0, proto, health_check: true });
    }
}

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
