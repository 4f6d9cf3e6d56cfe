//! Segments of a stream that are longer than an IP header can tell (BIG TCP): its length is zero, and stays zero in whatever they
//! are sent on in. How long they are is the kernel's knowledge; tests/big_tcp.rs sends real ones.

use crate::dsr::{ask, informed, ip, node, onward};
use crate::dsr_geneve::{enclosed, source};
use crate::dsr_ipip::{carried, passed};
use crate::packet::{ACK, Packet, SYN};
use crate::world::{BOTH, Family, NEXT, REDIRECT, World};
use shunt_common::FrontendKind::LoadBalancer;
use shunt_common::feature;

const TCP: u8 = 6;

/// Makes the length zero in the IP headers that begin at these places, and with it the sums of those of IPv4.
fn untold(mut frame: Vec<u8>, headers: &[usize]) -> Vec<u8> {
    for &at in headers {
        if frame[at] >> 4 == 6 {
            frame[at + 4..at + 6].fill(0);
            continue;
        }
        let end = at + usize::from(frame[at] & 0x0f) * 4;
        frame[at + 2..at + 4].fill(0);
        frame[at + 10..at + 12].fill(0);
        let words = frame[at..end].chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], c[1]])));
        let sum: u32 = words.sum();
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        frame[at + 10..at + 12].copy_from_slice(&sum.to_be_bytes());
    }
    frame
}

fn untold_packet(packet: &Packet) -> Vec<u8> {
    untold(packet.bytes(), &[14])
}

/// What the node that balances sends on.
fn sent(w: &World, packet: &Packet) -> Vec<u8> {
    let got = w.raw("tc_ingress", &untold_packet(packet));
    assert_eq!(got.verdict, REDIRECT, "{:?}", w.reasons());
    got.packet
}

#[test]
fn untold_lengths_stay_untold_on_the_way_to_a_backend_and_back() {
    for f in BOTH {
        for (local, verdict) in [(true, NEXT), (false, REDIRECT)] {
            let mut w = World::new(f);
            let pod = if local { f.local_pod() } else { f.remote_pod() };
            w.service(LoadBalancer, (f.vip(), 80), TCP, (pod, 8080), local);
            let wire = w.expect("tc_ingress", &ask(f, SYN), verdict);
            let want = Packet { kind: ACK, ..wire };
            let got = w.raw("tc_ingress", &untold_packet(&ask(f, ACK)));
            assert_eq!((got.verdict, ip(&got.packet)), (verdict, ip(&untold_packet(&want))));
            let back = Packet { ttl: 64, ..wire.reply(ACK) };
            let hook = if local { "tc_egress" } else { "tc_ingress" };
            let got = w.raw(hook, &untold_packet(&back));
            let heard = Packet { ttl: if local { 64 } else { 63 }, ..ask(f, ACK).reply(ACK) };
            assert_eq!((got.verdict, ip(&got.packet)), (verdict, ip(&untold_packet(&heard))));
        }
    }
}

/// How many bytes stand between the IP header of a packet and that of what it carries.
const fn outer(f: Family, rest: usize) -> usize {
    14 + rest
        + match f {
            Family::V4 => 20,
            Family::V6 => 40,
        }
}

#[test]
fn untold_lengths_stay_untold_by_every_dispatch() {
    for f in BOTH {
        let packet = onward(&ask(f, ACK), f.remote_pod());
        let frame = sent(&node(f, feature::DSR_OPT, false), &ask(f, ACK));
        assert_eq!(ip(&frame), ip(&untold(informed(&packet, (f.vip(), 80)), &[14])), "opt");

        let frame = sent(&node(f, feature::DSR_IPIP, false), &ask(f, ACK));
        let want = carried(f, &passed(&ask(f, ACK)), f.remote_pod());
        assert_eq!(ip(&frame), ip(&untold(want, &[outer(f, 0), 14])), "ipip");

        let frame = sent(&node(f, feature::DSR_GENEVE, false), &ask(f, ACK));
        let want = enclosed(&packet, f.remote_pod(), (f.vip(), 80), source(f, &frame));
        let len = outer(f, 4);
        let inner = ip(&want).len() - ip(&packet.bytes()).len() + 14;
        let mut want = untold(want, &[inner, 14]);
        want[len..len + 2].fill(0);
        assert_eq!(ip(&frame), ip(&want), "geneve");
    }
}

#[test]
fn a_length_that_grows_beyond_what_can_be_told_is_not_told() {
    for f in BOTH {
        let mut frame = ask(f, ACK).bytes();
        let (at, most) = if f == Family::V4 { (16, 0xfff0u16) } else { (18, 0xffe0) };
        frame = untold(frame, &[14]);
        frame[at..at + 2].copy_from_slice(&most.to_be_bytes());
        let got = node(f, feature::DSR_IPIP, false).raw("tc_ingress", &frame);
        assert_eq!((got.verdict, &got.packet[at..at + 2]), (REDIRECT, &[0, 0][..]));
    }
}

#[test]
fn untold_lengths_stay_untold_at_the_backend_s_node() {
    for f in BOTH {
        let inside = onward(&ask(f, ACK), f.local_pod());
        let want = untold_packet(&inside);
        let frame = untold(informed(&inside, (f.vip(), 80)), &[14]);
        let got = node(f, feature::DSR_OPT, true).raw("tc_ingress", &frame);
        assert_eq!((got.verdict, &got.packet), (NEXT, &want), "opt");

        let frame = untold(carried(f, &passed(&ask(f, ACK)), f.local_pod()), &[outer(f, 0), 14]);
        let got = node(f, feature::DSR_IPIP, true).raw("tc_ingress", &frame);
        assert_eq!((got.verdict, &got.packet), (NEXT, &want), "ipip");

        let frame = enclosed(&inside, f.local_pod(), (f.vip(), 80), 50_000);
        let inner = ip(&frame).len() - ip(&inside.bytes()).len() + 14;
        let got = node(f, feature::DSR_GENEVE, true).raw("tc_ingress", &untold(frame, &[inner, 14]));
        assert_eq!((got.verdict, &got.packet), (NEXT, &want), "geneve");
    }
}
