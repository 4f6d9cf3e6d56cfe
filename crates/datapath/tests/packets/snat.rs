//! The field's SNAT suite: a load balancer node between an outside client and a backend. The numbers are the cases of
//! the suite that Cilium runs for the same feature.

use crate::coverage;
use crate::packet::{ACK, Kind, Packet, SYN, SYN_ACK};
use crate::world::{BOTH, Family, NEXT, REDIRECT, REMOTE_NODE, ROUTER, World};
use shunt_common::FrontendKind::{LoadBalancer, NodePort};

const TCP: u8 = 6;
const UDP: u8 = 17;

fn syn(f: Family) -> Packet {
    Packet::new((f.client(), 40_000), (f.vip(), 80), SYN)
}

/// A world with one service, tcp and udp, at the VIP.
fn world(f: Family, local: bool) -> World {
    let mut w = World::new(f);
    let to = if local { f.local_pod() } else { f.remote_pod() };
    w.service(LoadBalancer, (f.vip(), 80), TCP, (to, 8080), local);
    w.service(LoadBalancer, (f.vip(), 80), UDP, (to, 8080), local);
    w
}

/// Through the node to a remote backend; returns the packet on the wire.
fn forwarded(w: &World, packet: &Packet) -> Packet {
    w.expect("tc_ingress", packet, REDIRECT)
}

#[test]
fn case_01_a_local_backend_gets_the_client_s_own_address() {
    for f in BOTH {
        let w = world(f, true);
        let got = w.expect("tc_ingress", &syn(f), NEXT);
        assert_eq!(got, Packet { dst: f.local_pod(), dport: 8080, ..syn(f) });
    }
}

#[test]
fn case_02_the_reply_of_a_local_backend_comes_from_the_frontend() {
    for f in BOTH {
        let w = world(f, true);
        let seen = w.expect("tc_ingress", &syn(f), NEXT);
        let got = w.expect("tc_egress", &seen.reply(SYN_ACK), NEXT);
        assert_eq!(got, syn(f).reply(SYN_ACK));
    }
}

#[test]
fn case_03_two_services_on_one_node_keep_to_their_own_backends() {
    for f in BOTH {
        let mut w = world(f, true);
        w.service(NodePort, (f.node(), 30080), TCP, (f.local_pod(), 9090), true);
        let other = Packet::new((f.client(), 40_000), (f.node(), 30080), SYN);
        assert_eq!(w.expect("tc_ingress", &other, NEXT).dport, 9090);
        assert_eq!(w.expect("tc_ingress", &syn(f), NEXT).dport, 8080);
    }
}

#[test]
fn case_04_the_reply_leaves_by_whatever_device_the_node_routes_it_to() {
    // The egress hook of any device un-translates: it looks at the flow, not at the device that the packet came by.
    for f in BOTH {
        let w = world(f, true);
        let seen = w.expect("tc_ingress", &syn(f), NEXT);
        let frame = seen.reply(SYN_ACK).bytes();
        // SAFETY: a NUL-terminated name.
        let other = unsafe { libc::if_nametoindex(c"wire0".as_ptr()) };
        coverage::ran(f, "tc_egress");
        let outcome = w.run.run("tc_egress", &frame, other, 1).unwrap();
        assert_eq!((outcome.verdict, Packet::read(&outcome.packet)), (NEXT, syn(f).reply(SYN_ACK)));
    }
}

#[test]
fn case_05_udp_to_a_local_backend_and_back() {
    for f in BOTH {
        let w = world(f, true);
        let ask = Packet { kind: Kind::Udp, ..syn(f) };
        let seen = w.expect("tc_ingress", &ask, NEXT);
        assert_eq!((seen.dst, seen.dport, seen.src, seen.sport), (f.local_pod(), 8080, f.client(), 40_000));
        assert_eq!(w.expect("tc_egress", &seen.reply(Kind::Udp), NEXT), ask.reply(Kind::Udp));
    }
}

#[test]
fn case_06_a_remote_backend_is_reached_from_the_node_s_address() {
    for f in BOTH {
        let w = world(f, false);
        for kind in [SYN, Kind::Udp] {
            let got = forwarded(&w, &Packet { kind, ..syn(f) });
            assert_eq!((got.src, got.dst, got.dport, got.ttl), (f.node(), f.remote_pod(), 8080, 63));
            assert!(got.sport >= 32768);
        }
    }
}

#[test]
fn case_06_an_established_flow_is_sent_by_its_cached_route() {
    for f in BOTH {
        let w = world(f, false);
        let first = forwarded(&w, &syn(f));
        // The second packet asks the FIB, since the first was sent by the kernel's neighbour code; the third is cached.
        w.age(&syn(f));
        forwarded(&w, &Packet { kind: ACK, ..syn(f) });
        let outcome = w.hook("tc_ingress", &Packet { kind: ACK, ..syn(f) });
        assert_eq!(outcome.verdict, REDIRECT);
        assert_eq!(outcome.packet[..6], REMOTE_NODE, "the next hop's MAC");
        assert_eq!(outcome.packet[6..12], [2, 0, 0, 0, 0, 1], "the device's MAC");
        assert_eq!(Packet::read(&outcome.packet), Packet { kind: ACK, ..first });
    }
}

#[test]
fn case_07_the_reply_of_a_remote_backend_goes_to_the_client_from_the_frontend() {
    for f in BOTH {
        let w = world(f, false);
        let wire = forwarded(&w, &syn(f));
        let got = forwarded(&w, &wire.reply(SYN_ACK));
        assert_eq!(got, Packet { ttl: 62, ..syn(f).reply(SYN_ACK) });
        w.age(&wire.reply(SYN_ACK));
        forwarded(&w, &Packet { ttl: 64, ..wire.reply(ACK) });
        let outcome = w.hook("tc_ingress", &Packet { ttl: 64, ..wire.reply(ACK) });
        assert_eq!(outcome.packet[..6], ROUTER, "the router's MAC");
    }
}

#[test]
fn case_08_a_reply_is_sent_although_the_neighbour_is_unknown() {
    for f in BOTH {
        let w = world(f, false);
        let wire = forwarded(&w, &syn(f));
        let via = if f == Family::V4 { "10.0.0.254" } else { "fd00::fe" };
        let ip =
            std::process::Command::new("ip").args(["neigh", "del", via, "dev", "eth0"]).status().unwrap();
        assert!(ip.success());
        assert_eq!(forwarded(&w, &wire.reply(SYN_ACK)).dst, f.client());
    }
}

#[test]
fn case_09_a_packet_to_a_port_that_no_flow_has_is_left_to_the_stack() {
    for f in BOTH {
        let w = world(f, false);
        let stray = Packet::new((f.remote_pod(), 8080), (f.node(), 45_000), SYN_ACK);
        assert_eq!(w.expect("tc_ingress", &stray, NEXT), stray);
    }
}

#[test]
fn case_10_and_11_a_lost_reply_row_is_restored_with_the_same_port() {
    for f in BOTH {
        let w = world(f, false);
        let wire = forwarded(&w, &syn(f));
        w.cut_row(&wire.reply(SYN_ACK));
        w.age(&syn(f));
        let again = forwarded(&w, &Packet { kind: ACK, ..syn(f) });
        assert_eq!(again.sport, wire.sport);
        assert_eq!(forwarded(&w, &wire.reply(SYN_ACK)).dst, f.client());
    }
}

#[test]
fn case_12_a_flow_whose_port_was_taken_meanwhile_gets_a_new_one() {
    for f in BOTH {
        let w = world(f, false);
        let wire = forwarded(&w, &syn(f));
        w.cut_row(&syn(f));
        let again = forwarded(&w, &syn(f));
        assert_ne!(again.sport, wire.sport);
        assert_eq!(forwarded(&w, &again.reply(SYN_ACK)).dst, f.client());
    }
}

#[test]
fn case_13_and_14_a_lost_forward_row_is_rebuilt_by_a_reply_and_keeps_its_port() {
    for f in BOTH {
        let w = world(f, false);
        let wire = forwarded(&w, &syn(f));
        w.cut_row(&syn(f));
        w.age(&wire.reply(SYN_ACK));
        forwarded(&w, &wire.reply(SYN_ACK));
        assert!(w.has_row(&syn(f)), "the forward row is back");
        assert_eq!(forwarded(&w, &Packet { kind: ACK, ..syn(f) }).sport, wire.sport);
    }
}

#[test]
fn case_15_and_16_two_services_with_one_backend_each_answer_from_their_own_frontend() {
    for f in BOTH {
        let mut w = world(f, false);
        w.service(NodePort, (f.node(), 30080), TCP, (f.remote_pod(), 8080), false);
        let other = Packet::new((f.client(), 40_000), (f.node(), 30080), SYN);
        let (a, b) = (forwarded(&w, &syn(f)), forwarded(&w, &other));
        assert_ne!(a.sport, b.sport, "the same client port to the same backend must not mean the same flow");
        assert_eq!(forwarded(&w, &a.reply(SYN_ACK)), Packet { ttl: 62, ..syn(f).reply(SYN_ACK) });
        assert_eq!(forwarded(&w, &b.reply(SYN_ACK)), Packet { ttl: 62, ..other.reply(SYN_ACK) });
    }
}

#[test]
fn one_client_port_to_two_frontends_of_one_local_backend_makes_two_flows() {
    for f in BOTH {
        let mut w = world(f, true);
        w.service(NodePort, (f.node(), 30080), TCP, (f.local_pod(), 8080), true);
        let other = Packet::new((f.client(), 40_000), (f.node(), 30080), SYN);
        let (a, b) = (w.expect("tc_ingress", &syn(f), NEXT), w.expect("tc_ingress", &other, NEXT));
        assert_eq!((a.src, b.src), (f.client(), f.client()), "the client's address is kept");
        assert_ne!(a.sport, b.sport);
        assert_eq!(w.expect("tc_egress", &b.reply(SYN_ACK), NEXT), other.reply(SYN_ACK));
        assert_eq!(w.expect("tc_egress", &a.reply(SYN_ACK), NEXT), syn(f).reply(SYN_ACK));
    }
}
