//! What nobody can make of us: services that take addresses and ports which are others', endpoints where no pod can be, and
//! surfaces of our own. Section I of docs/SPECIFICATION.md says which rule and which CVE each is about.

use crate::cluster::{Cluster, FAMILIES};
use crate::{cases, run};
use serde_json::{Value, json};
use shunt_e2e::{eventually, problems};
use shunt_lab::api::Kind;
use shunt_lab::cluster::{Lab, http};
use shunt_lab::demo::apply_examples;
use shunt_lab::place::Place;
use shunt_lab::topology::{Style, Topology};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

#[test]
fn safety() {
    run(
        "safety",
        Style::Routed,
        cases![
            addresses_of_the_cluster_are_not_taken_from_it,
            ports_of_the_node_are_not_taken_from_it,
            endpoints_where_no_pod_can_be_are_refused,
            endpoints_in_another_namespace_are_told,
            only_health_and_metrics_are_answered_to_strangers,
            the_socket_and_the_pins_are_for_root_alone,
        ],
    );
}

/// Where the agent itself answers on a node: health, and metrics, in both families.
const HEALTH: u16 = 10256;
const METRICS: u16 = 9962;

/// Waits until node 1's agent has problems of one object with each of these words.
fn named(c: &Cluster, object: &str, words: &[String]) {
    eventually(&format!("problems of {object} with each of {words:?}"), || {
        let text = problems(&c.lab.nodes[0].agent);
        let told = |word: &String| text.lines().any(|line| line.contains(object) && line.contains(word));
        if words.iter().all(told) { Ok(()) } else { Err(text) }
    });
}

/// The node's own server still answers at its port, not a pod.
fn node_answers_itself(c: &Cluster) {
    for v6 in FAMILIES {
        for from in [c.client(), c.pod(1, 1), c.bypass(1, 1), c.host(1)] {
            let answer = http(&from, c.node(1, v6, METRICS), "/metrics").unwrap();
            let own = answer.body().is_some_and(|body| body.contains("shunt_"));
            assert!(own, "{} asks the node: {answer:?}", from.name);
        }
    }
}

/// Whoever may write Services would otherwise get others' traffic: CVE-2020-8554.
fn addresses_of_the_cluster_are_not_taken_from_it(c: &Cluster) {
    c.service("victim", json!({"selector": {"pod": "pod1-1"}}));
    let port =
        |name: &str, port: u16| json!({"name": name, "port": port, "targetPort": 8080, "protocol": "TCP"});
    let ports = json!([port("web", 80), port("pod", 8080), port("node", METRICS)]);
    let mut taken = Vec::new();
    for v6 in FAMILIES {
        taken.extend([c.node(1, v6, 0).ip(), c.pod_ip(1, 2, v6), c.cluster_ip("victim", v6).ip()]);
    }
    let theirs = |c: &Cluster| {
        node_answers_itself(c);
        for v6 in FAMILIES {
            for from in [c.client(), c.pod(1, 1), c.bypass(1, 1), c.host(1)] {
                c.reaches(&from, SocketAddr::new(c.pod_ip(1, 2, v6), 8080), &["pod1-2"]);
            }
            for from in c.inside() {
                c.reaches(&from, c.cluster_ip("victim", v6), &["pod1-1"]);
            }
        }
    };
    let external: Vec<String> = taken.iter().map(ToString::to_string).collect();
    c.service("thief", json!({"selector": {"pod": "pod2-2"}, "ports": ports, "externalIPs": external}));
    let words = |field: &str| taken.iter().map(|ip| format!("{field}: {ip} ")).collect::<Vec<_>>();
    named(c, "default/thief", &words("spec.externalIPs"));
    theirs(c);
    c.delete("thief");
    // The same by what a load balancer is said to have: of a class of its own, so that the lab's leaves it to us.
    let spec = json!({"type": "LoadBalancer", "loadBalancerClass": "example.com/ours", "ports": ports,
        "selector": {"pod": "pod2-2"}});
    c.service("thief", spec);
    let ingress: Vec<Value> = taken.iter().map(|ip| json!({"ip": ip.to_string(), "ipMode": "VIP"})).collect();
    c.change("thief", json!({"status": {"loadBalancer": {"ingress": ingress}}}));
    named(c, "default/thief", &words("status.loadBalancer.ingress"));
    theirs(c);
}

/// No frontend claims a node's management ports by accident: sshd's, kubelet's, or here our own.
fn ports_of_the_node_are_not_taken_from_it(c: &Cluster) {
    let service = |name: &str, spec: Value| {
        let metadata = json!({"name": name, "namespace": "default"});
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec});
        // No API server would let this in; a manifest on the node, or a wrong range there, does.
        c.lab.api().force_put(service).unwrap();
    };
    let ips: Vec<String> = FAMILIES.map(|v6| c.node(1, v6, 0).ip().to_string()).into();
    let port = json!({"name": "http", "port": METRICS, "targetPort": 8080, "protocol": "TCP"});
    service(
        "by-address",
        json!({"clusterIP": ips[0], "clusterIPs": ips, "ipFamilies": ["IPv4", "IPv6"],
        "selector": {"app": "web"}, "ports": [port]}),
    );
    named(
        c,
        "default/by-address",
        &ips.iter().map(|ip| format!("spec.clusterIPs: {ip} ")).collect::<Vec<_>>(),
    );
    let mut port = port;
    (port["port"], port["nodePort"]) = (80.into(), METRICS.into());
    service(
        "by-number",
        json!({"type": "NodePort", "clusterIP": "10.96.7.9", "clusterIPs": ["10.96.7.9"],
        "ipFamilies": ["IPv4"], "selector": {"app": "web"}, "ports": [port]}),
    );
    named(c, "default/by-number", &[format!("nodePort {METRICS} is outside nodePort.range")]);
    node_answers_itself(c);
}

/// Through a service, an endpoint would be reached with the node's own rights: CVE-2021-25737.
fn endpoints_where_no_pod_can_be_are_refused(c: &Cluster) {
    c.service("led", json!({"type": "NodePort", "selector": {"pod": "pod1-1"}}));
    let bad = [
        ["127.0.0.1", "127.8.8.8", "169.254.169.254", "224.0.0.5", "255.255.255.255", "0.0.0.0"].as_slice(),
        &["::1", "fe80::1", "ff02::1", "::", "::ffff:127.0.0.1"],
    ];
    for (v6, addresses) in FAMILIES.into_iter().zip(bad) {
        let ends: Vec<Value> =
            addresses.iter().map(|a| json!({"addresses": [a], "nodeName": "node1"})).collect();
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "addressType": if v6 { "IPv6" } else { "IPv4" },
            "metadata": {"name": "sly", "namespace": "default", "labels": {"kubernetes.io/service-name": "led"}},
            "endpoints": ends, "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]});
        c.lab.api().force_put(slice).unwrap();
        let words: Vec<String> = addresses.iter().map(|a| format!("endpoint address {a} is ")).collect();
        named(c, "default/sly", &words);
        for from in c.inside() {
            c.reaches(&from, c.cluster_ip("led", v6), &["pod1-1"]);
        }
        c.reaches(&c.client(), c.node(1, v6, c.node_port("led", "http")), &["pod1-1"]);
        let rows = c.lab.nodes[0].agent.ask(&["bpf", "lb", "list", "--backends"]).unwrap();
        for address in addresses {
            let row = SocketAddr::new(address.parse().unwrap(), 8080).to_string();
            assert!(!rows.contains(&format!("{row}/")), "{rows}");
        }
        c.lab.api().delete(Kind::EndpointSlice, "default", "sly").unwrap();
    }
}

/// Past another namespace's network policies: CVE-2021-25740, which Kubernetes leaves to those who watch.
fn endpoints_in_another_namespace_are_told(c: &Cluster) {
    c.service("led", json!({"selector": null}));
    let target = json!({"kind": "Pod", "namespace": "vault", "name": "safe"});
    let end = |pod| json!({"addresses": [c.pod_ip(2, pod, false).to_string()], "targetRef": target});
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "strays", "namespace": "default", "labels": {"kubernetes.io/service-name": "led"}},
        "endpoints": [end(1), end(2)], "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]});
    c.lab.api().put(slice).unwrap();
    named(c, "default/strays", &["2 of its endpoints are in another namespace".into(), "vault".into()]);
    c.reaches(&c.pod(1, 1), c.cluster_ip("led", false), &["pod2-1", "pod2-2"]);
    c.lab.api().delete(Kind::EndpointSlice, "default", "strays").unwrap();
}

/// Addresses on which somebody of a place listens for TCP (/proc/net/tcp and tcp6).
fn listening(place: &Place) -> BTreeSet<SocketAddr> {
    let read =
        || ["tcp", "tcp6"].map(|file| std::fs::read_to_string(format!("/proc/thread-self/net/{file}")));
    let files = place.netns.run(read).unwrap();
    let mut found = BTreeSet::new();
    for line in files.iter().flat_map(|file| file.as_ref().unwrap().lines().skip(1)) {
        let words: Vec<&str> = line.split_whitespace().collect();
        // TCP_LISTEN.
        if words[3] == "0A" {
            found.insert(address(words[1]));
        }
    }
    found
}

/// `0100007F:1F90`: words of an address as this machine keeps them, and a port.
fn address(text: &str) -> SocketAddr {
    let (ip, port) = text.split_once(':').unwrap();
    let words = (0..ip.len()).step_by(8).map(|at| u32::from_str_radix(&ip[at..at + 8], 16).unwrap());
    let octets: Vec<u8> = words.flat_map(u32::to_ne_bytes).collect();
    let ip = match <[u8; 4]>::try_from(&octets[..]) {
        Ok(four) => IpAddr::from(four),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(&octets[..]).unwrap()),
    };
    SocketAddr::new(ip, u16::from_str_radix(port, 16).unwrap())
}

fn only_health_and_metrics_are_answered_to_strangers(c: &Cluster) {
    c.service("web", json!({"type": "NodePort", "selector": {"app": "web"}}));
    let open = listening(&c.host(1));
    let (near, far): (Vec<_>, Vec<_>) = open.iter().partition(|addr| addr.ip().to_canonical().is_loopback());
    let ports = |all: &[&SocketAddr]| all.iter().map(|addr| addr.port()).collect::<BTreeSet<_>>();
    assert_eq!(ports(&far), BTreeSet::from([METRICS, HEALTH]), "open to the network: {open:?}");
    assert_eq!(ports(&near), BTreeSet::from([10249]), "open on loopback: {open:?}");
    // What they do not serve: a look into the process, or anything that changes it.
    for port in [METRICS, HEALTH] {
        for path in ["/debug/pprof/", "/debug/pprof/heap", "/configz", "/v1/config", "/v1/status"] {
            let answer = http(&c.client(), c.node(1, false, port), path).unwrap();
            assert!(answer.body().is_none(), "{port}{path}: {answer:?}");
        }
    }
    let answer = http(&c.host(1), "127.0.0.1:10249".parse().unwrap(), "/debug/pprof/").unwrap();
    assert!(answer.body().is_none(), "{answer:?}");
}

fn the_socket_and_the_pins_are_for_root_alone(c: &Cluster) {
    let mode = |path: &Path| path.symlink_metadata().unwrap().permissions().mode() & 0o777;
    for node in &c.lab.nodes {
        let socket = node.agent.run_dir.join("shunt.sock");
        assert_eq!(mode(&socket), 0o600, "{}", socket.display());
        let mut left = vec![node.agent.bpf_root.clone()];
        let mut seen = 0;
        while let Some(path) = left.pop() {
            assert_eq!(mode(&path) & 0o077, 0, "{} is open to others", path.display());
            if path.is_dir() {
                left.extend(path.read_dir().unwrap().map(|entry| entry.unwrap().path()));
            }
            seen += 1;
        }
        assert!(seen > 30, "{seen} pins");
    }
}

/// Every setting of a network namespace by its path, as far as it can be read.
fn sysctls(place: &Place) -> BTreeMap<String, String> {
    fn walk(dir: &Path, all: &mut BTreeMap<String, String>) {
        for path in dir.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                walk(&path, all);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                all.insert(path.display().to_string(), text);
            }
        }
    }
    let read = || {
        // The thread's own view: what /proc/sys/net shows is the namespace of who looks.
        let mut all = BTreeMap::new();
        ["/proc/sys/net/ipv4", "/proc/sys/net/ipv6", "/proc/sys/net/core"]
            .iter()
            .for_each(|dir| walk(Path::new(dir), &mut all));
        all
    };
    place.netns.run(read).unwrap()
}

/// An agent turns no switch of the network, whatever it serves: not `route_localnet` (CVE-2020-8558), not `accept_ra` or
/// `forwarding` (CVE-2020-10749). It reserves the ports of NodePorts, and says so in its configuration.
#[test]
fn no_switch_of_the_network_is_turned_but_the_reserved_ports() {
    let mut lab =
        Lab::without_agents(Topology { nodes: 1, ..Topology::new("switches", Style::Bridge) }).unwrap();
    let before = [&lab.nodes[0].host, &lab.nodes[0].pods[0].place].map(sysctls);
    for wanted in ["ipv4/conf/all/route_localnet", "ipv6/conf/all/accept_ra", "ipv6/conf/eth0/forwarding"] {
        assert!(before[0].contains_key(&format!("/proc/sys/net/{wanted}")), "{wanted} is looked at");
    }
    let extra = ["nodePort.addresses=all,localhost", "hostPort.enabled=true"];
    lab.nodes[0].agent.extra.extend(extra.into_iter().flat_map(|set| ["--set".to_owned(), set.to_owned()]));
    lab.nodes[0].agent.start().unwrap();
    lab.nodes[0].agent.wait_ready(Duration::from_secs(30)).unwrap();
    apply_examples(&lab).unwrap();
    shunt_e2e::eventually_answers(&lab.client, shunt_e2e::node_port(&lab, 0, 30081));
    shunt_e2e::eventually_answers(&lab.nodes[0].host, SocketAddr::new([127, 0, 0, 1].into(), 30081));
    let after = [&lab.nodes[0].host, &lab.nodes[0].pods[0].place].map(sysctls);
    let changed = |i: usize| {
        let (before, after) = (&before[i], &after[i]);
        let differs = |key: &&String| before.get(*key) != after.get(*key);
        before.keys().chain(after.keys()).filter(differs).cloned().collect::<BTreeSet<_>>()
    };
    assert_eq!(changed(0), BTreeSet::from(["/proc/sys/net/ipv4/ip_local_reserved_ports".to_owned()]));
    assert_eq!(changed(1), BTreeSet::new(), "a pod's");
}
