//! Calico's unit tests of its BPF programs (felix/bpf/ut), those about NAT and what belongs to it, in our terms: each row is the
//! name of the original.

use crate::packet::{ACK, Kind, Packet, SYN, SYN_ACK};
use crate::table;
use crate::table::At::{self, Case, Here, No};
use crate::world::{DROP, Family, NEXT, REDIRECT, World};
use shunt_common::FrontendKind::NodePort;
use shunt_common::Reason;
use shunt_datapath::Sizes;
use std::net::IpAddr;

const TCP: u8 = 6;
const UDP: u8 = 17;

const NAT: &[(&str, At)] = &[
    ("TestNATPodPodXNode", Case("pods::a_pod_reaches_a_cluster_ip_and_hears_it_answer")),
    ("TestNATNodePort: no route", Here(without_a_route_a_packet_is_dropped_and_counted)),
    (
        "TestNATNodePort: node1 to node2 in a tunnel",
        Case("dsr_ipip::every_packet_goes_to_the_backend_whole_inside_another"),
    ),
    (
        "TestNATNodePort: node2 takes it out",
        Case("dsr_ipip::the_backend_s_node_takes_the_packet_out_and_answers_from_the_service"),
    ),
    (
        "TestNATNodePort: the reply goes back through the tunnel",
        No(
            "the backend's node answers the client itself; a reply that must go back the same way is SNAT's: snat::case_07",
        ),
    ),
    (
        "TestNATNodePort: ICMP too big from a middlebox",
        Case("icmp_error::an_error_from_between_node_and_remote_backend_reaches_the_client"),
    ),
    (
        "TestNATNodePort: another source port has rows of its own",
        Here(another_source_port_has_rows_of_its_own),
    ),
    ("TestNATNodePort: host-networked backend", Here(a_backend_at_a_node_s_own_address_is_reached)),
    ("TestNATNodePortNoFWD", Case("snat::case_01_a_local_backend_gets_the_client_s_own_address")),
    ("TestNATNodePortMultiNIC: other NIC", Case("multihomed::packets_of_a_flow_may_come_in_by_any_device")),
    (
        "TestNATNodePortMultiNIC: wrong source or VNI of the tunnel",
        Case("dsr_ipip::what_others_carry_passes_untouched"),
    ),
    ("TestNATNodePortICMPTooBig", Case("dsr_ipip::what_does_not_fit_any_more_is_answered_with_what_does")),
    ("TestNATSYNRetryGoesToSameBackend", Case("flows::a_retransmitted_syn_goes_to_the_same_backend")),
    (
        "TestNATAffinity, V6: the second connection",
        Case("policy::a_client_keeps_its_backend_and_another_client_has_its_own"),
    ),
    (
        "TestNATAffinity, V6: time over, backend removed",
        Case("policy::affinity_ends_when_its_time_is_over_or_the_pool_has_the_backend_no_more"),
    ),
    (
        "TestNATNodePortIngressDSR",
        Case("dsr::a_syn_goes_to_the_backend_from_the_client_and_names_the_service"),
    ),
    (
        "TestNATNodePortDSROptout",
        No(
            "a service opts out, not a range of clients: dsr::without_the_flag_the_same_service_is_served_by_snat",
        ),
    ),
    ("TestNATSourceCollision", Here(a_source_port_that_is_taken_is_not_given_again)),
    (
        "TestNATHostRemoteNPLocalPod",
        No("the node's own sockets are translated at connect: the rows of tests/agreement"),
    ),
    ("TestNATOutExcludeHosts", No("masquerading what pods send to the outside is the CNI's")),
    (
        "TestNATNodePort fragments",
        Case("fragments::a_large_datagram_reaches_a_remote_backend_and_its_large_reply_the_client"),
    ),
    (
        "TestSVCLoopPrevention drop, reject",
        Case("vip::what_goes_to_a_service_cidr_s_address_that_no_service_has_is_dropped"),
    ),
    ("TestNoBackendFromHEP: count 0", Case("no_backend::tcp_without_a_backend_is_reset")),
    (
        "TestNoBackendFromHEP: count 1 without a row",
        Case("safety::a_slot_and_a_backend_of_zeros_are_no_backend"),
    ),
];

const BESIDE: &[(&str, At)] = &[
    ("TestICMPRelatedPlain", Case("icmp_error::what_is_none_of_ours_passes_untouched")),
    (
        "TestICMPRelatedNATPodPod",
        Case("icmp_error::errors_about_a_pod_s_flow_pass_at_its_own_interface_both_ways"),
    ),
    (
        "TestICMPRelatedFromHost, host-networked",
        No("errors about the node's own packets are the stack's: a socket's flow has no row"),
    ),
    (
        "TestICMPRelatedFromHostBeforeNAT",
        Case("icmp_error::an_error_from_the_client_s_side_about_a_reply_reaches_the_remote_backend"),
    ),
    ("TestICMPTooBig", Case("no_backend::a_packet_too_long_for_the_way_is_told_the_mtu")),
    ("TestICMPTTLExceeded", Case("no_backend::a_packet_that_may_go_no_further_is_told_so")),
    (
        "TestICMPPortUnreachable",
        Case("no_backend::udp_without_a_backend_is_told_that_the_port_is_unreachable"),
    ),
    (
        "TestIP4Defrag: in order",
        Case("fragments::a_large_datagram_reaches_a_local_backend_and_its_large_reply_the_client"),
    ),
    (
        "TestIP4Defrag: out of order",
        Case("fragments::later_fragments_may_come_in_any_order_behind_the_first"),
    ),
    (
        "TestIP4Defrag: first one last",
        Case("fragments::a_datagram_whose_first_fragment_comes_last_is_lost_and_counted_once_at_a_node_port"),
    ),
    (
        "TestIPOptions",
        Case("options::options_and_extension_headers_are_kept_on_the_way_to_a_remote_backend_and_back"),
    ),
    ("TestIPDecTTL", Case("snat::case_06_a_remote_backend_is_reached_from_the_node_s_address")),
    ("TestTCPRecycleClosedConn, NAT", Case("flows::a_port_reused_after_a_close_starts_a_new_flow")),
    ("TestConntrackNATRST", Case("flows::a_reset_that_nobody_believes_does_not_end_a_flow")),
    ("Conntrack scanner", No("user space ends silent flows: crates/datapath/tests/datapath/expiring.rs")),
    ("SNAT", Case("snat::case_15_and_16_two_services_with_one_backend_each_answer_from_their_own_frontend")),
    ("TestConnectionAllowedCTFull", Here(a_full_table_stops_no_plain_flow)),
    ("Map upgrades", No("maps of another ABI version are not read: pins have the version in their path")),
    (
        "Maglev: node3 fails, node1 goes on",
        Case("maglev::a_flow_that_fails_over_to_another_node_in_its_middle_reaches_the_same_backend"),
    ),
    ("Malformed packets", Case("no_backend::frames_cut_short_anywhere_pass_or_drop_and_never_change")),
    ("Istio DSCP", No("Shunt has no Istio mode")),
    ("Tunnel mark", No("Shunt sets no marks: safety::the_mark_of_a_packet_is_left_alone")),
    (
        "Attach, precompilation",
        No("no packets: crates/datapath/tests/datapath/interfaces.rs, and cargo xtask test-kernels"),
    ),
];

fn ask(f: Family, sport: u16, kind: Kind) -> Packet {
    Packet::new((f.client(), sport), (f.node(), 30333), kind)
}

fn node(w: &mut World, backend: IpAddr, local: bool) {
    let f = w.family;
    for proto in [TCP, UDP] {
        w.service(NodePort, (f.node(), 30333), proto, (backend, 666), local);
    }
}

fn without_a_route_a_packet_is_dropped_and_counted(f: Family) {
    let mut w = World::new(f);
    // A backend whose address the node has taken out of its routes.
    let route = match f {
        Family::V4 => "route add unreachable 10.1.2.0/25 metric 1",
        Family::V6 => "route add unreachable fd00:1:2::/65 metric 1",
    };
    let done = std::process::Command::new("ip").args(route.split(' ')).status().unwrap();
    assert!(done.success());
    node(&mut w, f.remote_pod(), false);
    for kind in [SYN, Kind::Udp] {
        assert_eq!(w.hook("tc_ingress", &ask(f, 54_321, kind)).verdict, DROP);
    }
    assert_eq!((w.counted(Reason::NoRoute), w.rows()), (2, 0), "nothing is remembered of it");
}

fn another_source_port_has_rows_of_its_own(f: Family) {
    let mut w = World::new(f);
    node(&mut w, f.remote_pod(), false);
    let [a, b] = [54_321, 54_322].map(|port| w.expect("tc_ingress", &ask(f, port, SYN), REDIRECT));
    assert_ne!(a.sport, b.sport);
    assert_eq!(w.rows(), 4);
    for (wire, port) in [(a, 54_321), (b, 54_322)] {
        let back = w.expect("tc_ingress", &Packet { ttl: 65, ..wire.reply(SYN_ACK) }, REDIRECT);
        assert_eq!(back, ask(f, port, SYN).reply(SYN_ACK));
    }
}

fn a_backend_at_a_node_s_own_address_is_reached(f: Family) {
    // On this node: its own address and port, up the stack. On another: from here, as any remote one.
    let mut w = World::new(f);
    node(&mut w, f.node(), true);
    let seen = w.expect("tc_ingress", &ask(f, 54_321, SYN), NEXT);
    assert_eq!((seen.src, seen.dst, seen.dport), (f.client(), f.node(), 666));
    assert_eq!(w.expect("tc_egress", &seen.reply(SYN_ACK), NEXT), ask(f, 54_321, SYN).reply(SYN_ACK));
    let other: IpAddr = if f == Family::V4 { "10.0.0.2" } else { "fd00::2" }.parse().unwrap();
    let mut w = World::new(f);
    node(&mut w, other, false);
    let wire = w.expect("tc_ingress", &ask(f, 54_321, SYN), REDIRECT);
    assert_eq!((wire.src, wire.dst, wire.dport), (f.node(), other, 666));
}

fn a_source_port_that_is_taken_is_not_given_again(f: Family) {
    // As many ports as are tried for a flow; every client comes from the first of them.
    let mut w = World::with_ports(f, 54_321..=54_336);
    node(&mut w, f.remote_pod(), false);
    let from = |n: u16| {
        let client: IpAddr = match f {
            Family::V4 => format!("198.51.100.{n}"),
            Family::V6 => format!("2001:db8:c::{n}"),
        }
        .parse()
        .unwrap();
        Packet { src: client, ..ask(f, 54_321, SYN) }
    };
    let first = w.expect("tc_ingress", &from(1), REDIRECT);
    assert_eq!(first.sport, 54_321, "kept when it is free");
    assert_ne!(w.expect("tc_ingress", &from(2), REDIRECT).sport, 54_321);
    let refused: Vec<u16> = (3..100).filter(|n| w.hook("tc_ingress", &from(*n)).verdict == DROP).collect();
    assert_eq!(w.counted(Reason::SnatExhausted), refused.len() as u64);
    let last = *refused.last().expect("more clients than ports");
    assert!(!w.has_row(&from(last)), "nothing of a refused flow is left");
    // One ends, and its port is there for the next.
    w.cut_row(&from(1));
    w.cut_row(&first.reply(SYN_ACK));
    assert_eq!(w.expect("tc_ingress", &from(last), REDIRECT).sport, 54_321);
}

fn a_full_table_stops_no_plain_flow(f: Family) {
    let mut w = World::sized(f, Sizes { ring_slots: 64, ..Sizes::new(1024, 32) });
    node(&mut w, f.remote_pod(), false);
    let mut refused = false;
    for port in 2000..2064 {
        refused |= w.hook("tc_ingress", &ask(f, port, SYN)).verdict == DROP;
    }
    assert!(refused && w.counted(Reason::FlowTableFull) > 0, "{:?}", w.reasons());
    for (packet, kind) in
        [(ask(f, 3000, SYN), SYN), (ask(f, 3000, ACK), ACK), (ask(f, 3000, Kind::Udp), Kind::Udp)]
    {
        let plain = Packet { dport: 22, kind, ..packet };
        assert_eq!(w.expect("tc_ingress", &plain, NEXT), plain);
        assert_eq!(w.expect("tc_egress", &plain.reply(kind), NEXT), plain.reply(kind));
    }
}

#[test]
fn the_nat_list() {
    table::run(NAT, 24);
}

#[test]
fn what_belongs_to_it() {
    table::run(BESIDE, 23);
}
