//! Datagrams in fragments, both families: the first is translated like any packet, later ones follow it.

use crate::dsr;
use crate::packet::{Kind, Packet};
use crate::world::{BOTH, DROP, Family, NEXT, REDIRECT, World};
use etherparse::IpNumber;
use shunt_common::FrontendKind::{ClusterIp, LoadBalancer, NodePort};
use shunt_common::maps::FRAGMENT_ROWS;
use shunt_common::{Frontend, Reason, feature, frontend_flag};

const UDP: u8 = 17;
/// Of each fragment but the last; a multiple of 8.
const STEP: usize = 1200;

/// 8 KiB from a client to the VIP.
fn large(f: Family) -> Packet {
    Packet { len: 8192, ..Packet::new((f.client(), 40_000), (f.vip(), 80), Kind::Udp) }
}

fn world(f: Family, local: bool) -> World {
    let mut w = World::new(f);
    let to = if local { f.local_pod() } else { f.remote_pod() };
    w.service(LoadBalancer, (f.vip(), 80), UDP, (to, 8080), local);
    w
}

fn sum16(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes.chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], c[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The frames of a packet in fragments.
fn cut(packet: &Packet, id: u16) -> Vec<Vec<u8>> {
    let whole = packet.bytes();
    let v4 = packet.src.is_ipv4();
    let header = 14 + if v4 { 20 } else { 40 };
    let data = &whole[header..];
    let count = data.len().div_ceil(STEP);
    data.chunks(STEP)
        .enumerate()
        .map(|(i, chunk)| {
            let mut frame = whole[..header].to_vec();
            let more = i + 1 < count;
            if v4 {
                let offset = (i * STEP / 8) as u16 | if more { 0x2000 } else { 0 };
                frame[16..18].copy_from_slice(&(20 + chunk.len() as u16).to_be_bytes());
                frame[18..20].copy_from_slice(&id.to_be_bytes());
                frame[20..22].copy_from_slice(&offset.to_be_bytes());
                frame[24..26].fill(0);
                let sum = !sum16(&frame[14..34]);
                frame[24..26].copy_from_slice(&sum.to_be_bytes());
            } else {
                let offset = (i * STEP) as u16 | u16::from(more);
                frame[18..20].copy_from_slice(&(8 + chunk.len() as u16).to_be_bytes());
                let next = std::mem::replace(&mut frame[20], 44);
                frame.extend([next, 0]);
                frame.extend(offset.to_be_bytes());
                frame.extend([0x5a, 0x5a]);
                frame.extend(id.to_be_bytes());
            }
            frame.extend(chunk);
            frame
        })
        .collect()
}

/// Puts fragments together, in any order, and reads the packet with all of its sums.
fn join(frames: &[Vec<u8>]) -> Packet {
    let mut parts: Vec<(usize, Vec<u8>)> = Vec::new();
    let mut head = Vec::new();
    for frame in frames {
        let v4 = frame[12..14] == [8, 0];
        let at = |i: usize| u16::from_be_bytes([frame[i], frame[i + 1]]);
        if v4 {
            assert_eq!(sum16(&frame[14..34]), 0xffff, "IPv4 header checksum of each fragment");
            parts.push((usize::from(at(20) & 0x1fff) * 8, frame[34..].to_vec()));
            head = frame[..34].to_vec();
            head[20..22].fill(0);
        } else {
            parts.push((usize::from(at(56) & 0xfff8), frame[62..].to_vec()));
            head = frame[..54].to_vec();
            head[20] = frame[54];
        }
    }
    parts.sort();
    let data: Vec<u8> = parts.into_iter().flat_map(|(_, part)| part).collect();
    if head[12..14] == [8, 0] {
        head[16..18].copy_from_slice(&(20 + data.len() as u16).to_be_bytes());
        head[24..26].fill(0);
        let sum = !sum16(&head[14..34]);
        head[24..26].copy_from_slice(&sum.to_be_bytes());
    } else {
        head[18..20].copy_from_slice(&(data.len() as u16).to_be_bytes());
        assert_eq!(head[20], IpNumber::UDP.0);
    }
    head.extend(data);
    Packet::read(&head)
}

/// Runs fragments through a hook, each with this verdict, and puts together what comes out.
fn through(w: &World, hook: &str, frames: &[Vec<u8>], verdict: i32) -> Packet {
    let out: Vec<Vec<u8>> = frames
        .iter()
        .map(|frame| {
            let outcome = w.raw(hook, frame);
            assert_eq!(outcome.verdict, verdict, "{hook}: {:?}", w.reasons());
            outcome.packet
        })
        .collect();
    join(&out)
}

#[test]
fn a_large_datagram_reaches_a_remote_backend_and_its_large_reply_the_client() {
    for f in BOTH {
        let w = world(f, false);
        let wire = through(&w, "tc_ingress", &cut(&large(f), 7), REDIRECT);
        assert_eq!((wire.src, wire.dst, wire.dport, wire.len), (f.node(), f.remote_pod(), 8080, 8192));
        let reply = through(&w, "tc_ingress", &cut(&wire.reply(Kind::Udp), 9), REDIRECT);
        assert_eq!(reply, Packet { ttl: 62, ..large(f).reply(Kind::Udp) });
        // And of a flow that is known by now, again.
        assert_eq!(through(&w, "tc_ingress", &cut(&large(f), 8), REDIRECT), wire);
    }
}

/// A client that has asked by DSR before: the way is plain, and its answer comes past this node.
#[test]
fn a_large_datagram_of_a_flow_that_goes_by_direct_return_reaches_the_backend_from_its_client() {
    for dispatch in [feature::DSR_OPT, feature::DSR_IPIP] {
        for f in BOTH {
            let mut w = World::with_features(f, feature::IPV4 | feature::IPV6 | dispatch);
            let id = w.backend(f.remote_pod(), 8080, 17, false);
            dsr::serve(&mut w, LoadBalancer, (f.vip(), 80), 17, &[id], dsr::DSR);
            dsr::redirected(&w, &dsr::ask(f, Kind::Udp));
            let ask = Packet { sport: dsr::ask(f, Kind::Udp).sport, ..large(f) };
            let got = through(&w, "tc_ingress", &cut(&ask, 7), REDIRECT);
            assert_eq!(got, Packet { dst: f.remote_pod(), dport: 8080, ttl: ask.ttl - 1, ..ask });
        }
    }
}

/// One that begins so goes by SNAT: nothing would tell the backend's node of the service.
#[test]
fn a_large_datagram_that_begins_a_flow_by_direct_return_goes_by_snat() {
    for f in BOTH {
        let mut w = World::new(f);
        let id = w.backend(f.remote_pod(), 8080, 17, false);
        dsr::serve(&mut w, LoadBalancer, (f.vip(), 80), 17, &[id], dsr::DSR);
        let got = through(&w, "tc_ingress", &cut(&large(f), 7), REDIRECT);
        assert_eq!((got.src, got.dst, got.dport), (f.node(), f.remote_pod(), 8080));
    }
}

#[test]
fn a_large_datagram_reaches_a_local_backend_and_its_large_reply_the_client() {
    for f in BOTH {
        let w = world(f, true);
        let seen = through(&w, "tc_ingress", &cut(&large(f), 7), NEXT);
        assert_eq!(seen, Packet { dst: f.local_pod(), dport: 8080, ..large(f) });
        // The pod's own interface has no part in it, even after the device has seen the first fragment.
        let frames = cut(&seen.reply(Kind::Udp), 9);
        w.raw("tc_egress", &frames[0]);
        assert_eq!(w.raw("pod_ingress", &frames[1]).packet, frames[1]);
        assert_eq!(through(&w, "tc_egress", &frames, NEXT), large(f).reply(Kind::Udp));
    }
}

#[test]
fn a_pod_s_large_datagram_and_its_reply_pass_at_its_own_interface() {
    for f in BOTH {
        let mut w = World::new(f);
        w.service(ClusterIp, (f.cluster_ip(), 80), UDP, (f.remote_pod(), 8080), false);
        let sent = Packet { src: f.local_pod(), dst: f.cluster_ip(), ..large(f) };
        let wire = through(&w, "pod_ingress", &cut(&sent, 7), NEXT);
        assert_eq!(wire, Packet { dst: f.remote_pod(), dport: 8080, ..sent });
        let reply = through(&w, "pod_egress", &cut(&wire.reply(Kind::Udp), 8), NEXT);
        assert_eq!(reply, sent.reply(Kind::Udp));
    }
}

#[test]
fn a_pod_that_reaches_itself_gets_all_fragments_back() {
    for f in BOTH {
        let mut w = World::new(f);
        w.service(ClusterIp, (f.cluster_ip(), 80), UDP, (f.local_pod(), 8080), true);
        let sent = Packet { src: f.local_pod(), dst: f.cluster_ip(), ..large(f) };
        let seen = through(&w, "pod_ingress", &cut(&sent, 7), REDIRECT);
        assert_eq!((seen.src, seen.dst, seen.dport), (f.node(), f.local_pod(), 8080));
        assert_eq!(
            through(&w, "pod_ingress", &cut(&seen.reply(Kind::Udp), 8), REDIRECT),
            sent.reply(Kind::Udp)
        );
    }
}

#[test]
fn later_fragments_may_come_in_any_order_behind_the_first() {
    for f in BOTH {
        let w = world(f, false);
        let mut frames = cut(&large(f), 7);
        frames[1..].reverse();
        assert_eq!(through(&w, "tc_ingress", &frames, REDIRECT).len, 8192);
    }
}

#[test]
fn a_fragment_before_its_first_one_is_dropped_and_counted_at_a_service_s_own_address() {
    for f in BOTH {
        let mut w = world(f, false);
        let flags = frontend_flag::WILDCARD | frontend_flag::EXTERNAL;
        w.put_frontend(f.vip(), 0, 0, Frontend { kind: LoadBalancer as u8, flags, ..Frontend::default() });
        let frames = cut(&large(f), 7);
        assert_eq!(w.raw("tc_ingress", &frames[1]).verdict, DROP);
        assert_eq!(w.counted(Reason::FragmentOrphan), 1);
        assert_eq!(w.raw("pod_ingress", &frames[1]).verdict, DROP);
        assert_eq!(w.counted(Reason::FragmentOrphan), 2);
        // The sender's next datagram arrives.
        assert_eq!(through(&w, "tc_ingress", &cut(&large(f), 8), REDIRECT).len, 8192);
    }
}

#[test]
fn fragments_for_the_node_itself_are_the_node_s_to_put_together() {
    for f in BOTH {
        let mut w = World::new(f);
        w.service(NodePort, (f.node(), 30080), UDP, (f.remote_pod(), 8080), false);
        let own = Packet { dst: f.node(), dport: 53, ..large(f) };
        for frame in cut(&own, 7) {
            let outcome = w.raw("tc_ingress", &frame);
            assert_eq!((outcome.verdict, outcome.packet), (NEXT, frame));
        }
        let service = Packet { dst: f.node(), dport: 30080, ..large(f) };
        let frames = cut(&service, 8);
        assert_eq!(w.raw("tc_ingress", &frames[1]).verdict, NEXT, "ports are not known yet");
        assert_eq!(through(&w, "tc_ingress", &frames, REDIRECT).dst, f.remote_pod());
    }
}

#[test]
fn a_datagram_whose_first_fragment_comes_last_is_lost_and_counted_once_at_a_node_port() {
    for f in BOTH {
        let mut w = World::new(f);
        w.service(NodePort, (f.node(), 30080), UDP, (f.remote_pod(), 8080), false);
        let reversed = |packet: &Packet, id| {
            let mut frames = cut(packet, id);
            frames.reverse();
            frames
        };
        // The node's own datagrams look the same until their first fragment comes, and are not counted then either.
        for frame in reversed(&Packet { dst: f.node(), dport: 53, ..large(f) }, 7) {
            let outcome = w.raw("tc_ingress", &frame);
            assert_eq!((outcome.verdict, outcome.packet), (NEXT, frame));
        }
        assert_eq!(w.counted(Reason::FragmentOrphan), 0);
        let frames = reversed(&Packet { dst: f.node(), dport: 30080, ..large(f) }, 8);
        let (first, later) = frames.split_last().unwrap();
        for frame in later {
            assert_eq!(w.raw("tc_ingress", frame).verdict, NEXT);
        }
        assert_eq!(w.counted(Reason::FragmentOrphan), 0, "ports are not known yet");
        assert_eq!(w.raw("tc_ingress", first).verdict, REDIRECT);
        assert_eq!(w.counted(Reason::FragmentOrphan), 1);
        // The sender's next datagram arrives, and is not counted.
        let next = Packet { dst: f.node(), dport: 30080, ..large(f) };
        assert_eq!(through(&w, "tc_ingress", &cut(&next, 9), REDIRECT).len, 8192);
        // What passes on its way elsewhere leaves no note that could take another's place.
        let transit = Packet { dst: f.local_pod(), ..large(f) };
        for frame in reversed(&transit, 10) {
            assert_eq!(w.raw("tc_ingress", &frame).packet, frame);
        }
        assert_eq!(w.counted(Reason::FragmentOrphan), 1);
    }
}

#[test]
fn datagrams_of_one_client_are_told_apart_by_their_identification() {
    for f in BOTH {
        let mut w = world(f, false);
        w.service(LoadBalancer, (f.vip(), 81), UDP, (f.local_pod(), 9090), true);
        let other = Packet { dport: 81, ..large(f) };
        let (a, b) = (cut(&large(f), 1), cut(&other, 2));
        let (mut at_a, mut at_b) = (Vec::new(), Vec::new());
        for (x, y) in a.iter().zip(&b) {
            at_a.push(w.raw("tc_ingress", x).packet);
            at_b.push(w.raw("tc_ingress", y).packet);
        }
        assert_eq!((join(&at_a).dst, join(&at_b).dst), (f.remote_pod(), f.local_pod()));
    }
}

#[test]
fn a_flood_of_first_fragments_stops_neither_others_nor_the_next_large_datagram() {
    for f in BOTH {
        let w = world(f, false);
        let small = Packet { len: 11, ..large(f) };
        let wire = w.expect("tc_ingress", &small, REDIRECT);
        let first = cut(&large(f), 0).swap_remove(0);
        let id = if f == Family::V4 { 18..20 } else { 60..62 };
        for i in 0..2 * FRAGMENT_ROWS as u16 {
            let mut frame = first.clone();
            frame[id.clone()].copy_from_slice(&(1000 + i).to_be_bytes());
            assert_eq!(w.raw("tc_ingress", &frame).verdict, REDIRECT);
        }
        assert_eq!(w.expect("tc_ingress", &small, REDIRECT), wire);
        assert_eq!(w.rows(), 2, "fragments make no flows of their own");
        assert_eq!(through(&w, "tc_ingress", &cut(&large(f), 999), REDIRECT).len, 8192);
    }
}

#[test]
fn sctp_in_fragments_is_dropped_and_counted() {
    for f in BOTH {
        let mut w = World::new(f);
        w.service(LoadBalancer, (f.vip(), 80), 132, (f.remote_pod(), 8080), false);
        let init = Packet { kind: Kind::Sctp(1), ..large(f) };
        assert_eq!(w.raw("tc_ingress", &cut(&init, 7)[0]).verdict, DROP);
        assert_eq!(w.counted(Reason::Fragment), 1);
    }
}
