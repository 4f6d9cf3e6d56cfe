//! Nodes with several addresses and devices: which source a translated flow has, and which ways its packets may take.

use crate::coverage;
use crate::packet::{ACK, Packet, SYN, SYN_ACK};
use crate::world::{BOTH, Family, NEXT, REDIRECT, World};
use shunt_common::FrontendKind::NodePort;
use shunt_common::{Device, feature};
use shunt_datapath::testrun::TestRun;
use std::net::IpAddr;
use std::process::Command;

const TCP: u8 = 6;

fn ip(args: &str) {
    let status = Command::new("ip").args(args.split_whitespace()).status().unwrap();
    assert!(status.success(), "ip {args}");
}

/// Both ends of a packet.
fn ends(p: &Packet) -> (IpAddr, u16, IpAddr, u16) {
    (p.src, p.sport, p.dst, p.dport)
}

/// A second address of the node on its device.
fn second(f: Family) -> IpAddr {
    match f {
        Family::V4 => "10.0.0.9",
        Family::V6 => "fd00::9",
    }
    .parse()
    .unwrap()
}

/// A node with a NodePort at both of its addresses, whose backend is on another node.
fn node(f: Family) -> World {
    let mut w = World::new(f);
    ip(match f {
        Family::V4 => "addr add 10.0.0.9/24 dev eth0",
        Family::V6 => "addr add fd00::9/64 dev eth0 nodad",
    });
    for at in [f.node(), second(f)] {
        w.service(NodePort, (at, 30080), TCP, (f.remote_pod(), 8080), false);
    }
    w
}

/// A second device of the node, and its number.
fn second_device(f: Family, w: &World) -> u32 {
    let (addr, net, next_hop) = match f {
        Family::V4 => ("10.9.0.1/24", "10.1.2.0/24", "10.9.0.2"),
        Family::V6 => ("fd00:9::1/64 nodad", "fd00:1:2::/64", "fd00:9::2"),
    };
    // With the MAC that the cases' frames are for.
    ip("link add eth1 address 02:00:00:00:00:01 type veth peer name wire1");
    ip("link set eth1 up");
    ip("link set wire1 up");
    ip(&format!("addr add {addr} dev eth1"));
    ip(&format!("neigh add {next_hop} lladdr 02:00:00:00:09:02 dev eth1 nud permanent"));
    ip(&format!("route replace {net} via {next_hop}"));
    // SAFETY: a NUL-terminated name.
    let eth1 = unsafe { libc::if_nametoindex(c"eth1".as_ptr()) };
    let device = Device {
        addr4: std::net::Ipv4Addr::new(10, 9, 0, 1).into(),
        addr6: "fd00:9::1".parse::<std::net::Ipv6Addr>().unwrap().into(),
        flags: 0,
    };
    w.run.devices().unwrap().set(&eth1, &device).unwrap();
    eth1
}

#[test]
fn every_address_of_the_node_answers_as_itself() {
    for f in BOTH {
        let w = node(f);
        for (n, at) in [f.node(), second(f)].into_iter().enumerate() {
            let syn = Packet::new((f.client(), 40_000 + n as u16), (at, 30080), SYN);
            let sent = w.expect("tc_ingress", &syn, REDIRECT);
            // Not from the newest one: that may be another node's tomorrow.
            assert_eq!((sent.src, sent.dst), (f.node(), f.remote_pod()));
            let back = w.expect("tc_ingress", &sent.reply(SYN_ACK), REDIRECT);
            assert_eq!((back.src, back.sport, back.dst), (at, 30080, f.client()));
        }
    }
}

#[test]
fn the_source_is_what_the_route_asks_for_where_the_kernel_tells_it() {
    for f in BOTH {
        let w = node(f);
        ip(match f {
            Family::V4 => "route replace 10.1.2.0/24 via 10.0.0.2 src 10.0.0.9",
            Family::V6 => "route replace fd00:1:2::/64 via fd00::2 src fd00::9",
        });
        let knows = TestRun::kernel_features().unwrap() & feature::FIB_SOURCE != 0;
        // For IPv6 the device's own address comes first: the kernel chooses among all, and not only by the route.
        let want = if knows && f == Family::V4 { second(f) } else { f.node() };
        let syn = Packet::new((f.client(), 40_000), (f.node(), 30080), SYN);
        let sent = w.expect("tc_ingress", &syn, REDIRECT);
        assert_eq!(sent.src, want);
        assert_eq!(ends(&w.expect("tc_ingress", &sent.reply(SYN_ACK), REDIRECT)), ends(&syn.reply(SYN_ACK)));
    }
}

#[test]
fn a_route_by_another_device_gives_that_device_s_address() {
    for f in BOTH {
        let w = node(f);
        second_device(f, &w);
        let want: IpAddr = if f == Family::V4 { "10.9.0.1" } else { "fd00:9::1" }.parse().unwrap();
        let syn = Packet::new((f.client(), 40_000), (f.node(), 30080), SYN);
        let sent = w.expect("tc_ingress", &syn, REDIRECT);
        assert_eq!(sent.src, want);
    }
}

#[test]
fn packets_of_a_flow_may_come_in_by_any_device() {
    for f in BOTH {
        let w = node(f);
        let eth1 = second_device(f, &w);
        let by_eth1 = |packet: &Packet, verdict| {
            coverage::ran(f, "tc_ingress");
            let outcome = w.run.run("tc_ingress", &packet.bytes(), eth1, 1).unwrap();
            assert_eq!(outcome.verdict, verdict, "{packet:?}");
            Packet::read(&outcome.packet)
        };
        let syn = Packet::new((f.client(), 40_000), (f.node(), 30080), SYN);
        let sent = w.expect("tc_ingress", &syn, REDIRECT);
        // The reply takes the way that the forward packets took, or another.
        assert_eq!(ends(&by_eth1(&sent.reply(SYN_ACK), REDIRECT)), ends(&syn.reply(SYN_ACK)));
        assert_eq!(ends(&w.expect("tc_ingress", &sent.reply(SYN_ACK), REDIRECT)), ends(&syn.reply(SYN_ACK)));
        // So does the client.
        let ack = Packet { kind: ACK, ..syn };
        let again = by_eth1(&ack, REDIRECT);
        assert_eq!((again.src, again.sport, again.dst), (sent.src, sent.sport, sent.dst));
        let elsewhere = Packet::new((f.client(), 41_000), (f.local_pod(), 8080), SYN);
        assert_eq!(by_eth1(&elsewhere, NEXT), elsewhere);
    }
}
