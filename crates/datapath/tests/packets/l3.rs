//! Devices whose packets begin with their IP header, without Ethernet (a tunnel, a tun device): the programs that run there.
//!
//! A test run takes the first 14 bytes of what it is given for an Ethernet header, and reads the packet's protocol there. So
//! the sources of these packets are addresses that have the EtherType where it looks. And it has room opened and closed behind
//! those 14 bytes, which no such device does: packets that grow or shrink there (direct server return's) are tried end to end
//! (`tests/links.rs`), and here what becomes of the others of their flows.

use crate::coverage;
use crate::dsr::{DSR, informed, serve};
use crate::dsr_geneve::told;
use crate::packet::{ACK, IcmpError, Kind, NODE, Packet, SYN, SYN_ACK};
use crate::world::{BOTH, DROP, Family, NEXT, REDIRECT, REMOTE_NODE, ROUTER, World};
use shunt_common::FrontendKind::{LoadBalancer, NodePort};
use shunt_common::{Direction, Reason, feature};
use std::net::IpAddr;
use std::process::Command;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// A source that makes an IPv4 packet one of EtherType 0x0800, and an IPv6 packet one of 0x86dd.
fn behind_tunnel(f: Family, host: u8) -> IpAddr {
    match f {
        Family::V4 => format!("8.0.100.{host}"),
        Family::V6 => format!("2001:db8:86dd::{host}"),
    }
    .parse()
    .unwrap()
}

fn ask(f: Family, kind: Kind) -> Packet {
    Packet::new((behind_tunnel(f, 7), 40_000), (f.vip(), 80), kind)
}

/// A node that has such devices.
fn node(f: Family) -> World {
    World::with_features(f, feature::IPV4 | feature::IPV6 | feature::L3)
}

fn world(f: Family, pod: IpAddr, local: bool) -> World {
    let mut w = node(f);
    for proto in [TCP, UDP] {
        w.service(LoadBalancer, (f.vip(), 80), proto, (pod, 8080), local);
    }
    w
}

/// What a hook's program for such devices makes of a packet: the verdict, the link layer's header, and the packet.
fn run(w: &World, hook: &str, packet: &Packet) -> (i32, Vec<u8>, Vec<u8>) {
    let frame = packet.bytes();
    // The page counts features by hook: these programs are those of the hook, for other devices.
    coverage::ran(w.family, &hook.replace("l3_", "tc_"));
    let out = w.run.run(hook, &frame[14..], w.eth0, 1).unwrap();
    let bare = matches!((w.family, out.packet[0] >> 4), (Family::V4, 4) | (Family::V6, 6));
    let (link, ip) = out.packet.split_at(if bare { 0 } else { 14 });
    (out.verdict, link.to_vec(), [&frame[..14], ip].concat())
}

/// The same, of a packet that must come out with this verdict and without a header of the link layer.
fn bare(w: &World, hook: &str, packet: &Packet, verdict: i32) -> Packet {
    let (got, link, frame) = run(w, hook, packet);
    assert_eq!((got, link.len()), (verdict, 0), "{hook} on {packet:?}: {:?}", w.reasons());
    Packet::read(&frame)
}

/// The same, of a packet that is sent on: with room for a header, since the next device may have one.
fn sent_on(w: &World, packet: &Packet) -> (Vec<u8>, Packet) {
    let (got, link, frame) = run(w, "l3_ingress", packet);
    assert_eq!((got, link.len()), (REDIRECT, 14), "{packet:?}: {:?}", w.reasons());
    (link, Packet::read(&frame))
}

#[test]
fn a_local_backend_is_served_both_ways() {
    for f in BOTH {
        let pod = behind_tunnel(f, 9);
        let w = world(f, pod, true);
        for (kind, reply) in [(SYN, SYN_ACK), (Kind::Udp, Kind::Udp)] {
            let seen = bare(&w, "l3_ingress", &ask(f, kind), NEXT);
            assert_eq!(seen, Packet { dst: pod, dport: 8080, ..ask(f, kind) });
            assert_eq!(bare(&w, "l3_egress", &seen.reply(reply), NEXT), ask(f, kind).reply(reply));
        }
        let bytes = w.run.counter(Reason::Forwarded, Direction::Ingress).unwrap().bytes;
        let each = [SYN, Kind::Udp].map(|kind| ask(f, kind).bytes().len() as u64 - 14);
        assert_eq!(bytes, each.iter().sum::<u64>(), "from the IP header on");
    }
}

#[test]
fn a_reply_may_leave_by_another_kind_of_device_than_the_request_came_by() {
    for f in BOTH {
        let pod = behind_tunnel(f, 9);
        let w = world(f, pod, true);
        let seen = bare(&w, "l3_ingress", &ask(f, SYN), NEXT);
        assert_eq!(w.expect("tc_egress", &seen.reply(SYN_ACK), NEXT), ask(f, SYN).reply(SYN_ACK));
        let other = Packet { sport: 41_000, ..ask(f, SYN) };
        let seen = w.expect("tc_ingress", &other, NEXT);
        assert_eq!(bare(&w, "l3_egress", &seen.reply(SYN_ACK), NEXT), other.reply(SYN_ACK));
    }
}

#[test]
fn a_remote_backend_is_reached_through_a_device_with_ethernet() {
    for f in BOTH {
        for kind in [SYN, Kind::Udp] {
            let w = world(f, f.remote_pod(), false);
            // The kernel's neighbour code takes the header off and writes its own.
            let (link, wire) = sent_on(&w, &ask(f, kind));
            assert_eq!(link, [0; 14]);
            assert_eq!((wire.src, wire.dst, wire.dport, wire.ttl), (f.node(), f.remote_pod(), 8080, 63));
            let next = if kind == SYN { ACK } else { kind };
            w.age(&ask(f, next));
            sent_on(&w, &ask(f, next));
            // And then by the route that the row has.
            let (link, wire) = sent_on(&w, &ask(f, next));
            let ethertype = if f == Family::V4 { [8, 0] } else { [0x86, 0xdd] };
            assert_eq!(link, [&REMOTE_NODE[..], &NODE, &ethertype].concat());
            assert_eq!((wire.src, wire.dst), (f.node(), f.remote_pod()));
            // The answer comes by Ethernet and goes to whatever the route says.
            let reply = wire.reply(if kind == SYN { SYN_ACK } else { kind });
            let back = w.expect("tc_ingress", &Packet { ttl: 64, ..reply }, REDIRECT);
            assert_eq!((back.src, back.sport, back.dst), (f.vip(), 80, ask(f, kind).src));
        }
    }
}

#[test]
fn the_reply_of_a_backend_behind_a_tunnel_reaches_a_client_on_ethernet() {
    for f in BOTH {
        let w = world(f, behind_tunnel(f, 9), false);
        let syn = Packet { src: f.client(), ..ask(f, SYN) };
        let wire = w.expect("tc_ingress", &syn, REDIRECT);
        let reply = Packet { ttl: 64, ..wire.reply(SYN_ACK) };
        let (_, back) = sent_on(&w, &reply);
        assert_eq!(back, Packet { ttl: 63, ..syn.reply(SYN_ACK) });
        w.age(&reply);
        sent_on(&w, &reply);
        let (link, _) = sent_on(&w, &reply);
        assert_eq!(link[..12], [ROUTER, NODE].concat());
    }
}

/// Nodes that serve by direct return, with a backend elsewhere or here, in each dispatch; what tells the backend's node of a
/// service, and the bytes that it takes.
type Tell = fn(&Packet, (IpAddr, u16)) -> Vec<u8>;
const DISPATCHES: [(u32, Option<Tell>, [usize; 2]); 3] = [
    (feature::DSR_OPT, Some(informed), [8, 24]),
    (feature::DSR_IPIP, None, [20, 40]),
    (feature::DSR_GENEVE, Some(told), [48, 80]),
];

fn direct(f: Family, dispatch: u32, pod: IpAddr, local: bool) -> World {
    let mut w = World::with_features(f, feature::IPV4 | feature::IPV6 | feature::L3 | dispatch);
    for proto in [TCP, UDP] {
        let id = w.backend(pod, 8080, proto, local);
        serve(&mut w, LoadBalancer, (f.vip(), 80), proto, &[id], DSR);
    }
    w
}

#[test]
fn a_dispatched_flow_s_plain_segments_are_sent_on_from_its_client() {
    for f in BOTH {
        for (dispatch, _, _) in DISPATCHES.iter().filter(|(_, tell, _)| tell.is_some()) {
            let w = direct(f, *dispatch, f.remote_pod(), false);
            // Begun by another device, as when routes change.
            assert_eq!(w.hook("tc_ingress", &ask(f, SYN)).verdict, REDIRECT);
            w.age(&ask(f, SYN));
            // By a fresh answer of the FIB, and by the cached one.
            for link in [[0; 12], [REMOTE_NODE, NODE].concat().try_into().unwrap()] {
                let (macs, wire) = sent_on(&w, &ask(f, ACK));
                assert_eq!(macs[..12], link);
                assert_eq!(wire, Packet { dst: f.remote_pod(), dport: 8080, ttl: 63, ..ask(f, ACK) });
            }
        }
    }
}

#[test]
fn the_far_end_of_a_dispatched_flow_hears_plain_segments_and_answers_from_the_service() {
    for f in BOTH {
        for (dispatch, tell, _) in DISPATCHES {
            let Some(tell) = tell else { continue };
            let pod = behind_tunnel(f, 9);
            let w = direct(f, dispatch, pod, true);
            let inside = |kind| Packet { dst: pod, dport: 8080, ..ask(f, kind) };
            assert_eq!(w.raw("tc_ingress", &tell(&inside(SYN), (f.vip(), 80))).verdict, NEXT);
            assert_eq!(bare(&w, "l3_egress", &inside(SYN).reply(SYN_ACK), NEXT), ask(f, SYN).reply(SYN_ACK));
            assert_eq!(bare(&w, "l3_ingress", &inside(ACK), NEXT), inside(ACK), "for the backend already");
        }
    }
}

#[test]
fn what_a_dispatch_makes_too_long_is_answered_without_a_header_with_what_fits() {
    for f in BOTH {
        for (dispatch, _, added) in DISPATCHES {
            let w = direct(f, dispatch, f.remote_pod(), false);
            let (headers, added) = if f == Family::V4 { (28, added[0]) } else { (48, added[1]) };
            let long = Packet { len: 1500 - headers - added + 1, ..ask(f, Kind::Udp) };
            let (verdict, link, frame) = run(&w, "l3_ingress", &long);
            let error = IcmpError::read(&frame);
            assert_eq!((verdict, link.len(), error.mtu), (REDIRECT, 0, 1500 - added as u32));
            assert_eq!((error.src, error.dst), (f.vip(), long.src));
            let fits = Packet { len: long.len - 1, ..long };
            assert_eq!(run(&w, "l3_ingress", &fits).0, REDIRECT);
            assert_eq!(w.counted(Reason::TooBig), 1, "and not what fits");
        }
    }
}

#[test]
fn refusals_and_errors_go_back_without_a_header() {
    for f in BOTH {
        let mut w = node(f);
        for proto in [TCP, UDP] {
            w.frontend(LoadBalancer, f.vip(), 80, proto, &[]);
        }
        let reset = bare(&w, "l3_ingress", &ask(f, SYN), REDIRECT);
        assert!(matches!(reset.kind, Kind::Tcp { rst: true, acked: 1012, .. }), "{reset:?}");
        assert_eq!((reset.src, reset.dst), (f.vip(), ask(f, SYN).src));
        for len in [11, 700] {
            let (verdict, link, frame) = run(&w, "l3_ingress", &Packet { len, ..ask(f, Kind::Udp) });
            let error = IcmpError::read(&frame);
            assert_eq!((verdict, link.len(), error.src), (REDIRECT, 0, f.vip()));
            assert_eq!(
                error.quoted[..],
                Packet { len, ..ask(f, Kind::Udp) }.bytes()[14..][..error.quoted.len()]
            );
        }
        let w = world(f, f.remote_pod(), false);
        let (verdict, link, frame) = run(&w, "l3_ingress", &Packet { ttl: 1, ..ask(f, SYN) });
        assert_eq!((verdict, link.len(), IcmpError::read(&frame).dst), (REDIRECT, 0, ask(f, SYN).src));
    }
}

#[test]
fn what_is_none_of_our_business_passes_untouched() {
    for f in BOTH {
        let w = world(f, f.remote_pod(), false);
        let own = Packet { dst: f.node(), dport: 22, ..ask(f, SYN) };
        assert_eq!(bare(&w, "l3_ingress", &own, NEXT), own);
        assert_eq!(bare(&w, "l3_egress", &own, NEXT), own);
        // Shorter than any header that there could be.
        let frame = ask(f, SYN).bytes()[14..].to_vec();
        for len in 14..frame.len() {
            let Ok(out) = w.run.run("l3_ingress", &frame[..len], w.eth0, 1) else { continue };
            assert!([NEXT, DROP].contains(&out.verdict) || len >= 40, "{len}");
        }
    }
}

/// As long as a tunnel takes: the longest packet that it does must not be counted with the header of the device by which it
/// came, nor a longer one without.
#[test]
fn what_fits_a_tunnel_is_sent_and_one_byte_more_is_answered() {
    let headers = |f| if f == Family::V4 { 28 } else { 48 };
    for f in BOTH {
        let mut w = node(f);
        w.service(NodePort, (f.node(), 30080), UDP, (f.remote_pod(), 8080), false);
        let ip = |args: &str| Command::new("ip").args(args.split(' ')).status().unwrap().success();
        if !ip("tuntap add tun0 mode tun") {
            use std::io::Write;
            let _ =
                std::io::stderr().write_all(b"not run: what_fits_a_tunnel: this kernel has no tun devices\n");
            return;
        }
        assert!(ip("link set tun0 up mtu 1400"));
        assert!(ip(match f {
            Family::V4 => "route replace 10.1.2.0/24 dev tun0",
            Family::V6 => "route replace fd00:1:2::/64 dev tun0",
        }));
        let fits = Packet {
            len: 1400 - headers(f),
            ..Packet::new((f.client(), 40_000), (f.node(), 30080), Kind::Udp)
        };
        for _ in 0..3 {
            assert_eq!(w.expect("tc_ingress", &fits, REDIRECT).dst, f.remote_pod());
            w.age(&fits);
        }
        let long = Packet { len: fits.len + 1, ..fits };
        let outcome = w.hook("tc_ingress", &long);
        let error = IcmpError::read(&outcome.packet);
        assert_eq!((outcome.verdict, error.mtu, error.dst), (REDIRECT, 1400, f.client()));
        assert_eq!(w.counted(Reason::TooBig), 1);
    }
}

/// The same the other way: the device with the longer header is the one that packets leave by.
#[test]
fn what_fits_ethernet_is_sent_from_a_tunnel_and_one_byte_more_is_answered() {
    for f in BOTH {
        let w = world(f, f.remote_pod(), false);
        let headers = if f == Family::V4 { 28 } else { 48 };
        let fits = Packet { len: 1500 - headers, ..ask(f, Kind::Udp) };
        let long = Packet { len: fits.len + 1, ..fits };
        for _ in 0..3 {
            sent_on(&w, &fits);
            let (verdict, link, frame) = run(&w, "l3_ingress", &long);
            assert_eq!((verdict, link.len(), IcmpError::read(&frame).mtu), (REDIRECT, 0, 1500));
            w.age(&fits);
            sent_on(&w, &fits);
        }
    }
}
