//! Direct server return: the backend sees the client, and its node answers without passing the node that was asked.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use serde_json::{Value, json};
use shunt_e2e::{eventually_answers, json as ask, long_answer_is_whole, restart_with};
use shunt_lab::client::{probe, udp};
use shunt_lab::cluster::Lab;
use shunt_lab::demo::apply_examples;
use shunt_lab::net::plan;
use shunt_lab::place::{Place, Process};
use shunt_lab::probe::Answer;
use shunt_lab::topology::{Style, Topology};
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

const BYTES: usize = 5_000_000;
/// A service of one pod, on the second node, that echoes.
const ECHO: u16 = 30_091;
/// The same pod by SNAT, whatever the cluster's mode.
const SNAT: u16 = 30_092;

#[test]
fn replies_go_straight_to_the_client_on_a_routed_network() {
    all(Style::Routed);
}

#[test]
fn replies_go_straight_to_the_client_beside_an_overlay() {
    all(Style::Vxlan);
}

fn all(style: Style) {
    let mut lab = Lab::without_agents(Topology { nodes: 2, ..Topology::new("dsr", style) }).unwrap();
    restart(&mut lab, "dsr", "opt");
    apply_examples(&lab).unwrap();
    for (name, port, annotations) in
        [("echo", ECHO, json!({})), ("by-snat", SNAT, json!({"shunt.io/forwarding-mode": "snat"}))]
    {
        lab.api().put(service(name, port, &annotations)).unwrap();
    }
    for dispatch in ["opt", "ipip"] {
        restart(&mut lab, "dsr", dispatch);
        lab.settle().unwrap();
        for v6 in [false, true] {
            eprintln!("{style}, {dispatch}, v6: {v6}");
            clients_are_seen(&lab, v6);
            replies_do_not_pass_the_node_that_was_asked(&lab, v6);
            transfers(&lab, v6);
            flows_are_listed(&lab, dispatch, v6);
        }
        restart(&mut lab, "hybrid", dispatch);
        for v6 in [false, true] {
            let to = node_port(&lab, 0, 30_082, v6);
            assert_eq!(eventually_answers(&lab.client, to), format!("pod2-1 {}", client(v6)), "TCP by DSR");
            let answer = datagram(&lab.client, to);
            assert!(
                answer.starts_with("pod2-1 ") && answer != format!("pod2-1 {}", client(v6)),
                "UDP by SNAT: {answer}"
            );
        }
    }
    a_narrow_device_means_snat_and_is_named(&mut lab);
}

/// It carries IPv6's smallest packet, but not with what DSR adds.
fn a_narrow_device_means_snat_and_is_named(lab: &mut Lab) {
    lab.nodes[0].host.netns.ip(&["link set eth0 mtu 1290".into()]).unwrap();
    restart(lab, "dsr", "opt");
    let answer = eventually_answers(&lab.client, node_port(lab, 0, 30_082, false));
    assert!(answer.starts_with("pod2-1 ") && answer != format!("pod2-1 {}", client(false)), "{answer}");
    let degraded = ask(&lab.nodes[0].agent, "status")["degraded"].to_string();
    assert!(degraded.contains("device eth0 has an MTU of 1290") && degraded.contains("SNAT"), "{degraded}");
    assert_eq!(ask(&lab.nodes[1].agent, "status")["degraded"], json!([]), "the other node goes on");
    assert_eq!(
        eventually_answers(&lab.client, node_port(lab, 1, 30_081, false)),
        format!("pod1-1 {}", client(false))
    );
}

fn restart(lab: &mut Lab, mode: &str, dispatch: &str) {
    let (mode, dispatch) =
        (format!("loadBalancer.mode={mode}"), format!("loadBalancer.dsrDispatch={dispatch}"));
    restart_with(lab, &[&mode, &dispatch]);
}

fn service(name: &str, port: u16, annotations: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "default", "annotations": annotations},
        "spec": {
            "type": "NodePort", "ipFamilyPolicy": "PreferDualStack", "selector": {"pod": "pod2-1"},
            "ports": [{"name": "p", "port": 80, "targetPort": if port == ECHO { 8082 } else { 8080 }, "nodePort": port}],
        },
    })
}

fn client(v6: bool) -> IpAddr {
    plan::client().of(v6)
}

fn node_port(lab: &Lab, node: usize, port: u16, v6: bool) -> SocketAddr {
    SocketAddr::new(lab.nodes[node].addresses.of(v6), port)
}

/// What a UDP server answers; the answer must come from where the question went.
fn datagram(from: &Place, to: SocketAddr) -> String {
    let got = udp(from, to, false).unwrap();
    assert_eq!(got.from, Some(to));
    let Answer::Ok(text) = got.answer else { panic!("{to}: {:?}", got.answer) };
    text
}

/// From the node that was asked, and from the backend's own.
fn clients_are_seen(lab: &Lab, v6: bool) {
    let client = client(v6);
    for (node, port, pod) in
        [(0, 30_082, "pod2-1"), (1, 30_082, "pod2-1"), (0, 30_081, "pod1-1"), (1, 30_081, "pod1-1")]
    {
        let to = node_port(lab, node, port, v6);
        assert_eq!(eventually_answers(&lab.client, to), format!("{pod} {client}"), "{to}");
        assert_eq!(datagram(&lab.client, to), format!("{pod} {client}"), "{to}");
    }
    let to = node_port(lab, 0, SNAT, v6);
    let answer = eventually_answers(&lab.client, to);
    assert!(answer.starts_with("pod2-1 ") && answer != format!("pod2-1 {client}"), "by SNAT: {answer}");
}

fn replies_do_not_pass_the_node_that_was_asked(lab: &Lab, v6: bool) {
    let to = node_port(lab, 0, 30_082, v6);
    let mut wires: Vec<Wire> = lab.nodes.iter().map(|node| Wire::watch(&node.host, to)).collect();
    eventually_answers(&lab.client, to);
    datagram(&lab.client, to);
    let seen: Vec<String> = wires.drain(..).map(Wire::seen).collect();
    let [asked, backend] = &seen[..] else { unreachable!("two nodes") };
    for transport in ["Flags [S.]", "UDP"] {
        assert!(backend.contains(transport), "the backend's node answers from {to} itself:\n{backend}");
    }
    assert_eq!(asked.trim(), "", "nothing leaves or passes the node that was asked");
}

/// tcpdump on a node's device: what goes to clients from an address that was asked.
struct Wire {
    process: Process,
    errors: BufReader<std::process::ChildStderr>,
}

impl Wire {
    fn watch(node: &Place, from: SocketAddr) -> Self {
        let filter = format!("src host {} and src port {}", from.ip(), from.port());
        let mut command = node.command("tcpdump").unwrap();
        command.args(["-i", "eth0", "-n", "-l", "--immediate-mode", "-vv", &filter]);
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut process = Process::new(child);
        let mut errors = BufReader::new(process.child().stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert_ne!(errors.read_line(&mut line).unwrap(), 0, "tcpdump ended");
        }
        Self { process, errors }
    }

    /// Everything since; waits a moment for what is still on its way.
    fn seen(mut self) -> String {
        std::thread::sleep(Duration::from_millis(300));
        self.process.term().unwrap();
        let mut text = String::new();
        self.process.child().stdout.take().unwrap().read_to_string(&mut text).unwrap();
        let mut summary = String::new();
        self.errors.read_to_string(&mut summary).unwrap();
        assert!(summary.contains("\n0 packets dropped by kernel"), "{summary}");
        text
    }
}

/// With whatever offloads the devices have.
fn transfers(lab: &Lab, v6: bool) {
    for node in [0, 1] {
        let to = node_port(lab, node, ECHO, v6);
        let answer: Answer =
            probe(&lab.client, &["bulk", &to.to_string(), "--bytes", &BYTES.to_string()]).unwrap();
        assert_eq!(answer, Answer::Ok(BYTES.to_string()), "{to}");
        long_answer_is_whole(&lab.client, node_port(lab, node, 30_082, v6), BYTES, "by DSR");
    }
}

/// The node that was asked has the way there alone; the backend's node the way back.
fn flows_are_listed(lab: &Lab, dispatch: &str, v6: bool) {
    let to = node_port(lab, 0, 30_082, v6).to_string();
    let names = |node: usize, key: &str, direction: &str| -> Vec<String> {
        let rows = ask(&lab.nodes[node].agent, "bpf ct list global");
        let of = |row: &&Value| row[key] == to && row["direction"] == direction && row["protocol"] == "UDP";
        // The newest: those of the dispatch before live on for a while.
        let newest = rows.as_array().unwrap().iter().filter(of).min_by_key(|row| row["idleSeconds"].as_u64());
        let row = newest.unwrap_or_else(|| panic!("{key} {to}: {rows}"));
        row["flagNames"].as_array().unwrap().iter().map(|n| n.as_str().unwrap().into()).collect()
    };
    let asked = names(0, "destination", "OUT");
    assert!(asked.contains(&"DSR".into()) && !asked.contains(&"SNAT".into()), "{asked:?}");
    let end = names(1, "newSource", "IN");
    // What was carried is a client's own packet again, and so its flow is as any of a local backend.
    assert_eq!(end.contains(&"DSREnd".into()), dispatch == "opt", "{end:?}");
    assert!(end.contains(&"Confirmed".into()), "{end:?}");
}
