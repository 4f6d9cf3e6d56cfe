//! What XDP decides by itself, what it leaves to tc, and what it tells it.

use crate::packet::{ACK, Kind, NODE, Packet, SYN, SYN_ACK};
use crate::world::{BOTH, Family, REMOTE_NODE, ROUTER, World, XDP_DROP, XDP_PASS, XDP_REDIRECT, XDP_TX};
use shunt_common::FrontendKind::{ClusterIp, LoadBalancer};
use shunt_common::{Mark, Reason, XdpDevice};
use shunt_datapath::testrun::Outcome;

const TCP: u8 = 6;
const UDP: u8 = 17;

fn syn(f: Family, port: u16) -> Packet {
    Packet::new((f.client(), port), (f.vip(), 80), SYN)
}

fn world(f: Family, local: bool) -> World {
    let mut w = World::new(f);
    let to = if local { f.local_pod() } else { f.remote_pod() };
    w.service(LoadBalancer, (f.vip(), 80), TCP, (to, 8080), local);
    w.service(LoadBalancer, (f.vip(), 80), UDP, (to, 8080), local);
    w
}

/// A flow whose first packet XDP sent, and that packet on the wire. One in 64 goes up instead.
fn started(w: &World, kind: Kind) -> (Packet, Packet, Outcome) {
    for port in 40_000..40_100 {
        let packet = Packet { kind, ..syn(w.family, port) };
        let outcome = w.hook("xdp", &packet);
        if outcome.verdict == XDP_TX {
            let wire = Packet::read(&outcome.packet);
            return (packet, wire, outcome);
        }
        assert_eq!(outcome.verdict, XDP_PASS);
    }
    panic!("XDP sends no new flow: {:?}", w.reasons());
}

fn index(name: &std::ffi::CStr) -> u32 {
    // SAFETY: a NUL-terminated name.
    unsafe { libc::if_nametoindex(name.as_ptr()) }
}

#[test]
fn a_new_flow_to_a_remote_backend_never_leaves_the_driver() {
    for f in BOTH {
        for kind in [SYN, Kind::Udp] {
            let w = world(f, false);
            let (_, wire, outcome) = started(&w, kind);
            assert_eq!((wire.src, wire.dst, wire.dport, wire.ttl), (f.node(), f.remote_pod(), 8080, 63));
            assert_eq!(outcome.packet[..12], [REMOTE_NODE, NODE].concat(), "MACs");
            assert_eq!(w.reasons(), [(Reason::ForwardedByXdp, 1)], "counted once");
        }
    }
}

#[test]
fn some_new_flows_go_up_so_that_the_kernel_keeps_their_next_hop() {
    for f in BOTH {
        let w = world(f, false);
        let up = (10_000..12_000).filter(|port| w.hook("xdp", &syn(f, *port)).verdict == XDP_PASS).count();
        assert!((5..=150).contains(&up), "{up} of 2000, and one in 64 was meant");
    }
}

#[test]
fn both_directions_of_an_established_flow_stay_in_the_driver() {
    for f in BOTH {
        let w = world(f, false);
        let (first, wire, _) = started(&w, SYN);
        // The next packet of each direction goes up: tc asks the FIB for all that follow.
        let (ack, reply) = (Packet { kind: ACK, ..first }, Packet { ttl: 64, ..wire.reply(SYN_ACK) });
        for packet in [ack, reply] {
            assert_eq!(w.hook("xdp", &packet).verdict, XDP_PASS);
            w.hook("tc_ingress", &packet);
            assert_eq!(w.hook("xdp", &packet).verdict, XDP_TX);
        }
        let there = w.hook("xdp", &ack);
        assert_eq!(Packet::read(&there.packet), Packet { kind: ACK, ..wire });
        assert_eq!(there.packet[..6], REMOTE_NODE);
        let back = w.hook("xdp", &reply);
        assert_eq!(Packet::read(&back.packet), Packet { ttl: 63, ..first.reply(SYN_ACK) });
        assert_eq!(back.packet[..6], ROUTER);
        // A second later one packet goes up again, and the kernel's neighbour code sends it.
        w.age(&ack);
        let before = w.counted(Reason::Forwarded);
        w.hook("tc_ingress", &ack);
        assert_eq!(w.counted(Reason::Forwarded), before + 1, "by tc, behind XDP");
        assert_eq!(w.hook("xdp", &ack).verdict, XDP_TX);
    }
}

#[test]
fn a_flow_to_a_local_backend_is_reserved_once_and_rewritten_by_tc() {
    for f in BOTH {
        let w = world(f, true);
        let packet = syn(f, 40_000);
        let outcome = w.hook("xdp", &packet);
        assert_eq!((outcome.verdict, &outcome.packet), (XDP_PASS, &packet.bytes()));
        assert!(outcome.metadata.is_empty() && w.reasons().is_empty());
        assert_eq!(w.rows(), 2, "XDP has picked");
        assert_eq!(Packet::read(&w.hook("tc_ingress", &packet).packet).dst, f.local_pod());
        assert_eq!(w.rows(), 2, "and tc has not picked again");
        assert_eq!(w.reasons(), [(Reason::Forwarded, 1)], "counted once");
    }
}

#[test]
fn what_no_service_claims_goes_up_with_a_mark_that_names_node_and_device() {
    for f in BOTH {
        let w = world(f, false);
        let stray = Packet::new((f.client(), 40_000), (f.node(), 22), ACK);
        let outcome = w.hook("xdp", &stray);
        assert_eq!((outcome.verdict, &outcome.packet), (XDP_PASS, &stray.bytes()));
        assert_eq!(outcome.metadata, Mark::new(0, w.eth0).bytes());
        assert!(w.reasons().is_empty());
        // What tc may still have to do with, it does not mark.
        let opens = Packet { kind: SYN, ..stray };
        assert!(w.hook("xdp", &opens).metadata.is_empty());
    }
}

#[test]
fn what_only_tc_does_goes_up_untouched_and_unmarked() {
    for f in BOTH {
        let mut w = world(f, false);
        w.service(ClusterIp, (f.cluster_ip(), 80), TCP, (f.local_pod(), 8080), true);
        let inside = Packet::new((f.client(), 40_000), (f.cluster_ip(), 80), SYN).bytes();
        let whole = syn(f, 40_000).bytes();
        let mut foreign = whole.clone();
        foreign[..6].copy_from_slice(&[2, 0, 0, 0, 0, 0x77]);
        let mut flooded = whole.clone();
        flooded[..6].copy_from_slice(&[0xff; 6]);
        let tagged = [&whole[..12], &[0x81, 0, 0, 7], &whole[12..]].concat();
        let arp = [[0xff; 6].as_slice(), &[2, 0, 0, 0, 0, 9], &[8, 6], &[0; 28]].concat();
        for frame in [inside, foreign, flooded, tagged, arp] {
            let outcome = w.raw("xdp", &frame);
            assert_eq!((outcome.verdict, &outcome.packet), (XDP_PASS, &frame));
            assert!(outcome.metadata.is_empty());
        }
        assert!(w.rows() == 0 && w.reasons().is_empty());
    }
}

#[test]
fn an_unresolved_next_hop_is_the_kernel_s_to_resolve() {
    for f in BOTH {
        let w = world(f, false);
        let via = if f == Family::V4 { "10.0.0.2" } else { "fd00::2" };
        let ip =
            std::process::Command::new("ip").args(["neigh", "del", via, "dev", "eth0"]).status().unwrap();
        assert!(ip.success());
        let packet = syn(f, 40_000);
        let outcome = w.hook("xdp", &packet);
        assert_eq!((outcome.verdict, &outcome.packet), (XDP_PASS, &packet.bytes()));
        assert_eq!(Packet::read(&w.hook("tc_ingress", &packet).packet).dst, f.remote_pod());
        assert_eq!(w.rows(), 2);
    }
}

#[test]
fn another_device_is_reached_only_when_it_runs_xdp_too() {
    for f in BOTH {
        let w = world(f, false);
        let came_by = index(c"wire0");
        let rows = w.run.xdp_devices().unwrap();
        let row = XdpDevice { ifindex: came_by, mac: NODE, ..XdpDevice::default() };
        rows.set(&XdpDevice::slot(came_by), &row).unwrap();
        let verdicts = |ports: std::ops::Range<u16>| -> Vec<i32> {
            ports.map(|port| w.run.run("xdp", &syn(f, port).bytes(), came_by, 1).unwrap().verdict).collect()
        };
        let both = verdicts(30_000..30_100);
        assert!(both.contains(&XDP_REDIRECT), "{both:?} {:?}", w.reasons());
        rows.set(&XdpDevice::slot(w.eth0), &XdpDevice::default()).unwrap();
        let one = verdicts(31_000..31_100);
        assert!(one.iter().all(|verdict| *verdict == XDP_PASS), "{one:?}");
    }
}

#[test]
fn a_refusal_is_made_in_the_driver() {
    for f in BOTH {
        let mut w = World::new(f);
        w.frontend(LoadBalancer, f.vip(), 80, TCP, &[]);
        w.frontend(LoadBalancer, f.vip(), 80, UDP, &[]);
        for kind in [SYN, Kind::Udp] {
            for len in [0, 11, 700] {
                let outcome = w.hook("xdp", &Packet { kind, len, ..syn(f, 40_000) });
                assert_eq!(outcome.verdict, XDP_TX, "{kind:?} {len}");
            }
        }
        assert_eq!(w.reasons(), [(Reason::NoBackend, 6)]);
        let rst = Kind::Tcp { syn: false, ack: false, fin: false, rst: true, seq: 1, acked: 0 };
        assert_eq!(w.hook("xdp", &Packet { kind: rst, ..syn(f, 40_000) }).verdict, XDP_DROP);
    }
}
