//! ICMP errors about packets that were dispatched, from a router on the way to the backend's node: the client hears of its own
//! packet.

use crate::dsr::{self, added, ask, node, onward, redirected};
use crate::icmp_error::{Code, Quote, error, middlebox, quote};
use crate::packet::{ACK, IcmpError, Kind, Packet, SYN};
use crate::world::{BOTH, DROP, Family, NEXT, REDIRECT, World};
use shunt_common::{Reason, feature};
use shunt_datapath::testrun::Outcome;
use std::net::IpAddr;

const TUNNELS: [u32; 2] = [feature::DSR_IPIP, feature::DSR_GENEVE];
const MTU: u32 = 1400;

const fn header(f: Family) -> usize {
    if matches!(f, Family::V4) { 20 } else { 40 }
}

const fn too_big(f: Family) -> Code {
    if matches!(f, Family::V4) { (3, 4) } else { (2, 0) }
}

const fn host_unreachable(f: Family) -> Code {
    if matches!(f, Family::V4) { (3, 1) } else { (1, 3) }
}

/// A node that has balanced a packet, and what it sent on, from the IP header on.
fn dispatched(f: Family, dispatch: u32, packet: &Packet) -> (World, Vec<u8>) {
    let w = node(f, dispatch, false);
    let sent = dsr::ip(&redirected(&w, packet)).to_vec();
    (w, sent)
}

/// Who sent what was quoted.
fn sender(f: Family, sent: &[u8]) -> IpAddr {
    match f {
        Family::V4 => <[u8; 4]>::try_from(&sent[12..16]).unwrap().into(),
        Family::V6 => <[u8; 16]>::try_from(&sent[8..24]).unwrap().into(),
    }
}

/// A router's error about what was sent on.
fn says(w: &World, code: Code, mtu: u32, sent: &[u8]) -> Outcome {
    let frame = error(middlebox(w.family), sender(w.family, sent), code, mtu, sent);
    w.raw("tc_ingress", &frame)
}

/// What the client hears, which must quote its own packet, from the service.
fn heard(w: &World, outcome: &Outcome, asked: &Packet, quoted: usize) -> IcmpError {
    let f = w.family;
    assert_eq!(outcome.verdict, REDIRECT, "{:?}", w.reasons());
    let got = IcmpError::read(&outcome.packet);
    assert_eq!((got.src, got.dst), (f.vip(), f.client()));
    // A hop was counted off before it was sent on.
    let said = quote(&Packet { ttl: asked.ttl - 1, ..*asked }, Quote::Whole);
    assert_eq!(got.quoted, said[..quoted.min(said.len())]);
    got
}

#[test]
fn a_client_whose_dispatched_packet_was_too_big_hears_what_fits_about_its_own_packet() {
    for f in BOTH {
        for dispatch in [feature::DSR_OPT, feature::DSR_IPIP, feature::DSR_GENEVE] {
            for kind in [SYN, ACK, Kind::Udp] {
                let asked = ask(f, kind);
                let (w, sent) = dispatched(f, dispatch, &asked);
                let got = heard(&w, &says(&w, too_big(f), MTU, &sent), &asked, usize::MAX);
                assert_eq!((got.type_code, got.mtu), (too_big(f), MTU - added(f, dispatch) as u32));
            }
        }
    }
}

/// Routers cut what they quote; the IPv4 ones of old quote no more than ports of what is inside.
#[test]
fn a_quote_that_is_cut_short_is_as_good_as_long_as_it_has_the_inner_ports() {
    for f in BOTH {
        for dispatch in [feature::DSR_OPT, feature::DSR_IPIP, feature::DSR_GENEVE] {
            let asked = Packet { len: 900, ..ask(f, Kind::Udp) };
            let (w, sent) = dispatched(f, dispatch, &asked);
            for quoted in [header(f) + 8, header(f) + 9, 500] {
                let cut = &sent[..quoted + added(f, dispatch)];
                let got = heard(&w, &says(&w, too_big(f), MTU, cut), &asked, quoted);
                assert_eq!(got.type_code, too_big(f));
            }
        }
    }
}

#[test]
fn a_quote_without_the_inner_ports_is_counted_and_passes() {
    for f in BOTH {
        for dispatch in TUNNELS {
            let (w, sent) = dispatched(f, dispatch, &ask(f, SYN));
            // What RFC 792 asks for, and a word too few.
            for (nth, quoted) in [header(f) + 8, added(f, dispatch) + header(f)].into_iter().enumerate() {
                let frame = error(middlebox(f), f.node(), too_big(f), MTU, &sent[..quoted]);
                let got = w.raw("tc_ingress", &frame);
                assert_eq!((got.verdict, got.packet), (NEXT, frame));
                assert_eq!(w.counted(Reason::DsrErrorLost), nth as u64 + 1);
            }
        }
    }
}

/// RFC 2003 4 and RFC 2473 8: a loop, or a node that takes no tunnels, is the tunnel's own trouble.
#[test]
fn whatever_breaks_a_tunnel_is_an_unreachable_host_to_the_client() {
    for f in BOTH {
        let broken: [Code; 5] = match f {
            Family::V4 => [(3, 0), (3, 1), (3, 2), (3, 3), (11, 0)],
            Family::V6 => [(1, 0), (1, 1), (1, 3), (1, 4), (3, 0)],
        };
        for dispatch in TUNNELS {
            let asked = ask(f, SYN);
            let (w, sent) = dispatched(f, dispatch, &asked);
            for code in broken {
                let got = heard(&w, &says(&w, code, 0, &sent), &asked, usize::MAX);
                assert_eq!((got.type_code, got.mtu), (host_unreachable(f), 0), "{code:?}");
            }
        }
    }
}

#[test]
fn an_option_changes_nothing_in_what_else_a_router_says() {
    for f in BOTH {
        let asked = ask(f, SYN);
        let (w, sent) = dispatched(f, feature::DSR_OPT, &asked);
        for code in if f == Family::V4 { [(3, 3), (11, 0)] } else { [(1, 4), (3, 0)] } {
            let got = heard(&w, &says(&w, code, 0, &sent), &asked, usize::MAX);
            assert_eq!((got.type_code, got.mtu), (code, 0));
        }
    }
}

/// Plain segments may be too long for a link too. The error is addressed to the client, and may pass by this node.
#[test]
fn an_error_about_a_plain_segment_that_passes_is_translated() {
    for f in BOTH {
        for dispatch in [feature::DSR_OPT, feature::DSR_GENEVE] {
            let (w, _) = dispatched(f, dispatch, &ask(f, SYN));
            let asked = ask(f, ACK);
            let sent = dsr::ip(&redirected(&w, &asked)).to_vec();
            assert_eq!(sent, dsr::ip(&onward(&asked, f.remote_pod()).bytes()));
            let got = heard(&w, &says(&w, too_big(f), MTU, &sent), &asked, usize::MAX);
            assert_eq!((got.type_code, got.mtu), (too_big(f), MTU));
        }
    }
}

#[test]
fn the_client_is_told_of_no_mtu_that_a_link_cannot_have() {
    for f in BOTH {
        let least = if f == Family::V4 { 68 } else { 1280 };
        // Routers older than RFC 1191 name none, and a client knows what to make of that.
        let none = if f == Family::V4 { 0 } else { 1280 };
        for dispatch in [feature::DSR_OPT, feature::DSR_IPIP, feature::DSR_GENEVE] {
            let asked = ask(f, Kind::Udp);
            let (w, sent) = dispatched(f, dispatch, &asked);
            for (mtu, told) in [(least, least), (least + 1, least), (1, least), (0, none)] {
                assert_eq!(
                    heard(&w, &says(&w, too_big(f), mtu, &sent), &asked, usize::MAX).mtu,
                    told,
                    "{mtu}"
                );
            }
        }
    }
}

#[test]
fn a_fault_in_a_header_of_ours_is_not_the_client_s() {
    for f in BOTH {
        for dispatch in [feature::DSR_OPT, feature::DSR_IPIP, feature::DSR_GENEVE] {
            let (w, sent) = dispatched(f, dispatch, &ask(f, SYN));
            let code = if f == Family::V4 { (12, 0) } else { (4, 2) };
            let frame = error(middlebox(f), sender(f, &sent), code, 0, &sent);
            let got = w.raw("tc_ingress", &frame);
            assert_eq!((got.verdict, got.packet), (NEXT, frame));
        }
    }
}

/// An error is believed when its quote is of a flow that we send there, by what we send it in.
#[test]
fn what_our_rows_do_not_confirm_passes_untouched() {
    for f in BOTH {
        for dispatch in TUNNELS {
            let (w, sent) = dispatched(f, dispatch, &ask(f, SYN));
            let inner = added(f, dispatch);
            // The last bytes of addresses, and ports.
            let (source, target) = if f == Family::V4 { (15, 19) } else { (23, 39) };
            for (what, at) in [
                ("from another than this node", source),
                ("to another than the flow's backend", target),
                ("of another client", inner + source),
                ("to another service, or pod", inner + target),
                ("of another port", inner + header(f) + 1),
                ("to another port", inner + header(f) + 3),
                ("in another protocol", if f == Family::V4 { 9 } else { 6 }),
            ] {
                let mut forged = sent.clone();
                forged[at] ^= 1;
                let frame = error(middlebox(f), f.node(), too_big(f), MTU, &forged);
                let got = w.raw("tc_ingress", &frame);
                assert_eq!((got.verdict, got.packet), (NEXT, frame), "{what}");
            }
            // To somebody else than it quotes.
            let frame = error(middlebox(f), f.vip(), too_big(f), MTU, &sent);
            let got = w.raw("tc_ingress", &frame);
            assert_eq!((got.verdict, got.packet), (NEXT, frame));
            // None of this has harmed the flow.
            heard(&w, &says(&w, too_big(f), MTU, &sent), &ask(f, SYN), usize::MAX);
        }
    }
}

#[test]
fn a_tunnel_that_names_another_service_is_not_believed() {
    for f in BOTH {
        for (dispatch, at) in [(feature::DSR_GENEVE, header(f) + 8 + 12), (feature::DSR_OPT, header(f) + 4)] {
            let (w, sent) = dispatched(f, dispatch, &ask(f, SYN));
            let mut forged = sent.clone();
            forged[at] ^= 1;
            if dispatch == feature::DSR_GENEVE {
                assert_eq!(says(&w, too_big(f), MTU, &forged).verdict, NEXT);
            } else {
                // It is of our flow all the same, so it is translated as it is: the MTU is not ours to change.
                let got = IcmpError::read(&says(&w, too_big(f), MTU, &forged).packet);
                assert_eq!((got.src, got.mtu), (f.vip(), MTU));
            }
        }
    }
}

#[test]
fn errors_about_what_was_dispatched_are_rate_limited() {
    for f in BOTH {
        let (w, sent) = dispatched(f, feature::DSR_IPIP, &ask(f, SYN));
        let frame = error(middlebox(f), f.node(), too_big(f), MTU, &sent);
        // The clock goes on meanwhile, and a second's worth of tokens may be handed out twice.
        let dropped = (0..4000).filter(|_| w.raw("tc_ingress", &frame).verdict == DROP).count();
        assert!(dropped > 0 && w.counted(Reason::RateLimited) == dropped as u64, "{:?}", w.reasons());
    }
}
