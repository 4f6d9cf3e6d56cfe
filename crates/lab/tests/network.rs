//! What a lab's network can do without Shunt: pods, nodes and clients reach each other as beside a real CNI.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use shunt_lab::client::{http, probe, udp};
use shunt_lab::cluster::{Lab, Pod};
use shunt_lab::net::plan;
use shunt_lab::place::Place;
use shunt_lab::probe::Answer;
use shunt_lab::sh;
use shunt_lab::state::leftovers;
use shunt_lab::topology::{Families, Style, Topology};
use std::net::SocketAddr;

#[test]
fn pods_reach_each_other_where_each_is_routed_to() {
    everyone_reaches_everyone(Style::Routed, Families::Both, 1500);
}

#[test]
fn pods_reach_each_other_over_bridges() {
    everyone_reaches_everyone(Style::Bridge, Families::Both, 1500);
}

#[test]
fn pods_reach_each_other_over_an_overlay() {
    everyone_reaches_everyone(Style::Vxlan, Families::Both, 1400);
}

#[test]
fn an_overlay_works_without_ipv4() {
    everyone_reaches_everyone(Style::Vxlan, Families::V6, 1500);
}

fn everyone_reaches_everyone(style: Style, families: Families, mtu: u32) {
    let name = format!("net-{style}-{}", families.each().len());
    let lab = Lab::without_agents(Topology { families, mtu, ..Topology::new(&name, style) }).unwrap();
    for v6 in families.each() {
        pods(&lab, *v6);
        from_outside(&lab, *v6);
        the_server_s_words(&lab, *v6);
    }
    if style == Style::Vxlan {
        let link = sh::output(
            "ip",
            &["-n", lab.nodes[0].host.netns.name(), "-s", "-j", "link", "show", "flannel.1"],
        );
        let links: serde_json::Value = serde_json::from_str(&link.unwrap()).unwrap();
        let sent = links[0]["stats64"]["tx"]["packets"].as_u64().unwrap();
        assert!(sent > 0, "pods' packets to other nodes go through the overlay");
    }
    drop(lab);
    assert_eq!(leftovers(&name).unwrap(), Vec::<String>::new());
}

fn port(pod: &Pod, v6: bool, port: u16) -> SocketAddr {
    SocketAddr::new(pod.addresses.of(v6), port)
}

fn asked(from: &Place, to: SocketAddr, path: &str) -> Answer {
    http(from, to, path).unwrap()
}

/// The server sees the asking pod's own address, on the same node and from another one.
fn pods(lab: &Lab, v6: bool) {
    let (first, second) = (&lab.nodes[0], &lab.nodes[1]);
    let from = &first.pods[0];
    for to in [&first.pods[1], &second.pods[1]] {
        let expected = Answer::Ok(format!("{} {}", to.name, from.addresses.of(v6)));
        assert_eq!(asked(&from.place, port(to, v6, 8080), "/"), expected);
        for connected in [false, true] {
            let got = udp(&from.place, port(to, v6, 8081), connected).unwrap();
            assert_eq!((got.answer, got.from), (expected.clone(), Some(port(to, v6, 8081))));
        }
    }
    let bytes = 3_000_000;
    let echo = port(&second.pods[0], v6, 8082).to_string();
    let transfer: Answer = probe(&from.place, &["bulk", &echo, "--bytes", &bytes.to_string()]).unwrap();
    assert_eq!(transfer, Answer::Ok(bytes.to_string()), "offloads and MTU agree");
    // A node asks its own pods from its own address: no CNI gives the pods' gateway to anybody.
    let own = asked(&first.host, port(from, v6, 8080), "/");
    if lab.topology.style == Style::Routed {
        assert_eq!(own, Answer::Ok(format!("{} {}", from.name, first.addresses.of(v6))));
    }
    assert!(own.body().is_some(), "{own:?}");
}

/// Clients reach nodes' pods by plain routing, but not through an overlay.
fn from_outside(lab: &Lab, v6: bool) {
    let pod = &lab.nodes[2].pods[0];
    let answer = asked(&lab.client, port(pod, v6, 8080), "/");
    if lab.topology.style == Style::Vxlan {
        assert_eq!(answer.body(), None, "the underlay knows no pods");
    } else {
        assert_eq!(answer, Answer::Ok(format!("{} {}", pod.name, plan::client().of(v6))));
    }
}

fn the_server_s_words(lab: &Lab, v6: bool) {
    let (from, to) = (&lab.nodes[0].pods[0], &lab.nodes[0].pods[1]);
    let http = |path| asked(&from.place, port(to, v6, 8080), path);
    assert_eq!(http("/hostname"), Answer::Ok(to.name.clone()));
    assert_eq!(http("/echo?msg=over"), Answer::Ok("over".into()));
    assert_eq!(http("/healthz"), Answer::Ok("ok".into()));
    let seen: SocketAddr = http("/clientip").body().unwrap().parse().unwrap();
    assert_eq!(seen.ip(), from.addresses.of(v6));
    let words = |words: &str| {
        let addr = port(to, v6, 8081).to_string();
        probe::<shunt_lab::probe::Datagram>(&from.place, &["udp", &addr, words]).unwrap().answer
    };
    assert_eq!(words("hostname"), Answer::Ok(to.name.clone()));
    assert_eq!(words("echo there and back"), Answer::Ok("there and back".into()));
    let seen: SocketAddr = words("clientip").body().unwrap().parse().unwrap();
    assert_eq!(seen.ip(), from.addresses.of(v6));
    assert_eq!(asked(&from.place, port(to, v6, 9), "/"), Answer::Refused);
}
