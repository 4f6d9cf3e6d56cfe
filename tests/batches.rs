//! Batches of datagrams (UDP_SEGMENT) pass NodePorts in every mode, between nodes on whose links nobody cuts them apart.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use shunt_e2e::restart_with;
use shunt_e2e::wire::Wire;
use shunt_lab::client::probe;
use shunt_lab::cluster::Lab;
use shunt_lab::demo::apply_examples;
use shunt_lab::net::plan;
use shunt_lab::probe::Batches;
use shunt_lab::topology::{Style, Topology};
use std::net::SocketAddr;

const BATCHES: u32 = 3;
const DATAGRAMS: u32 = 6;
/// Longer than any packet of a link, and shorter than a batch.
const UNCUT: &str = "greater 5000";

/// Which batches a backend's node gets with the client's address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direct {
    None,
    /// Those of flows that a datagram by itself began.
    Later,
    All,
}

#[test]
fn batches_of_datagrams_arrive_whole_in_every_mode() {
    let mut lab =
        Lab::without_agents(Topology { nodes: 2, ..Topology::new("batches", Style::Routed) }).unwrap();
    restart_with(&mut lab, &[]);
    apply_examples(&lab).unwrap();
    arrive(&lab, "snat", Direct::None);
    for (dispatch, direct) in [("opt", Direct::All), ("ipip", Direct::All), ("geneve", Direct::Later)] {
        restart_with(&mut lab, &["loadBalancer.mode=dsr", &format!("loadBalancer.dsrDispatch={dispatch}")]);
        arrive(&lab, dispatch, direct);
    }
}

fn arrive(lab: &Lab, how: &str, direct: Direct) {
    lab.settle().unwrap();
    for v6 in [false, true] {
        // The pod of 30081 is on the node that is asked, that of 30082 on the other.
        for (port, remote) in [(30081, false), (30082, true)] {
            for greet in [false, true] {
                let to = SocketAddr::new(lab.nodes[0].addresses.of(v6), port);
                let what = format!("{how}: {to}, greeted: {greet}");
                let wires =
                    [0, 1].map(|i| Wire::watch(&lab.nodes[i].host, &["-Q", "in", "-s", "160"], UNCUT));
                come_back(lab, to, greet, &what);
                let [asked, backend] = Wire::seen_by(wires).map(|text| Seen::new(&text, v6));
                let seen = |batches, from_client| Seen { batches, from_client };
                // Cut apart before, they would try nothing.
                assert_eq!(asked, seen(BATCHES, BATCHES), "{what}: the node that is asked");
                let passed = if remote { BATCHES } else { 0 };
                let kept = direct == Direct::All || (direct == Direct::Later && greet);
                assert_eq!(backend, seen(passed, if kept { passed } else { 0 }), "{what}: the other node");
            }
        }
    }
}

fn come_back(lab: &Lab, to: SocketAddr, greet: bool, what: &str) {
    let [addr, batches, datagrams] = [to.to_string(), BATCHES.to_string(), DATAGRAMS.to_string()];
    let mut args = vec!["batches", &addr, "--batches", &batches, "--datagrams", &datagrams];
    args.extend(greet.then_some("--greet"));
    let got: Batches = probe(&lab.client, &args).unwrap();
    let sent = BATCHES * DATAGRAMS;
    assert_eq!(got, Batches { sent, whole: sent, ..Batches::default() }, "{what}");
}

/// What a node was sent uncut.
#[derive(PartialEq, Eq, Debug)]
struct Seen {
    batches: u32,
    /// Of those, how many have the client's address, be it inside another packet.
    from_client: u32,
}

impl Seen {
    /// Of what tcpdump printed: `IP SENDER.PORT > ...`, or without a port where there is something in between.
    fn new(text: &str, v6: bool) -> Self {
        let client = plan::client().of(v6);
        let from = [format!(" {client}."), format!(" {client} ")];
        let count = |has: &dyn Fn(&str) -> bool| text.lines().filter(|line| has(line)).count() as u32;
        Self {
            batches: count(&|line| line.contains(" IP")),
            from_client: count(&|line| from.iter().any(|from| line.contains(from))),
        }
    }
}
