//! Congestion marks (ECN) of packets that are dispatched inside others (RFC 6040): a header in front has the packet's own mark, and
//! what a router makes of it on the way is the packet's when the header is taken off.

use crate::dsr::{ask, node, onward};
use crate::dsr_geneve::told;
use crate::dsr_ipip::{carried, passed};
use crate::packet::{ACK, Packet, SYN};
use crate::world::{BOTH, Family, NEXT, REDIRECT};
use shunt_common::{Reason, feature};

/// The codepoints (RFC 3168 5).
const NOT_ECT: u8 = 0;
const ECT_1: u8 = 1;
const ECT_0: u8 = 2;
const CE: u8 = 3;

/// Mark outside, mark inside, what is left inside: nothing where the two do not go together.
const MARKS: [(u8, u8, Option<u8>); 11] = [
    (NOT_ECT, NOT_ECT, Some(NOT_ECT)),
    (NOT_ECT, ECT_0, Some(ECT_0)),
    (NOT_ECT, CE, Some(CE)),
    (ECT_0, ECT_0, Some(ECT_0)),
    (ECT_1, ECT_1, Some(ECT_1)),
    (ECT_0, CE, Some(CE)),
    (ECT_0, NOT_ECT, Some(NOT_ECT)),
    (CE, ECT_0, Some(CE)),
    (CE, ECT_1, Some(CE)),
    (CE, CE, Some(CE)),
    (CE, NOT_ECT, None),
];

/// Writes a mark into the IP header at a place, and its sum.
fn mark(frame: &mut [u8], at: usize, codepoint: u8) {
    if frame[at] >> 4 == 6 {
        frame[at + 1] = frame[at + 1] & 0xcf | codepoint << 4;
        return;
    }
    frame[at + 1] = frame[at + 1] & 0xfc | codepoint;
    frame[at + 10..at + 12].fill(0);
    let words = frame[at..at + 20].chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], c[1]])));
    let sum: u32 = words.sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    frame[at + 10..at + 12].copy_from_slice(&sum.to_be_bytes());
}

fn marked(packet: &Packet, codepoint: u8) -> Vec<u8> {
    let mut frame = packet.bytes();
    mark(&mut frame, 14, codepoint);
    frame
}

fn read(frame: &[u8], at: usize) -> u8 {
    (if frame[at] >> 4 == 6 { frame[at + 1] >> 4 } else { frame[at + 1] }) & CE
}

/// Where the packet inside begins: as many bytes from the end as it is long.
fn inside(frame: &[u8], packet: &Packet) -> usize {
    frame.len() - (packet.bytes().len() - 14)
}

/// A packet on its way to a pod of this node, dispatched.
fn dispatched(f: Family, dispatch: u32) -> (Packet, Vec<u8>) {
    if dispatch == feature::DSR_IPIP {
        let packet = passed(&ask(f, ACK));
        (packet, carried(f, &packet, f.local_pod()))
    } else {
        let packet = onward(&ask(f, ACK), f.local_pod());
        (packet, told(&packet, (f.vip(), 80)))
    }
}

#[test]
fn a_header_in_front_has_the_packet_s_own_mark() {
    for f in BOTH {
        for dispatch in [feature::DSR_IPIP, feature::DSR_GENEVE] {
            for codepoint in [NOT_ECT, ECT_1, ECT_0, CE] {
                let got = node(f, dispatch, false).raw("tc_ingress", &marked(&ask(f, SYN), codepoint));
                assert_eq!(got.verdict, REDIRECT);
                let inner = inside(&got.packet, &ask(f, SYN));
                assert_eq!([14, inner].map(|at| read(&got.packet, at)), [codepoint; 2]);
            }
        }
    }
}

#[test]
fn a_mark_of_congestion_on_the_way_is_the_packet_s() {
    for f in BOTH {
        for dispatch in [feature::DSR_IPIP, feature::DSR_GENEVE] {
            for (outer, inner, left) in MARKS {
                let w = node(f, dispatch, true);
                let (packet, mut frame) = dispatched(f, dispatch);
                let at = inside(&frame, &packet);
                mark(&mut frame, at, inner);
                mark(&mut frame, 14, outer);
                let got = w.raw("tc_ingress", &frame);
                let heard = Packet { ttl: packet.ttl, ..onward(&ask(f, ACK), f.local_pod()) };
                let want = left.map_or(frame, |codepoint| marked(&heard, codepoint));
                assert_eq!((got.verdict, got.packet), (NEXT, want), "{outer} around {inner}");
                assert_eq!(w.counted(Reason::DsrRefused), u64::from(left.is_none()));
            }
        }
    }
}
