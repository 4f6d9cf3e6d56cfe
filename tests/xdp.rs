//! With `loadBalancer.acceleration: native` remote backends are answered in the driver, by SNAT and by direct server return, and
//! everything else as ever.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use shunt_e2e::wire::as_hardware;
use shunt_e2e::{eventually_answers, json, long_answer_is_whole, restart_with};
use shunt_lab::client::probe;
use shunt_lab::cluster::{Lab, background, finish, udp};
use shunt_lab::demo::apply_examples;
use shunt_lab::net::plan;
use shunt_lab::pattern::digest;
use shunt_lab::probe::{Answer, Held};
use shunt_lab::sh;
use shunt_lab::topology::{Style, Topology};
use std::net::SocketAddr;
use std::time::Duration;

const BYTES: usize = 3_000_000;

#[test]
fn remote_backends_are_answered_in_the_driver() {
    let mut lab = Lab::without_agents(Topology::new("xdp", Style::Routed)).unwrap();
    for node in &mut lab.nodes {
        node.agent.extra = vec!["--set".into(), "loadBalancer.acceleration=native".into()];
        node.agent.start().unwrap();
    }
    for node in &lab.nodes {
        node.agent.wait_ready(Duration::from_secs(30)).unwrap();
    }
    as_hardware(&lab);
    apply_examples(&lab).unwrap();
    it_is_listed(&lab);
    the_driver_does_it(&lab);
    a_restart_breaks_nothing(&mut lab);
}

fn it_is_listed(lab: &Lab) {
    for node in &lab.nodes {
        let link = sh::output("ip", &["-n", node.host.netns.name(), "link", "show", "eth0"]).unwrap();
        assert!(link.contains("prog/xdp id"), "{link}");
        let status = json(&node.agent, "status");
        assert_eq!(status["acceleration"][0]["device"], "eth0");
        assert_eq!(status["acceleration"][0]["runs"], "native");
        let text = node.agent.ask(&["status", "--verbose"]).unwrap();
        assert!(text.contains("XDP Acceleration:       Native   [eth0 native]"), "{text}");
    }
}

/// Packets that node 1 forwarded at XDP, and by tc, so far.
fn forwarded(lab: &Lab) -> (u64, u64) {
    let list = json(&lab.nodes[0].agent, "bpf metrics list");
    let of = |reason: &str| -> u64 {
        let all = list.as_array().unwrap().iter();
        all.filter(|row| row["reason"] == reason).map(|row| row["packets"].as_u64().unwrap()).sum()
    };
    (of("forwarded_xdp"), of("forwarded"))
}

/// From outside to a NodePort of node 1 whose only backend is on node 2.
fn the_driver_does_it(lab: &Lab) {
    for v6 in [false, true] {
        let at = SocketAddr::new(lab.nodes[0].addresses.of(v6), 30082);
        eventually_answers(&lab.client, at);
        let before = forwarded(lab);
        long_answer_is_whole(&lab.client, at, BYTES, "through XDP");
        let after = forwarded(lab);
        let (xdp, tc) = (after.0 - before.0, after.1 - before.1);
        println!("v6 {v6}: {xdp} packets by XDP, {tc} by tc");
        // 3 MB in segments of at most 1448 bytes; tc sends one packet a second of each direction, and the second of each.
        assert!(xdp > 2000 && tc < 40, "{xdp} by XDP, {tc} by tc");
        for _ in 0..20 {
            let datagram = udp(&lab.client, at, true).unwrap();
            assert_eq!(datagram.from, Some(at), "{datagram:?}");
        }
        assert!(forwarded(lab).0 >= after.0 + 10, "UDP by XDP");
    }
}

#[test]
fn direct_return_is_dispatched_in_the_driver() {
    let mut lab =
        Lab::without_agents(Topology { nodes: 2, pods: 1, ..Topology::new("xdpdsr", Style::Routed) })
            .unwrap();
    for (nth, dispatch) in ["opt", "ipip", "geneve"].into_iter().enumerate() {
        let dispatch = format!("loadBalancer.dsrDispatch={dispatch}");
        restart_with(&mut lab, &["loadBalancer.acceleration=native", "loadBalancer.mode=dsr", &dispatch]);
        if nth == 0 {
            as_hardware(&lab);
            apply_examples(&lab).unwrap();
        }
        lab.settle().unwrap();
        for v6 in [false, true] {
            the_driver_dispatches(&lab, v6, &dispatch);
        }
    }
}

/// As above, to a backend that sees the client and answers it itself: node 1 has what the client sends.
fn the_driver_dispatches(lab: &Lab, v6: bool, what: &str) {
    let at = SocketAddr::new(lab.nodes[0].addresses.of(v6), 30082);
    let served = format!("pod2-1 {}", plan::client().of(v6));
    assert_eq!(eventually_answers(&lab.client, at), served, "{what}, {at}");
    let before = forwarded(lab);
    let sent: Answer = probe(&lab.client, &["send", &at.to_string(), "--bytes", &BYTES.to_string()]).unwrap();
    assert_eq!(sent, Answer::Ok(digest(BYTES)), "{what}, {at}");
    let after = forwarded(lab);
    let (xdp, tc) = (after.0 - before.0, after.1 - before.1);
    println!("{what}, v6 {v6}: {xdp} packets by XDP, {tc} by tc");
    // 3 MB in segments of at most 1448 bytes; tc sends one packet a second, and the second.
    assert!(xdp > 2000 && tc < 40, "{what}, {at}: {xdp} by XDP, {tc} by tc");
    for _ in 0..20 {
        let datagram = udp(&lab.client, at, true).unwrap();
        assert_eq!((datagram.from, datagram.answer), (Some(at), Answer::Ok(served.clone())), "{what}, {at}");
    }
    let last = forwarded(lab);
    assert!(last.0 >= after.0 + 10, "{what}, {at}: UDP by XDP: {after:?}, {last:?}");
}

/// Agents go and come back; connections and streams do not notice.
fn a_restart_breaks_nothing(lab: &mut Lab) {
    let at = |v6| SocketAddr::new(lab.nodes[0].addresses.of(v6), 30082).to_string();
    let mut args: Vec<String> = ["hold", "--connections", "20"].map(String::from).to_vec();
    for v6 in [false, true] {
        args.extend(["--udp".into(), at(v6)]);
        args.extend(["--tcp".into(), SocketAddr::new(lab.nodes[0].addresses.of(v6), 30007).to_string()]);
    }
    let held = background(&lab.client, &args).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    for node in &mut lab.nodes {
        node.agent.kill();
        node.agent.start().unwrap();
        node.agent.wait_ready(Duration::from_secs(30)).unwrap();
    }
    std::thread::sleep(Duration::from_secs(1));
    let held: Held = finish(held).unwrap();
    assert!(held.broken.is_empty() && held.lost == 0 && held.sent > 100, "{held:?}");
}
