//! The socket path shows a process the service that it asked for, and keeps services' ports from the node's processes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use shunt_lab::cluster::{Lab, probe, udp};
use shunt_lab::demo::{apply_examples, cluster_ip};
use shunt_lab::place::Place;
use shunt_lab::probe::Answer;
use shunt_lab::topology::{Style, Topology};
use std::net::{IpAddr, SocketAddr};

#[test]
fn a_process_sees_the_service_and_cannot_take_its_port() {
    let lab = Lab::up(Topology::new("sockets", Style::Bridge)).unwrap();
    apply_examples(&lab).unwrap();
    connected_sockets_name_the_service(&lab);
    ipv4_mapped_sockets_are_served_too(&lab);
    a_service_s_port_is_not_for_the_node_s_processes(&lab);
}

fn web(lab: &Lab, v6: bool) -> SocketAddr {
    SocketAddr::new(cluster_ip(lab, "web", v6).unwrap(), 80)
}

fn mapped(addr: SocketAddr) -> SocketAddr {
    let IpAddr::V4(v4) = addr.ip() else { panic!("an IPv4 address") };
    SocketAddr::new(v4.to_ipv6_mapped().into(), addr.port())
}

fn peer(place: &Place, addr: SocketAddr) -> Answer {
    probe(place, &["peer", &addr.to_string()]).unwrap()
}

fn bind(place: &Place, addr: &str, udp: bool) -> Answer {
    let args: &[&str] = if udp { &["bind", addr, "--udp"] } else { &["bind", addr] };
    probe(place, args).unwrap()
}

fn connected_sockets_name_the_service(lab: &Lab) {
    for place in [&lab.nodes[0].host, &lab.nodes[1].pods[0].place] {
        for v6 in [false, true] {
            let addr = web(lab, v6);
            assert_eq!(peer(place, addr), Answer::Ok(addr.to_string()), "getpeername on {}", place.name);
        }
    }
}

fn ipv4_mapped_sockets_are_served_too(lab: &Lab) {
    let place = &lab.nodes[0].pods[1].place;
    let addr = mapped(web(lab, false));
    assert_eq!(peer(place, addr), Answer::Ok(addr.to_string()));
    for connected in [false, true] {
        let got = udp(place, addr, connected).unwrap();
        assert!(got.answer.body().is_some_and(|body| body.starts_with("pod")), "{got:?}");
        assert_eq!(got.from, Some(addr), "connected: {connected}");
    }
}

fn a_service_s_port_is_not_for_the_node_s_processes(lab: &Lab) {
    let (host, pod) = (&lab.nodes[0].host, &lab.nodes[0].pods[0].place);
    let bound = Answer::Ok("bound".into());
    for addr in ["0.0.0.0:30080", "[::]:30080"] {
        for udp in [false, true] {
            assert_eq!(bind(host, addr, udp), Answer::Denied, "{addr} on the node, udp: {udp}");
            assert_eq!(bind(pod, addr, udp), bound, "a pod may, in its own network");
        }
    }
    assert_eq!(bind(host, "0.0.0.0:30079", false), bound, "a port that no service has");
}
