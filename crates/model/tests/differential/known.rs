//! Where Shunt differs from kube-proxy, and why it means to. Nothing else may differ: what is found is mended, or decided on
//! with a reason here.

use crate::cluster::{Mode, pod_cidrs};
use crate::compare::How;
use crate::rules::{Fate, Source};
use crate::seen::{Seen, external_ips, is_anothers, vips};
use ipnet::IpNet;
use shunt_common::Reason;
use shunt_model::fate;

/// A difference that is known.
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
        what: "a pod keeps its address to a backend of another node where kube-proxy masquerades",
        why: "DESIGN 4.1: it is translated before a packet exists, and the reply comes to it directly",
        holds: |s| {
            matches!(s.case.how, How::Masquerade { kube: true, local: false })
                && matches!(s.from(), Source::Pod(_))
                && !s.is_cluster_ip(s.to())
        },
    },
    Known {
        what: "the node's own connections are not masqueraded, as kube-proxy does",
        why: "they have the node's address in any case; the socket is given one after the translation",
        holds: |s| {
            matches!(s.case.how, How::Masquerade { kube: true, local: false })
                && matches!(s.from(), Source::Node(_))
        },
    },
    Known {
        what: "a ClusterIP does not answer to the outside unless asked to",
        why: "DESIGN 4, the default of Cilium's users too: `bpf.lbExternalClusterIP`",
        holds: |s| {
            !s.cluster.external_cluster_ip
                && matches!(s.from(), Source::Device(_))
                && s.case.shunt == fate::Fate::Pass
                && s.is_cluster_ip(s.to())
        },
    },
    Known {
        what: "masqueradeAll: a pod keeps its address to a ClusterIP's backend of another node",
        why: "it makes replies come back through the node; here they need not: the socket is translated, or the pod's own \
              interface, which every reply passes",
        holds: |s| {
            matches!(s.case.how, How::Masquerade { kube: true, local: false })
                && matches!(s.from(), Source::Pod(_))
                && s.cluster.masquerade_all
                && s.is_cluster_ip(s.to())
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
                    How::Fate => s.is_external_local(),
                    How::Masquerade { kube, local } => !kube && !local,
                    How::Affinity => false,
                }
        },
    },
    Known {
        what: "a port of a load balancer's address that another proxy serves is refused",
        why: "no watch, kube-proxy's neither, shows another proxy's Services, so it is a port that nobody serves: \
              services of two proxies must not share an address (docs/kube-proxy.md)",
        holds: |s| {
            s.case.shunt == fate::Fate::Reject(Reason::UnknownPort)
                && s.asked().any(|v| vips(v).any(|a| a == s.to()) && is_anothers(v))
        },
    },
    Known {
        what: "a port that no service has is refused at a load balancer's address, which kube-proxy lets pass",
        why: "it would go from router to node and back until its TTL ends",
        holds: |s| {
            s.case.kube == Fate::Untouched
                && s.case.shunt == fate::Fate::Reject(Reason::UnknownPort)
                && s.services().any(|v| vips(v).any(|a| a == s.to()))
        },
    },
    Known {
        what: "an external or load balancer's address that is the node's, a ClusterIP or a pod's is not served",
        why: "CVE-2020-8554: whoever may write Services could take others' traffic",
        holds: |s| s.services().any(|v| external_ips(v).any(|a| a == s.to())) && s.refused(s.to()),
    },
    Known {
        what: "an endpoint on a loopback or link-local address is not used",
        why: "CVE-2021-25737: through any service one could reach the node itself or the cloud's metadata server",
        holds: |s| {
            let bad = |a: &String| {
                a.starts_with("127.") || a.starts_with("169.254.") || a == "::1" || a == "fe80::1"
            };
            s.asked().any(|v| s.endpoints(v).flat_map(|e| &e.addresses).any(bad))
        },
    },
    Known {
        what: "source ranges let the node in by its first address, whichever of its addresses it comes from",
        why: "a socket that connects has no address yet, and most have never another",
        holds: |s| {
            let first = s.cluster.primary(s.case.node);
            matches!(s.from(), Source::Node(addr) if !first.contains(&addr))
                && s.asked().any(|v| v.spec.load_balancer_source_ranges.is_some())
        },
    },
];

/// The row of the table that a difference falls under.
pub fn find(seen: &Seen<'_>) -> Option<usize> {
    TABLE.iter().position(|known| (known.holds)(seen))
}
