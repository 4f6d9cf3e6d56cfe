//! Session affinity.

use crate::cluster::{Cluster, FAMILIES};
use crate::{cases, run};
use serde_json::json;
use shunt_lab::cluster::{repeat, repeat_udp};
use shunt_lab::place::Place;
use shunt_lab::topology::Style;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

#[test]
fn affinity() {
    run(
        "affinity",
        Style::Bridge,
        cases![
            a_client_stays_with_its_pod_until_affinity_is_switched_off,
            affinity_holds_at_a_load_balancer_under_both_policies,
            affinity_holds_for_datagrams,
            affinity_ends_with_its_timeout,
            affinity_ends_with_its_pod,
        ],
    );
}

const ALL: [&str; 4] = ["pod1-1", "pod1-2", "pod2-1", "pod2-2"];

/// Which pods a place reaches in twelve connections.
fn reached(from: &Place, to: SocketAddr) -> BTreeSet<String> {
    let tries = repeat(from, to, 12).unwrap();
    assert!(tries.failures.is_empty(), "{tries:?}");
    tries.bodies.keys().map(|body| body.split(' ').next().unwrap().to_owned()).collect()
}

fn ways(c: &Cluster, name: &str, v6: bool) -> Vec<(Place, SocketAddr)> {
    let (ip, port) = (c.cluster_ip(name, v6), c.node(1, v6, c.node_port(name, "http")));
    let mut ways: Vec<_> =
        c.inside().into_iter().flat_map(|from| [(from.clone(), ip), (from, port)]).collect();
    ways.push((c.client(), port));
    ways
}

fn a_client_stays_with_its_pod_until_affinity_is_switched_off(c: &Cluster) {
    let spec = json!({"type": "NodePort", "sessionAffinity": "ClientIP", "selector": {"app": "web"}});
    c.service("sticky", spec);
    for v6 in FAMILIES {
        for (from, to) in ways(c, "sticky", v6) {
            shunt_e2e::eventually_answers(&from, to);
            let found = reached(&from, to);
            assert_eq!(found.len(), 1, "{} at {to}: {found:?}", from.name);
        }
        // The same client by another frontend of the same port.
        let [ip, port] = [c.cluster_ip("sticky", v6), c.node(1, v6, c.node_port("sticky", "http"))];
        assert_eq!(reached(&c.pod(1, 1), ip), reached(&c.pod(1, 1), port));
    }
    c.change("sticky", json!({"spec": {"sessionAffinity": "None"}}));
    for v6 in FAMILIES {
        for (from, to) in ways(c, "sticky", v6) {
            shunt_e2e::eventually(&format!("{} is spread at {to}", from.name), || {
                match reached(&from, to).len() {
                    0 | 1 => Err("one pod".into()),
                    _ => Ok(()),
                }
            });
        }
    }
    c.change("sticky", json!({"spec": {"sessionAffinity": "ClientIP"}}));
    for (from, to) in ways(c, "sticky", false) {
        shunt_e2e::eventually(&format!("{} sticks at {to}", from.name), || match reached(&from, to).len() {
            1 => Ok(()),
            many => Err(format!("{many} pods")),
        });
    }
}

/// On at the start, off, and on again, while the policy changes under it.
fn affinity_holds_at_a_load_balancer_under_both_policies(c: &Cluster) {
    for policy in ["Cluster", "Local"] {
        let affinity = |value: &str| c.change("held", json!({"spec": {"sessionAffinity": value}}));
        c.service(
            "held",
            json!({"type": "LoadBalancer", "externalTrafficPolicy": policy, "sessionAffinity": "ClientIP",
            "selector": {"app": "web"}}),
        );
        let sticks = |from: &Place, to: SocketAddr| {
            shunt_e2e::eventually(&format!("{} sticks at {to} ({policy})", from.name), || {
                match reached(from, to).len() {
                    1 => Ok(()),
                    many => Err(format!("{many} pods")),
                }
            });
        };
        for v6 in FAMILIES {
            let to = c.load_balancer("held", v6);
            for from in [c.client(), c.pod(1, 2), c.bypass(1, 2), c.host(1)] {
                shunt_e2e::eventually_answers(&from, to);
                sticks(&from, to);
            }
        }
        affinity("None");
        for v6 in FAMILIES {
            // From outside, the address leads to node 1.
            let pods: &[&str] = if policy == "Local" { &["pod1-1", "pod1-2"] } else { &ALL };
            c.reaches(&c.client(), c.load_balancer("held", v6), pods);
        }
        affinity("ClientIP");
        for v6 in FAMILIES {
            sticks(&c.client(), c.load_balancer("held", v6));
        }
    }
}

fn affinity_holds_for_datagrams(c: &Cluster) {
    let spec = json!({"type": "LoadBalancer", "sessionAffinity": "ClientIP", "selector": {"app": "web"}});
    c.service("held", spec);
    let ends = || {
        let mut ends = Vec::new();
        for v6 in FAMILIES {
            ends.extend(c.inside().map(|from| (from, c.cluster_ip("held", v6))));
            ends.push((c.client(), c.node(1, v6, c.node_port("held", "udp"))));
            ends.push((c.client(), c.load_balancer("held", v6)));
        }
        ends
    };
    let pods = |from: &Place, to: SocketAddr| {
        let tries = repeat_udp(from, to, 16).unwrap();
        assert!(tries.failures.is_empty(), "{tries:?}");
        tries.bodies.keys().map(|body| body.split(' ').next().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    for (from, to) in ends() {
        shunt_e2e::eventually_answers_by(&from, to, true);
        assert_eq!(pods(&from, to).len(), 1, "{} at {to}", from.name);
    }
    c.change("held", json!({"spec": {"sessionAffinity": "None"}}));
    for (from, to) in ends() {
        shunt_e2e::eventually(&format!("{} is spread at {to}", from.name), || match pods(&from, to).len() {
            0 | 1 => Err("one pod".into()),
            _ => Ok(()),
        });
    }
}

fn affinity_ends_with_its_timeout(c: &Cluster) {
    let config = json!({"clientIP": {"timeoutSeconds": 1}});
    let spec = json!({"type": "NodePort", "sessionAffinity": "ClientIP", "sessionAffinityConfig": config,
        "selector": {"app": "web"}});
    c.service("brief", spec);
    let outside = c.node(1, true, c.node_port("brief", "http"));
    let ways = [
        (c.pod(1, 1), c.cluster_ip("brief", false)),
        (c.bypass(1, 1), c.cluster_ip("brief", true)),
        (c.client(), outside),
    ];
    let mut pods = [const { BTreeSet::new() }; 3];
    for (from, to) in &ways {
        shunt_e2e::eventually_answers(from, *to);
    }
    // Six free picks of four pods are all the same once in a thousand times.
    for _ in 0..6 {
        std::thread::sleep(Duration::from_millis(2100));
        for ((from, to), pods) in ways.iter().zip(&mut pods) {
            let now = reached(from, *to);
            assert_eq!(now.len(), 1, "twelve connections within a second");
            pods.extend(now);
        }
    }
    assert!(pods.iter().all(|pods| pods.len() > 1), "{pods:?}");
}

fn affinity_ends_with_its_pod(c: &Cluster) {
    let spec = json!({"type": "NodePort", "sessionAffinity": "ClientIP", "selector": {"app": "web"}});
    c.service("moves", spec);
    for v6 in FAMILIES {
        for (from, to) in ways(c, "moves", v6) {
            shunt_e2e::eventually_answers(&from, to);
            let first = reached(&from, to).pop_first().unwrap();
            let numbers: Vec<usize> = first[3..].split('-').map(|n| n.parse().unwrap()).collect();
            c.set_pod(numbers[0], numbers[1], false, false);
            let next = shunt_e2e::eventually(&format!("{} leaves {first} at {to}", from.name), || {
                let now = reached(&from, to);
                if now.len() == 1 && !now.contains(&first) { Ok(now) } else { Err(format!("{now:?}")) }
            });
            c.set_pod(numbers[0], numbers[1], true, false);
            assert_eq!(reached(&from, to), next, "it stays where it went");
        }
    }
}
