//! BIG TCP: where devices allow it, a segment of a stream is longer than an IP header can tell (Linux 6.3 for IPv4), and its
//! length is zero there. Such segments pass NodePorts in every mode, between nodes on whose links nobody cuts them apart.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use shunt_e2e::wire::Wire;
use shunt_e2e::{eventually_answers, restart_with};
use shunt_lab::client::probe;
use shunt_lab::cluster::Lab;
use shunt_lab::demo::apply_examples;
use shunt_lab::net::netns::{self, Netns};
use shunt_lab::pattern::digest;
use shunt_lab::probe::Answer;
use shunt_lab::sh;
use shunt_lab::topology::{Style, Topology};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

const LAB: &str = "bigtcp";
const BYTES: usize = 30_000_000;
/// How long a segment may be, in bytes.
const BIG: u32 = 180_000;
/// Longer than an IP header can tell.
const UNTOLD: &str = "greater 70000";

#[test]
fn segments_longer_than_a_header_can_tell_pass_in_every_mode() {
    let mut lab =
        Lab::without_agents(Topology { nodes: 2, pods: 1, ..Topology::new(LAB, Style::Routed) }).unwrap();
    for netns in netns::of_lab(LAB) {
        allow(&netns);
        if netns.name().ends_with("-router") {
            leave_to_the_wire(&netns);
        }
    }
    let pods = lab.nodes.iter().flat_map(|node| &node.pods).map(|pod| &pod.place);
    for end in pods.chain([&lab.client]) {
        // The kernel's own forwarding counts the header that tells an IPv6 segment's length (RFC 2675) to each of those it
        // will be cut into.
        end.netns.ip(&["link set eth0 mtu 1400".into()]).unwrap();
    }
    restart_with(&mut lab, &[]);
    apply_examples(&lab).unwrap();
    pass(&lab, "snat");
    for dispatch in ["opt", "ipip", "geneve"] {
        restart_with(&mut lab, &["loadBalancer.mode=dsr", &format!("loadBalancer.dsrDispatch={dispatch}")]);
        pass(&lab, dispatch);
    }
}

/// A long transfer each way, to a backend on the node that is asked and to one on the other.
fn pass(lab: &Lab, how: &str) {
    let whole = Answer::Ok(digest(BYTES));
    for v6 in [false, true] {
        for (port, remote) in [(30081, false), (30082, true)] {
            let to = SocketAddr::new(lab.nodes[0].addresses.of(v6), port);
            eventually_answers(&lab.client, to);
            let (addr, bytes) = (to.to_string(), BYTES.to_string());
            for verb in ["fetch", "send"] {
                let wires =
                    [0, 1].map(|i| Wire::watch(&lab.nodes[i].host, &["-e", "-q", "-s", "160"], UNTOLD));
                let answer: Answer = probe(&lab.client, &[verb, &addr, "--bytes", &bytes]).unwrap();
                assert_eq!(answer, whole, "{how}: {to}: {verb}");
                let seen = Wire::seen_by(wires).map(|text| text.lines().any(|line| !line.is_empty()));
                // By direct return the other node sends them past the one that is asked, and hears them from it.
                let asked = verb == "send" || !remote || how == "snat";
                assert_eq!(seen, [asked, remote], "{how}: {to}: {verb}: uncut segments at either node");
            }
        }
    }
}

/// Lets the devices of a namespace carry segments of [`BIG`] bytes.
fn allow(netns: &Netns) {
    let links = sh::output("ip", &["-n", netns.name(), "-j", "link"]).unwrap();
    let links: serde_json::Value = serde_json::from_str(&links).unwrap();
    let links: Vec<u32> =
        links.as_array().unwrap().iter().map(|link| link["ifindex"].as_u64().unwrap() as u32).collect();
    netns.run(move || links.into_iter().for_each(allow_on)).unwrap();
}

/// Debian's `ip` does not know the limits for IPv4 yet.
fn allow_on(index: u32) {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.attributes = vec![
        LinkAttribute::GsoMaxSize(BIG),
        LinkAttribute::GsoIpv4MaxSize(BIG),
        LinkAttribute::GroMaxSize(BIG),
        LinkAttribute::GroIpv4MaxSize(BIG),
    ];
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::SetLink(link));
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    let socket = Socket::new(NETLINK_ROUTE).unwrap();
    socket.send(&bytes, 0).unwrap();
    let (answer, _) = socket.recv_from_full().unwrap();
    match NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).unwrap().payload {
        NetlinkPayload::Error(error) => assert_eq!(error.code, None, "interface {index}"),
        other => panic!("{other:?}"),
    }
}

/// The lab's wires are bridges, which a kernel with `br_netfilter` makes look into IPv6 packets, and cut what it does not
/// understand: that a segment which tells no length is inside another header. A wire does not look.
fn leave_to_the_wire(router: &Netns) {
    let write = || {
        let look = Path::new("/proc/sys/net/bridge/bridge-nf-call-ip6tables");
        if look.exists() {
            fs::write(look, "0").unwrap();
        }
    };
    router.run(write).unwrap();
}
