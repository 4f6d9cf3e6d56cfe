//! Generated services: as objects for the lab's API, and as plain values for the rules of the peers.

use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddrV4};

/// The port of every ClusterIP, host order.
pub const PORT: u16 = 80;
/// NodePorts count from here. The usual range has too few for the largest cluster.
const FIRST_NODE_PORT: u16 = 11_000;
/// What `nodePort.range` must be for them.
pub const NODE_PORTS: &str = "11000-32767";

/// A NodePort service with one TCP port.
#[derive(Clone, Debug)]
pub struct Service {
    number: usize,
    /// Its endpoints, all on one port.
    pub endpoints: Vec<SocketAddrV4>,
}

impl Service {
    /// The one by number, with these endpoints.
    pub const fn new(number: usize, endpoints: Vec<SocketAddrV4>) -> Self {
        Self { number, endpoints }
    }

    /// One with endpoints that nobody answers at.
    pub fn made_up(number: usize, endpoints: usize) -> Self {
        let first = number * endpoints;
        Self::new(number, (first..first + endpoints).map(made_up).collect())
    }

    /// `namespace/name`.
    pub fn name(&self) -> String {
        format!("default/svc-{}", self.number)
    }

    /// Eight characters of its own, for names of chains.
    pub fn mark(&self) -> String {
        format!("{:08X}", self.number)
    }

    /// ClusterIP and port.
    pub fn cluster_ip(&self) -> SocketAddrV4 {
        let n = self.number;
        SocketAddrV4::new(Ipv4Addr::new(10, 96, 1 + (n / 250) as u8, 1 + (n % 250) as u8), PORT)
    }

    /// NodePort, host order.
    pub const fn node_port(&self) -> u16 {
        FIRST_NODE_PORT + self.number as u16
    }

    /// The Service object, complete: written past the API's own allocators.
    pub fn object(&self) -> Value {
        let ip = self.cluster_ip().ip().to_string();
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": format!("svc-{}", self.number), "namespace": "default"},
            "spec": {
                "type": "NodePort", "clusterIP": ip, "clusterIPs": [ip],
                "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
                "internalTrafficPolicy": "Cluster", "externalTrafficPolicy": "Cluster", "sessionAffinity": "None",
                "ports": [{
                    "name": "http", "protocol": "TCP",
                    "port": PORT, "targetPort": self.target_port(), "nodePort": self.node_port(),
                }],
            },
            "status": {"loadBalancer": {}},
        })
    }

    /// Its EndpointSlice, with all that Kubernetes' own controller writes for each endpoint.
    pub fn slice(&self, node: &str) -> Value {
        let endpoint = |(i, at): (usize, &SocketAddrV4)| {
            let name = format!("svc-{}-{i}", self.number);
            json!({
                "addresses": [at.ip().to_string()],
                "conditions": {"ready": true, "serving": true, "terminating": false},
                "nodeName": node,
                "targetRef": {"kind": "Pod", "namespace": "default", "name": name},
            })
        };
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": format!("svc-{}-1", self.number), "namespace": "default",
                "labels": {
                    "kubernetes.io/service-name": format!("svc-{}", self.number),
                    "endpointslice.kubernetes.io/managed-by": "shunt-bench",
                },
            },
            "endpoints": self.endpoints.iter().enumerate().map(endpoint).collect::<Vec<_>>(),
            "ports": [{"name": "http", "protocol": "TCP", "port": self.target_port()}],
        })
    }

    fn target_port(&self) -> u16 {
        self.endpoints.first().map_or(0, SocketAddrV4::port)
    }
}

/// An endpoint by number at which nobody answers.
pub fn made_up(number: usize) -> SocketAddrV4 {
    // Of pods of other nodes: the networks of the lab's own end before 10.245.
    SocketAddrV4::new(Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 245, 0, 1)) + number as u32), 8080)
}
