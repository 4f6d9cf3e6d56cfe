//! Links may be narrower than clients know: long transfers arrive whole, and a datagram that is too long is told so.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use shunt_e2e::{long_answer_is_whole, restart_with};
use shunt_lab::client::probe;
use shunt_lab::cluster::Lab;
use shunt_lab::demo::{apply_examples, cluster_ip};
use shunt_lab::net::netns::Netns;
use shunt_lab::net::plan;
use shunt_lab::place::Place;
use shunt_lab::probe::Answer;
use shunt_lab::sh;
use shunt_lab::topology::{Style, Topology};
use std::net::SocketAddr;

/// Of the nodes' network; clients have 1500, and pods 50 less than nodes, which is below any of them.
const MTU: u32 = 1400;
const BYTES: usize = 3_000_000;
/// Of a router's link between two nodes; what the widest tunnel leaves of it is what IPv6 wants (1280) and a bit.
const BETWEEN: u32 = 1400;

#[test]
fn narrow_links_and_absent_offloads_harm_nothing() {
    let lab = Lab::up(Topology { mtu: MTU, devices: 2, ..Topology::new("mtu", Style::Vxlan) }).unwrap();
    apply_examples(&lab).unwrap();
    too_long_datagrams_are_told_the_mtu(&lab);
    transfers(&lab, "with offloads");
    without_offloads(&lab);
    transfers(&lab, "without offloads");
}

#[test]
fn a_router_that_says_too_big_is_heard_by_the_client() {
    let mut lab = Lab::without_agents(Topology { nodes: 2, ..Topology::new("pmtu", Style::Routed) }).unwrap();
    restart_with(&mut lab, &[]);
    apply_examples(&lab).unwrap();
    lab.settle().unwrap();
    // The last link to each remote pod is narrower than either end knows: its node says so to whom the packets come from.
    for device in ["veth1", "veth2"] {
        let netns = lab.nodes[1].host.netns.name();
        sh::output("ip", &["-n", netns, "link", "set", device, "mtu", "1300"]).unwrap();
    }
    lab.nodes[1].pods.iter().for_each(|pod| sends_less_than_it_takes(pod.place.netns.name()));
    path_mtu_is_found(&lab, "snat");
    for dispatch in ["opt", "ipip", "geneve"] {
        restart_with(&mut lab, &["loadBalancer.mode=dsr", &format!("loadBalancer.dsrDispatch={dispatch}")]);
        lab.settle().unwrap();
        path_mtu_is_found(&lab, dispatch);
    }
}

/// Between the nodes there is a router whose link to the second one is narrow, which no device of a node's shows. What it says
/// of a packet in another comes to the node that put it there. What it says of one that is still its client's goes to the
/// client: here by the node that was asked, as where that is the router's way to it. Any other way, the client cannot tell whose
/// packet that was.
#[test]
fn a_router_between_the_nodes_that_says_too_big_is_heard_by_the_client() {
    let mut lab = Lab::without_agents(Topology { nodes: 2, ..Topology::new("tmtu", Style::Routed) }).unwrap();
    restart_with(&mut lab, &[]);
    apply_examples(&lab).unwrap();
    lab.settle().unwrap();
    for v6 in [false, true] {
        narrow_between(&lab, v6);
    }
    path_mtu_between_is_found(&lab, "snat", [0, 0]);
    for (dispatch, added) in [("ipip", [20, 40]), ("geneve", [48, 80]), ("opt", [8, 24])] {
        if dispatch == "geneve" {
            errors_go_by_the_first_node(&lab);
        }
        restart_with(&mut lab, &["loadBalancer.mode=dsr", &format!("loadBalancer.dsrDispatch={dispatch}")]);
        lab.settle().unwrap();
        path_mtu_between_is_found(&lab, dispatch, added);
    }
}

/// The way of the first node's packets to the second one's pods leads by the router, which sends on no more than so much.
fn narrow_between(lab: &Lab, v6: bool) {
    let (family, pods) = (if v6 { "-6" } else { "-4" }, &plan::pod_cidrs(2)[usize::from(v6)]);
    let (router, node) = (plan::router_to_nodes().of(v6).to_string(), plan::node(2).of(v6).to_string());
    let first = lab.nodes[0].host.netns.name();
    sh::output("ip", &["-n", first, family, "route", "replace", pods, "via", &router]).unwrap();
    let narrow = ["metric", "1024", "mtu", &BETWEEN.to_string()];
    let at = ["-n", &lab.topology.netns("router"), family, "route", "replace", pods, "via", &node];
    sh::output("ip", &[&at[..], &narrow].concat()).unwrap();
}

/// The router's own packets to the client go by the first node.
fn errors_go_by_the_first_node(lab: &Lab) {
    for v6 in [false, true] {
        let (client, node) = (plan::client().of(v6).to_string(), plan::node(1).of(v6).to_string());
        let ip = ["-n", &lab.topology.netns("router"), if v6 { "-6" } else { "-4" }];
        sh::output("ip", &[&ip[..], &["route", "replace", &client, "via", &node, "table", "99"]].concat())
            .unwrap();
        let rule = ["rule", "add", "pref", "99", "iif", "lo", "to", &client, "lookup", "99"];
        sh::output("ip", &[&ip[..], &rule].concat()).unwrap();
    }
}

fn path_mtu_between_is_found(lab: &Lab, how: &str, added: [u32; 2]) {
    for v6 in [false, true] {
        let remote = |port| SocketAddr::new(lab.nodes[0].addresses.of(v6), port).to_string();
        forget(lab, v6);
        for _ in 0..8 {
            let to = remote(30007);
            let answer: Answer = probe(&lab.client, &["bulk", &to, "--bytes", &BYTES.to_string()]).unwrap();
            assert_eq!(answer, Answer::Ok(BYTES.to_string()), "{how}: {to}");
        }
        forget(lab, v6);
        // It fits every link of the node's, whatever is put around it.
        let long = BETWEEN + 10 - if v6 { 48 } else { 28 };
        let mtu: Answer = probe(&lab.client, &["mtu", &remote(30082), "--bytes", &long.to_string()]).unwrap();
        let left = BETWEEN - added[usize::from(v6)];
        assert_eq!(mtu, Answer::Ok(left.to_string()), "{how}: {}", remote(30082));
    }
}

/// What earlier connections taught the client.
fn forget(lab: &Lab, v6: bool) {
    let family = if v6 { "-6" } else { "-4" };
    sh::output("ip", &["-n", lab.client.netns.name(), family, "route", "flush", "cache"]).unwrap();
}

/// A pod's own packets fit the link, where a device drops longer ones in silence; it still asks for long ones.
fn sends_less_than_it_takes(netns: &str) {
    for (family, advmss) in [("-4", "1460"), ("-6", "1440")] {
        let ip = ["-n", netns, family, "route"];
        let route = sh::output("ip", &[&ip[..], &["show", "default"]].concat()).unwrap();
        let route: Vec<&str> = route.split_whitespace().collect();
        sh::output("ip", &[&ip[..], &["replace"], &route, &["mtu", "1300", "advmss", advmss]].concat())
            .unwrap();
    }
}

fn path_mtu_is_found(lab: &Lab, how: &str) {
    for v6 in [false, true] {
        forget(lab, v6);
        let to = SocketAddr::new(lab.nodes[0].addresses.of(v6), 30007).to_string();
        // Several, so that remote backends come to it.
        for _ in 0..8 {
            let answer: Answer = probe(&lab.client, &["bulk", &to, "--bytes", &BYTES.to_string()]).unwrap();
            assert_eq!(answer, Answer::Ok(BYTES.to_string()), "{how}: {to}");
        }
        let remote = SocketAddr::new(lab.nodes[0].addresses.of(v6), 30082).to_string();
        forget(lab, v6);
        // A datagram that may not be cut is told the MTU of that link. It fits all others, whatever is put around it.
        let mtu: Answer = probe(&lab.client, &["mtu", &remote, "--bytes", "1300"]).unwrap();
        assert_eq!(mtu, Answer::Ok("1300".to_owned()), "{how}: {remote}");
    }
}

/// From outside to a NodePort, from a pod to a ClusterIP by the socket path, and by the packet path.
fn transfers(lab: &Lab, how: &str) {
    let pod = &lab.nodes[0].pods[0].place;
    for v6 in [false, true] {
        let node_port = SocketAddr::new(lab.nodes[0].addresses.of(v6), 30007);
        let echo = SocketAddr::new(cluster_ip(lab, "web", v6).unwrap(), 7);
        for (from, to) in [(&lab.client, node_port), (pod, echo)] {
            // Several, so that local and remote backends both come to it.
            for _ in 0..5 {
                let args = ["bulk", &to.to_string(), "--bytes", &BYTES.to_string()];
                let answer: Answer = probe(from, &args).unwrap();
                assert_eq!(answer, Answer::Ok(BYTES.to_string()), "{how}: {} to {to}", from.name);
            }
        }
        let remote = SocketAddr::new(cluster_ip(lab, "on-node2", v6).unwrap(), 80);
        long_answer_is_whole(&pod.outside_cgroup(), remote, BYTES, &format!("{how}, a bypassing pod"));
        let node_port = SocketAddr::new(lab.nodes[0].addresses.of(v6), 30082);
        long_answer_is_whole(&lab.client, node_port, BYTES, how);
    }
}

/// Only Shunt knows that the way to a remote backend is narrower than the way to the node.
fn too_long_datagrams_are_told_the_mtu(lab: &Lab) {
    for (v6, headers) in [(false, 28), (true, 48)] {
        let fits_underlay = (MTU - headers).to_string();
        let mtu = |from: &Place, port: u16| -> Answer {
            let to = SocketAddr::new(lab.nodes[0].addresses.of(v6), port);
            probe(from, &["mtu", &to.to_string(), "--bytes", &fits_underlay]).unwrap()
        };
        assert_eq!(mtu(&lab.client, 30082), Answer::Ok((MTU - 50).to_string()), "the overlay's, v6: {v6}");
    }
}

/// Checksums and segments are now the sender's own work.
fn without_offloads(lab: &Lab) {
    let mut places: Vec<(&Netns, Vec<&str>)> = vec![(&lab.client.netns, vec!["eth0"])];
    for node in &lab.nodes {
        places.push((&node.host.netns, vec!["eth0", "eth1", "flannel.1", "cni0", "veth1", "veth2"]));
        places.extend(node.pods.iter().map(|pod| (&pod.place.netns, vec!["eth0"])));
    }
    let all_off = ["rx", "off", "tx", "off", "gso", "off", "gro", "off"];
    for (netns, devices) in places {
        for device in devices {
            let args = [&["netns", "exec", netns.name(), "ethtool", "-K", device][..], &all_off].concat();
            sh::output("ip", &args).unwrap();
        }
    }
}
