//! Which packet case belongs to which feature, and why a feature has none at a hook.

/// The hooks that packets meet.
pub const HOOKS: &[&str] = &["xdp", "tc_ingress", "tc_egress", "pod_ingress", "pod_egress"];

/// Something that the programs promise.
pub struct Feature {
    pub title: &'static str,
    /// Its cases: a module, or the beginning of `module::case`.
    cases: &'static [&'static str],
    /// Hooks that it has no case at, and why.
    pub without: &'static [(&'static [&'static str], &'static str)],
}

impl Feature {
    pub fn has(&self, test: &str) -> bool {
        self.cases.iter().any(|case| test.starts_with(case))
    }
}

const OUTSIDE: &str = "only clients outside are served by SNAT or DSR; a pod's packets are routed to the backend with its own address";
const NO_START: &str =
    "a flow begins where its first packet comes in; this hook sees it later, or only its replies";
const ANSWERED: &str = "a packet is answered where it comes in";
const NEW_FLOWS: &str = "it is decided for a flow's first packet, where that comes in";
const AS_TC: &str =
    "the step is the same function as at tc_ingress, and pods' flows are tried by their own cases";

/// Every feature. A case that belongs to none is an error.
pub const FEATURES: &[Feature] = &[
    Feature {
        title: "local backend, client's address kept",
        cases: &[
            "snat::case_01",
            "snat::case_02",
            "snat::case_03",
            "snat::case_04",
            "snat::case_05",
            "snat::one_client_port",
        ],
        without: &[(&["pod_ingress", "pod_egress"], OUTSIDE)],
    },
    Feature {
        title: "remote backend by SNAT",
        cases: &[
            "snat::case_06",
            "snat::case_07",
            "snat::case_08",
            "snat::case_09",
            "snat::case_10",
            "snat::case_12",
            "snat::case_13",
            "snat::case_15",
        ],
        without: &[
            (&["tc_egress"], "both directions come in by a device and are sent on from there"),
            (&["pod_ingress", "pod_egress"], OUTSIDE),
        ],
    },
    Feature {
        title: "remote backend by DSR, address in an option",
        cases: &["dsr::", "dsr_fail_over::"],
        without: &[(&["pod_ingress", "pod_egress"], OUTSIDE)],
    },
    Feature {
        title: "remote backend by DSR, packet in a packet",
        cases: &["dsr_ipip::", "ecn::"],
        without: &[(&["pod_ingress", "pod_egress"], OUTSIDE)],
    },
    Feature {
        title: "remote backend by DSR, address in a tunnel's header",
        cases: &["dsr_geneve::", "ecn::"],
        without: &[(&["pod_ingress", "pod_egress"], OUTSIDE)],
    },
    Feature {
        title: "remote backend without leaving the driver",
        cases: &["driver::", "driver_dsr::"],
        without: &[(&["tc_egress", "pod_ingress", "pod_egress"], "XDP is where packets come in by a device")],
    },
    Feature { title: "ICMP errors about flows", cases: &["icmp_error::", "dsr_error::"], without: &[] },
    Feature { title: "fragments", cases: &["fragments::"], without: &[] },
    Feature { title: "SNAT ports and the node's own sockets", cases: &["local_socket::"], without: &[] },
    Feature {
        title: "a connection past the service by the flow's ports",
        cases: &["crossed::"],
        without: &[],
    },
    Feature {
        title: "several addresses and devices",
        cases: &["multihomed::"],
        without: &[
            (&["tc_egress"], "replies leave by any device: a local backend's case 4"),
            (&["pod_ingress", "pod_egress"], OUTSIDE),
        ],
    },
    Feature {
        title: "flow table",
        cases: &["flows::"],
        without: &[(&["tc_egress", "pod_ingress", "pod_egress"], AS_TC)],
    },
    Feature { title: "pods by their packets", cases: &["pods::"], without: &[] },
    Feature {
        title: "hairpin",
        cases: &["policy::a_pod_reaches_itself"],
        without: &[(&["xdp", "tc_ingress", "tc_egress"], "the packet turns round at the pod's interface")],
    },
    Feature {
        title: "no backend",
        cases: &[
            "no_backend::tcp",
            "no_backend::a_segment",
            "no_backend::a_reset",
            "no_backend::udp",
            "no_backend::a_datagram",
            "no_backend::an_answer",
            "no_backend::answers",
        ],
        without: &[(&["tc_egress", "pod_egress"], ANSWERED)],
    },
    Feature {
        title: "TTL and MTU on the way to a remote backend",
        cases: &["no_backend::a_packet_"],
        without: &[(
            &["tc_egress", "pod_ingress", "pod_egress"],
            "the stack forwards these, and answers for itself",
        )],
    },
    Feature {
        title: "traffic policies",
        cases: &["policy::each_scope", "policy::with_endpoints"],
        without: &[(&["tc_egress", "pod_egress"], NEW_FLOWS)],
    },
    Feature {
        title: "source ranges",
        cases: &["policy::source_ranges", "policy::ranges"],
        without: &[(&["tc_egress", "pod_egress"], NEW_FLOWS)],
    },
    Feature {
        title: "session affinity",
        cases: &["policy::a_client_keeps", "policy::affinity"],
        without: &[(&["tc_egress", "pod_egress"], NEW_FLOWS)],
    },
    Feature {
        title: "Maglev",
        cases: &[
            "maglev::a_flow",
            "maglev::a_pod_s",
            "maglev::by_dsr",
            "maglev::more_backends",
            "maglev::one_backend",
            "maglev::a_table",
            "maglev::two_services",
        ],
        without: &[(&["tc_egress", "pod_egress"], NEW_FLOWS)],
    },
    Feature {
        title: "session affinity with Maglev",
        cases: &["maglev::a_client_with_affinity"],
        without: &[(&["tc_egress", "pod_egress"], NEW_FLOWS)],
    },
    Feature {
        title: "UDP flows end with their backend",
        cases: &["policy::a_udp_flow_ends", "flows::a_udp_flow_of", "flows::an_id"],
        without: &[(&["tc_egress", "pod_ingress", "pod_egress"], AS_TC)],
    },
    Feature { title: "SCTP", cases: &["policy::sctp"], without: &[(&["pod_ingress", "pod_egress"], AS_TC)] },
    Feature {
        title: "virtual addresses: pings and unknown ports",
        cases: &["vip::a_port", "vip::a_ping"],
        without: &[(&["pod_egress"], ANSWERED)],
    },
    Feature {
        title: "ClusterIPs and the outside",
        cases: &["no_backend::a_cluster_ip", "vip::a_cluster_ip"],
        without: &[(&["tc_egress", "pod_egress"], NO_START)],
    },
    Feature {
        title: "loopback addresses are never reached by packets",
        cases: &["vip::a_loopback"],
        without: &[],
    },
    Feature {
        title: "unused addresses of a ServiceCIDR",
        cases: &["vip::what_goes_to_a_service_cidr"],
        without: &[],
    },
    Feature { title: "rows of zeros, marks, floods of questions", cases: &["safety::"], without: &[] },
    Feature {
        title: "what is none of our business",
        cases: &["no_backend::what_no_service", "no_backend::frames_cut", "no_backend::a_frame_to"],
        without: &[],
    },
    Feature {
        title: "devices without Ethernet",
        cases: &["l3::"],
        without: &[(&["pod_ingress", "pod_egress"], "pod interfaces have Ethernet")],
    },
    Feature { title: "VLAN tags", cases: &["vlan::"], without: &[] },
    Feature {
        title: "IP options and extension headers",
        cases: &["options::", "big_tcp::"],
        without: &[(&["pod_ingress", "pod_egress"], AS_TC)],
    },
    Feature {
        title: "Katran's tables",
        cases: &["katran::"],
        without: &[(
            &["tc_egress", "pod_ingress", "pod_egress"],
            "they are of a balancer that sees what comes in by a device",
        )],
    },
    Feature {
        title: "Calico's NAT list",
        cases: &["calico::"],
        without: &[(&["pod_ingress", "pod_egress"], "pods' rows are tried by the cases that they name")],
    },
];
