//! What may explain a difference.

use crate::cluster::{Cluster, pod_cidrs};
use crate::compare::Case;
use crate::kube::sloppy;
use crate::probe::addresses;
use crate::rules::Source;
use shunt_model::objects::{Endpoint, EndpointSlice, Service};
use std::net::IpAddr;

/// A difference, with what may explain it.
pub struct Seen<'a> {
    pub cluster: &'a Cluster,
    pub case: &'a Case,
}

impl<'a> Seen<'a> {
    pub fn from(&self) -> Source {
        self.case.probe.0
    }

    pub fn to(&self) -> IpAddr {
        self.case.probe.1.ip()
    }

    pub fn services(&self) -> impl Iterator<Item = &'a Service> {
        self.cluster.services().into_iter()
    }

    /// Services that stand at the address and port.
    pub fn asked(&self) -> impl Iterator<Item = &'a Service> {
        let (to, number) = (self.case.probe.1.ip(), i64::from(self.case.probe.1.port()));
        let node = self.cluster.addresses(self.case.node).contains(&to);
        self.services().filter(move |v| {
            let mut ports = v.spec.ports.iter().flatten();
            match node {
                true => ports.any(|p| p.node_port == Some(number)),
                false => addresses(v).contains(&to) && ports.any(|p| p.port == number),
            }
        })
    }

    /// What stands in the slices of a service.
    pub fn endpoints(&self, service: &Service) -> impl Iterator<Item = &'a Endpoint> {
        let (namespace, name) = (service.metadata.namespace.clone(), service.metadata.name.clone());
        let slices = self.cluster.slices().into_iter();
        let ours = move |s: &&EndpointSlice| {
            let of = s.metadata.label("kubernetes.io/service-name");
            s.metadata.namespace == namespace && of == Some(&name)
        };
        slices.filter(ours).flat_map(|s| s.endpoints.iter().flatten())
    }

    /// Whether `externalTrafficPolicy: Local` counts.
    pub fn is_external_local(&self) -> bool {
        self.asked().any(|v| v.spec.external_traffic_policy.as_deref() == Some("Local"))
    }

    pub fn is_cluster_ip(&self, addr: IpAddr) -> bool {
        self.services().any(|v| {
            let ips = v.spec.cluster_ips.iter().flatten();
            ips.filter_map(|ip| ip.parse::<IpAddr>().ok()).any(|ip| ip == addr)
        })
    }

    /// Whether no service may have an address as an external one.
    pub fn refused(&self, addr: IpAddr) -> bool {
        self.is_cluster_ip(addr)
            || self.cluster.addresses(self.case.node).contains(&addr)
            || pod_cidrs(self.case.node).iter().any(|n| n.contains(&addr))
    }
}

pub fn external_ips(service: &Service) -> impl Iterator<Item = IpAddr> {
    service.spec.external_ips.iter().flatten().filter_map(|a| sloppy(a))
}

pub fn vips(service: &Service) -> impl Iterator<Item = IpAddr> {
    let ingress = service.status.load_balancer.iter().flat_map(|l| l.ingress.iter().flatten());
    ingress.filter_map(|i| i.ip.as_ref()?.parse().ok())
}

/// Whether a service asks for another proxy.
pub fn is_anothers(service: &Service) -> bool {
    service.metadata.label("service.kubernetes.io/service-proxy-name").is_some()
}
