//! Where Shunt means to differ from kube-proxy. Nothing else may.

use crate::cluster::{Cluster, Mode, SERVICE_CIDRS, pod_cidrs};
use crate::compare::{Case, How};
use crate::rules::{Fate, Source};
use ipnet::IpNet;
use shunt_common::Reason;
use shunt_model::fate;
use shunt_model::objects::Service;
use std::net::IpAddr;

/// A difference, with what may explain it.
pub struct Seen<'a> {
    pub cluster: &'a Cluster,
    pub case: &'a Case,
}

/// A difference that is meant.
pub struct Known {
    pub what: &'static str,
    pub why: &'static str,
    holds: fn(&Seen<'_>) -> bool,
}

pub const TABLE: &[Known] = &[
    Known {
        what: "a backend of this node sees the client's address where kube-proxy masquerades",
        why: "DESIGN 4.4: the reply passes here in any case, so the address can be kept",
        holds: |s| matches!(s.case.how, How::Masquerade { kube: true, local: true }),
    },
    Known {
        what: "a pod or the node keeps its address to a backend of another node where kube-proxy masquerades",
        why: "DESIGN 4.1: it is translated before a packet exists, and the reply comes to it directly",
        holds: |s| {
            matches!(s.case.how, How::Masquerade { kube: true, local: false })
                && !matches!(s.from(), Source::Device(_))
        },
    },
    Known {
        what: "a pod of another node is somebody outside, also where kube-proxy goes by clusterCIDR",
        why: "such a packet comes by a device; kube-proxy's other modes of detectLocalMode see it as Shunt does",
        holds: |s| {
            let pods = |n: &IpNet| n.contains(&s.from().addr());
            s.cluster.detect == Mode::ClusterCidr
                && matches!(s.from(), Source::Device(_))
                && (1..=3).any(|n| pod_cidrs(n).iter().any(pods))
                && match s.case.how {
                    How::Fate => s.local_external(s.to()),
                    How::Masquerade { kube, local } => !kube && !local,
                    How::Affinity => false,
                }
        },
    },
    Known {
        what: "a port that no service has is refused at a load balancer's address, which kube-proxy lets pass",
        why: "it would go from router to node and back until its TTL ends (ADR on virtual addresses; Cilium does so)",
        holds: |s| {
            s.case.kube == Fate::Untouched
                && s.case.shunt == fate::Fate::Reject(Reason::UnknownPort)
                && s.services().any(|v| vips(v).any(|a| a == s.to()))
        },
    },
    Known {
        what: "an address of a ServiceCIDR that no service has passes, which kube-proxy drops",
        why: "Shunt does not watch ServiceCIDRs yet",
        holds: |s| {
            let nets = SERVICE_CIDRS.iter().map(|n| n.parse::<IpNet>().unwrap());
            s.case.kube == Fate::Drop
                && s.case.shunt == fate::Fate::Pass
                && nets.into_iter().any(|n| n.contains(&s.to()))
        },
    },
    Known {
        what: "an external or load balancer's address that is the node's, a ClusterIP or a pod's is not served",
        why: "CVE-2020-8554: whoever may write Services could take others' traffic",
        holds: |s| {
            s.case.how == How::Fate
                && s.services().any(|v| external_ips(v).any(|a| a == s.to()))
                && s.refused(s.to())
        },
    },
];

/// The row of the table that a difference falls under.
pub fn find(seen: &Seen<'_>) -> Option<usize> {
    TABLE.iter().position(|known| (known.holds)(seen))
}

impl<'a> Seen<'a> {
    fn from(&self) -> Source {
        self.case.probe.0
    }

    fn to(&self) -> IpAddr {
        self.case.probe.1.ip()
    }

    fn services(&self) -> impl Iterator<Item = &'a Service> {
        self.cluster.services().into_iter()
    }

    /// An address that some service answers on by `externalTrafficPolicy: Local`, a node's own for NodePorts.
    fn local_external(&self, addr: IpAddr) -> bool {
        let local = |v: &&Service| v.spec.external_traffic_policy.as_deref() == Some("Local");
        let node = self.cluster.addresses(self.case.node).contains(&addr);
        self.services().filter(local).any(|v| node || external_ips(v).chain(vips(v)).any(|a| a == addr))
    }

    fn refused(&self, addr: IpAddr) -> bool {
        let cluster_ip = self.services().any(|v| {
            let ips = v.spec.cluster_ips.iter().flatten();
            ips.filter_map(|ip| ip.parse::<IpAddr>().ok()).any(|ip| ip == addr)
        });
        cluster_ip
            || self.cluster.addresses(self.case.node).contains(&addr)
            || pod_cidrs(self.case.node).iter().any(|n| n.contains(&addr))
    }
}

fn external_ips(service: &Service) -> impl Iterator<Item = IpAddr> {
    service.spec.external_ips.iter().flatten().filter_map(|a| a.parse().ok())
}

fn vips(service: &Service) -> impl Iterator<Item = IpAddr> {
    let ingress = service.status.load_balancer.iter().flat_map(|l| l.ingress.iter().flatten());
    ingress.filter_map(|i| i.ip.as_ref()?.parse().ok())
}
