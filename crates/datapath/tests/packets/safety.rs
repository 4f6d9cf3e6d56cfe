//! Safety rules: what the programs do not do, whatever stands in the maps.

use crate::packet::{Kind, Packet, SYN};
use crate::vip::{ping, vip};
use crate::world::{BOTH, DROP, Family, NEXT, REDIRECT, World};
use shunt_common::{BackendState, Device, Frontend, FrontendKind, Pool, Reason, frontend_flag};
use shunt_datapath::testrun::About;
use shunt_datapath::{Settings, Sizes};

const TCP: u8 = 6;

fn ask(f: Family) -> Packet {
    Packet::new((f.client(), 40_000), (f.vip(), 80), SYN)
}

/// Zero is a safe default in every value: of a frontend it says that nobody outside may use it and that nobody serves it.
#[test]
fn a_frontend_of_zeros_leads_nowhere() {
    for f in BOTH {
        let mut w = World::new(f);
        w.put_frontend(f.vip(), 80, TCP, Frontend::default());
        assert_eq!(w.expect("tc_ingress", &ask(f), NEXT), ask(f), "it is not for the outside");
        let refused = w.expect("pod_ingress", &ask(f), REDIRECT);
        assert!(matches!(refused.kind, Kind::Tcp { rst: true, .. }), "{refused:?}");
        assert_eq!(w.rows(), 0);
    }
}

/// Slots that nobody wrote name backend 0, whose row is zero for ever.
#[test]
fn a_slot_and_a_backend_of_zeros_are_no_backend() {
    for f in BOTH {
        let mut w = World::new(f);
        let flags = frontend_flag::EXTERNAL;
        let kind = FrontendKind::LoadBalancer as u8;
        let unwritten = Pool { offset: 100, len: 4 };
        w.put_frontend(
            f.vip(),
            80,
            TCP,
            Frontend { kind, flags, pools: [unwritten; 2], ..Frontend::default() },
        );
        let without_row = w.pool(&[77]);
        w.put_frontend(
            f.vip(),
            81,
            TCP,
            Frontend { kind, flags, pools: [without_row; 2], ..Frontend::default() },
        );
        for dport in [80, 81] {
            for hook in ["tc_ingress", "pod_ingress"] {
                assert_eq!(w.hook(hook, &Packet { dport, ..ask(f) }).verdict, DROP);
            }
        }
        assert_eq!((w.counted(Reason::StaleBackend), w.rows()), (4, 0));
        // Nor does a state that is none: it was taken away, or is of a later version.
        let id = w.backend(f.local_pod(), 8080, TCP, true);
        w.frontend(FrontendKind::LoadBalancer, f.vip(), 82, TCP, &[id]);
        w.put_backend(id, f.local_pod(), 8080, TCP, true, 0);
        assert_eq!(w.hook("tc_ingress", &Packet { dport: 82, ..ask(f) }).verdict, DROP);
        w.put_backend(id, f.local_pod(), 8080, TCP, true, BackendState::Active as u8);
        w.expect("tc_ingress", &Packet { dport: 82, ..ask(f) }, NEXT);
    }
}

/// Without an address of the device and the node, the source is the one that the route asks for, where the kernel tells it
/// (6.7), or nothing is sent; never from no address.
#[test]
fn a_device_and_a_node_of_zeros_send_nothing_from_no_address() {
    for f in BOTH {
        let settings = Settings { sizes: Sizes::new(1024, 4096), ..Settings::new("/nowhere", "/nowhere") };
        let mut w = World::with(f, settings);
        w.run.devices().unwrap().set(&w.eth0, &Device::default()).unwrap();
        w.service(FrontendKind::LoadBalancer, (f.vip(), 80), TCP, (f.remote_pod(), 8080), false);
        let outcome = w.hook("tc_ingress", &ask(f));
        if outcome.verdict == REDIRECT {
            assert_eq!(Packet::read(&outcome.packet).src, f.node());
        } else {
            assert_eq!((outcome.verdict, w.counted(Reason::NoRoute), w.rows()), (DROP, 1, 0));
        }
    }
}

/// Policy engines know packets by marks that they set themselves: a mark that came is the one that goes on, whether a packet is
/// ours or not (GHSA-8fg8-jh2h-f2hc was a mark that made traffic from outside look like the host's).
#[test]
fn the_mark_of_a_packet_is_left_alone() {
    const MARK: u32 = 0x0f00_4000;
    for f in BOTH {
        let mut w = World::new(f);
        w.service(FrontendKind::NodePort, (f.node(), 30080), TCP, (f.local_pod(), 8080), true);
        w.service(FrontendKind::LoadBalancer, (f.vip(), 80), TCP, (f.remote_pod(), 8080), false);
        w.service(FrontendKind::ClusterIp, (f.cluster_ip(), 80), TCP, (f.local_pod(), 8080), true);
        let to = |addr, port| Packet::new((f.client(), 40_000), (addr, port), SYN);
        let local = w.expect("tc_ingress", &to(f.node(), 30080), NEXT);
        for (hook, packet, verdict) in [
            ("tc_ingress", to(f.node(), 30080), NEXT),
            ("tc_egress", local.reply(crate::packet::SYN_ACK), NEXT),
            ("tc_ingress", to(f.vip(), 80), REDIRECT),
            ("pod_ingress", to(f.cluster_ip(), 80), NEXT),
            ("tc_ingress", to(f.node(), 22), NEXT),
            ("pod_egress", to(f.local_pod(), 22), NEXT),
        ] {
            let about = About { ifindex: w.eth0, mark: MARK, ..About::default() };
            let outcome = w.with_about(hook, &packet.bytes(), about);
            assert_eq!((outcome.verdict, outcome.mark), (verdict, MARK), "{hook} on {packet:?}");
        }
    }
}

/// Whatever we say ourselves, we do not say without end: a flood of questions is no flood of answers.
#[test]
fn answers_of_every_kind_are_rate_limited() {
    const FLOOD: u64 = 4000;
    for f in BOTH {
        let unknown = Packet::new((f.client(), 40_000), (f.vip(), 81), SYN);
        let questions = [
            (Reason::UnknownPort, unknown.bytes()),
            (Reason::UnknownPort, Packet { kind: Kind::Udp, ..unknown }.bytes()),
            (Reason::EchoReply, ping(f.client(), f.vip())),
        ];
        for (reason, frame) in questions {
            for hook in ["tc_ingress", "pod_ingress"] {
                let w = vip(f, true);
                for _ in 0..FLOOD {
                    w.raw(hook, &frame);
                }
                let (answered, held_back) = (w.counted(reason), w.counted(Reason::RateLimited));
                assert_eq!(answered + held_back, FLOOD, "{hook}");
                assert!(
                    answered >= 1000 && held_back > 0,
                    "{hook}: {answered} answered, {held_back} held back"
                );
            }
        }
    }
}
