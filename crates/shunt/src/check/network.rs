//! Whether the network carries what direct server return sends, asked of the network itself.
//!
//! Another node, or a pod there, answers a ping; when it also answers one that looks as the dispatch makes packets look, the
//! way carries those. A kernel that is carried a packet in a packet, and has no tunnel for it, says so by an ICMP error of its
//! own: that it came is all that counts. No agent need run on the other side.

use super::Row;
use super::packet::{Answer, Carrier};
use super::peers::Peer;
use super::wire::Wire;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::net::IpAddr;

/// Rows for each peer and family, all asked at once.
pub(super) fn rows(dispatch: &str, families: [bool; 2], peers: &[Peer]) -> Vec<Row> {
    let carrier = match dispatch {
        "opt" => Carrier::Opt,
        "ipip" => Carrier::Ipip,
        "geneve" => Carrier::Geneve,
        other => {
            let todo = "watch `shunt status` and the counters of drops once it runs";
            return vec![Row::warn(
                "network",
                "",
                format!("there is no probe for the dispatch {other}"),
                todo,
            )];
        }
    };
    if peers.is_empty() {
        let todo = "name another node, or a pod on one, by --peer ADDRESS";
        return vec![Row::warn("network", "", "no other node is known to ask", todo)];
    }
    let asked: Vec<(&Peer, &[IpAddr])> = peers
        .iter()
        .flat_map(|peer| [(families[0], peer, &peer.v4[..]), (families[1], peer, &peer.v6[..])])
        .filter(|(family, _, targets)| *family && !targets.is_empty())
        .map(|(_, peer, targets)| (peer, targets))
        .collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> = asked
            .into_iter()
            .map(|(peer, targets)| scope.spawn(move || ask(carrier, &peer.name, targets)))
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    })
}

/// Asks the first of a peer's addresses that answers pings at all.
fn ask(carrier: Carrier, peer: &str, targets: &[IpAddr]) -> Row {
    for target in targets {
        let asked =
            Wire::open(*target, RandomState::new().build_hasher().finish() as u16).and_then(|mut wire| {
                match wire.ask(Carrier::Plain)? {
                    Some(Answer::Echo) => Ok(Some(wire.ask(carrier)?)),
                    _ => Ok(None),
                }
            });
        match asked {
            Ok(None) => {}
            Ok(Some(carried)) => return judge(carrier, peer, *target, carried),
            Err(error) => return failed(peer, *target, &error),
        }
    }
    let all: Vec<String> = targets.iter().map(ToString::to_string).collect();
    let found = format!("{} does not answer pings, so nothing can be told", all.join(" nor "));
    Row::warn(
        "network",
        peer,
        found,
        "let ICMP echo pass between nodes and pods, or name another by --peer ADDRESS",
    )
}

fn failed(peer: &str, target: IpAddr, error: &io::Error) -> Row {
    let todo = match error.kind() {
        io::ErrorKind::PermissionDenied => "run it as root, or grant CAP_NET_RAW",
        _ => "look at the routes of this node",
    };
    Row::warn("network", peer, format!("cannot send probes to {target}: {error}"), todo)
}

/// What an answer, or none, says of the way to a peer that answers plain pings.
fn judge(carrier: Carrier, peer: &str, target: IpAddr, carried: Option<Answer>) -> Row {
    let (what, todo) = words(carrier, target);
    let is_tunnel = matches!(carrier, Carrier::Ipip | Carrier::Geneve);
    match carried {
        Some(Answer::Echo) => Row::pass("network", peer, format!("the way to {target} carries {what}")),
        // A tunnel's end that nobody has: IPv4 says protocol or port unreachable, IPv6 an unknown next header or the latter.
        Some(Answer::Error { from, kind: 3, code: 2 | 3 })
            if is_tunnel && from == target && target.is_ipv4() =>
        {
            Row::pass("network", peer, format!("the way to {target} carries {what}"))
        }
        Some(Answer::Error { from, kind: 4, code: 1 } | Answer::Error { from, kind: 1, code: 4 })
            if is_tunnel && from == target && target.is_ipv6() =>
        {
            Row::pass("network", peer, format!("the way to {target} carries {what}"))
        }
        Some(Answer::Error { from, kind, code }) => {
            let found = format!("{from} refuses {what} to {target} (ICMP type {kind}, code {code})");
            Row::fail("network", peer, found, todo)
        }
        None => Row::fail(
            "network",
            peer,
            format!("{what} to {target} are lost, and plain packets are not"),
            todo,
        ),
    }
}

/// What a dispatch's packets are, and what to do where they are lost.
fn words(carrier: Carrier, target: IpAddr) -> (&'static str, &'static str) {
    match (carrier, target) {
        (Carrier::Opt, IpAddr::V4(_)) => (
            "packets with IPv4 option 154",
            "let them pass, or set loadBalancer.dsrDispatch to ipip or loadBalancer.mode to snat",
        ),
        (Carrier::Opt, IpAddr::V6(_)) => (
            "packets with an IPv6 destination option",
            "let them pass, or set loadBalancer.dsrDispatch to ipip or loadBalancer.mode to snat",
        ),
        (Carrier::Ipip, IpAddr::V4(_)) => (
            "packets of IP protocol 4",
            "let them pass, or set loadBalancer.dsrDispatch to opt or loadBalancer.mode to snat",
        ),
        (Carrier::Ipip, IpAddr::V6(_)) => (
            "packets of IP protocol 41",
            "let them pass, or set loadBalancer.dsrDispatch to opt or loadBalancer.mode to snat",
        ),
        (Carrier::Geneve, _) => (
            "datagrams to UDP port 6081",
            "let them pass, or set loadBalancer.dsrDispatch to opt or loadBalancer.mode to snat",
        ),
        (Carrier::Plain, _) => ("pings", "let ICMP echo pass between nodes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Verdict;

    const V4: &str = "192.0.2.2";
    const V6: &str = "2001:db8::2";

    fn verdict(carrier: Carrier, target: &str, answer: Option<Answer>) -> Verdict {
        judge(carrier, "node2", target.parse().unwrap(), answer).verdict
    }

    fn error(from: &str, kind: u8, code: u8) -> Option<Answer> {
        Some(Answer::Error { from: from.parse().unwrap(), kind, code })
    }

    #[test]
    fn an_echo_passes_and_silence_fails_and_says_what_is_lost() {
        for (carrier, target, lost) in [
            (Carrier::Opt, V4, "IPv4 option 154"),
            (Carrier::Opt, V6, "IPv6 destination option"),
            (Carrier::Ipip, V4, "protocol 4"),
            (Carrier::Ipip, V6, "protocol 41"),
            (Carrier::Geneve, V4, "port 6081"),
            (Carrier::Geneve, V6, "port 6081"),
        ] {
            assert_eq!(verdict(carrier, target, Some(Answer::Echo)), Verdict::Pass);
            let row = judge(carrier, "node2", target.parse().unwrap(), None);
            assert_eq!((row.verdict, row.about.as_str()), (Verdict::Fail, "node2"));
            assert!(row.found.contains(lost) && row.found.contains(target), "{row:?}");
            assert!(row.todo.contains("loadBalancer.dsrDispatch") && row.todo.contains("snat"), "{row:?}");
        }
    }

    #[test]
    fn what_a_kernel_says_of_a_tunnel_that_it_has_not_is_proof_and_what_a_filter_says_is_not() {
        for (target, kind, code) in [(V4, 3, 2), (V4, 3, 3), (V6, 4, 1), (V6, 1, 4)] {
            for carrier in [Carrier::Ipip, Carrier::Geneve] {
                assert_eq!(verdict(carrier, target, error(target, kind, code)), Verdict::Pass);
            }
            assert_eq!(verdict(Carrier::Opt, target, error(target, kind, code)), Verdict::Fail);
        }
        assert_eq!(verdict(Carrier::Ipip, V4, error("192.0.2.254", 3, 2)), Verdict::Fail, "a router says it");
        for (target, kind, code) in [(V4, 3, 13), (V4, 12, 0), (V6, 1, 1), (V6, 3, 2)] {
            for carrier in [Carrier::Opt, Carrier::Ipip, Carrier::Geneve] {
                assert_eq!(verdict(carrier, target, error(target, kind, code)), Verdict::Fail);
            }
        }
    }

    #[test]
    fn nobody_to_ask_and_a_dispatch_without_probe_are_told() {
        assert_eq!(rows("opt", [true; 2], &[])[0].verdict, Verdict::Warn);
        assert!(rows("opt", [true; 2], &[])[0].todo.contains("--peer"));
        assert!(rows("other", [true; 2], &[])[0].found.contains("other"));
    }
}
