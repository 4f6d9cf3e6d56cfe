//! From whom, to where, what becomes of it: kube-proxy's rules for Services as tables over the rows that the model writes.
//!
//! A row is `CLIENT ADDRESS:PORT[/PROTO] = FATE`. Clients: `out` (somebody outside), `pod`, `node`. Backends of this node
//! are `l1`, `l2`, of others `r1`, `r2` (`L1` and `R1` in IPv6), with the port where it is not 8080.

// A test that cannot go on should say where.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Cluster, NODE, Object};
use shunt_common::{Proto, Reason};
use shunt_model::fate::{Client, Fate, To, affinity, echo, fate};
use shunt_model::store::Actual;
use shunt_model::{MapStore, Options};
use std::net::{IpAddr, SocketAddr};

const OUT: &str = "198.51.100.9";
const POD: &str = "10.244.1.50";
const NODE_OBJECT: &str = "kind: Node\nmetadata: {name: node-1, labels: {topology.kubernetes.io/zone: a}}\n\
    spec: {podCIDRs: [10.244.1.0/24]}\nstatus: {addresses: [{type: InternalIP, address: 192.168.0.1}, \
    {type: InternalIP, address: \"fd00:168::1\"}]}\n";

/// A cluster of the node and these objects.
fn maps_with(options: Options, objects: &str) -> Actual {
    let mut cluster = Cluster::new(options);
    Object::read(&format!("{NODE_OBJECT}---\n{objects}")).into_iter().for_each(|o| cluster.apply(o));
    cluster.settle();
    cluster.store.dump().unwrap()
}

fn maps(objects: &str) -> Actual {
    maps_with(Options::new(NODE), objects)
}

/// A service `web` of these fields, with a load balancer's address when it is of that type.
fn web(fields: &str) -> String {
    format!(
        "kind: Service\nmetadata: {{name: web}}\nspec: {{clusterIP: 10.96.0.10, {fields}}}\n\
         status: {{loadBalancer: {{ingress: [{{ip: 203.0.113.1}}]}}}}\n---\n"
    )
}

/// The slice of `web`; an endpoint is `l1` or `r1` with `+` ready, `-` unready, `~` terminating, `!` that and not serving.
fn endpoints(words: &str) -> String {
    let mut text = String::from(
        "kind: EndpointSlice\nmetadata: {name: web-1, labels: {kubernetes.io/service-name: web}}\n\
         addressType: IPv4\nports: [{port: 8080}, {name: u, port: 8080, protocol: UDP}, \
         {name: s, port: 8080, protocol: SCTP}, {name: t, port: 8080}, {name: other, port: 9090}]\nendpoints:\n",
    );
    for word in words.split_whitespace() {
        let (name, state) = word.split_at(2);
        let node = if name.starts_with('l') { 1 } else { 2 };
        let conditions = match state {
            "+" => "ready: true",
            "~" => "ready: false, serving: true, terminating: true",
            "!" => "ready: false, serving: false, terminating: true",
            _ => "ready: false",
        };
        text += &format!(
            "- {{addresses: [10.244.{node}.{}], nodeName: node-{node}, conditions: {{{conditions}}}}}\n",
            &name[1..]
        );
    }
    text + "---\n"
}

fn short(to: &To) -> String {
    let (letter, node, n) = match to.addr.ip() {
        IpAddr::V4(a) => (['l', 'r'], a.octets()[2], u16::from(a.octets()[3])),
        IpAddr::V6(a) => (['L', 'R'], a.segments()[2] as u8, a.segments()[7]),
    };
    assert_eq!(to.local, node == 1, "{to:?}");
    let port = if to.addr.port() == 8080 { String::new() } else { format!(":{}", to.addr.port()) };
    format!("{}{n}{port}", letter[usize::from(node != 1)])
}

fn say(fate: &Fate) -> String {
    match fate {
        Fate::Backends(all) => all.iter().map(short).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

fn client(word: &str) -> Client {
    match word.split_once('@') {
        Some(("out", ip)) => Client::Outside(ip.parse().unwrap()),
        Some(("pod", ip)) => Client::Pod(ip.parse().unwrap()),
        _ if word == "out" => Client::Outside(OUT.parse().unwrap()),
        _ if word == "pod" => Client::Pod(POD.parse().unwrap()),
        _ if word == "node" => Client::Node,
        _ => panic!("{word}"),
    }
}

/// Asks every row of a table; all that differ are told at once.
fn expect(actual: &Actual, table: &str) {
    let mut wrong = Vec::new();
    for row in table.lines().map(str::trim).filter(|row| !row.is_empty() && !row.starts_with('#')) {
        let (ask, want) = row.split_once(" = ").unwrap();
        let (from, to) = ask.trim().split_once(char::is_whitespace).unwrap();
        let (addr, proto) = to.trim().split_once('/').unwrap_or((to.trim(), "TCP"));
        let all = [Proto::Tcp, Proto::Udp, Proto::Sctp];
        let proto = all.into_iter().find(|p| p.name() == proto).unwrap();
        let got = say(&fate(actual, client(from), addr.parse::<SocketAddr>().unwrap(), proto));
        if got != want.trim() {
            wrong.push(format!("{row}, but {got}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rule_1_cluster_policy_uses_ready_endpoints_else_those_that_terminate_and_serve_else_rejects() {
    let web = web("type: NodePort, ports: [{port: 80, nodePort: 30080}]");
    for (states, want) in [
        ("l1+ r1+ r2-", "l1 r1"),
        ("l1+ r1~ r2!", "l1"),
        ("l1~ r1~ r2!", "l1 r1"),
        ("l1! r1-", "reject no_backend"),
        ("", "reject no_backend"),
    ] {
        let actual = maps(&(web.clone() + &endpoints(states)));
        expect(
            &actual,
            &format!(
                "pod 10.96.0.10:80 = {want}
                 node 10.96.0.10:80 = {want}
                 out 192.168.0.1:30080 = {want}
                 pod 192.168.0.1:30080 = {want}"
            ),
        );
    }
}

#[test]
fn rule_1_hints_keep_traffic_in_the_zone_in_every_cluster_pool() {
    let hinted = |n: u8, node: u8, zone: &str| {
        format!(
            "- {{addresses: [10.244.{node}.{n}], nodeName: node-{node}, hints: {{forZones: [{{name: {zone}}}]}}}}\n"
        )
    };
    let slice = "kind: EndpointSlice\nmetadata: {name: web-1, labels: {kubernetes.io/service-name: web}}\n\
        addressType: IPv4\nports: [{port: 8080}]\nendpoints:\n";
    let web = web("type: NodePort, ports: [{port: 80, nodePort: 30080}]");
    let actual =
        maps(&format!("{web}{slice}{}{}{}", hinted(1, 1, "b"), hinted(1, 2, "a"), hinted(2, 2, "b")));
    expect(&actual, "pod 10.96.0.10:80 = r1\nnode 10.96.0.10:80 = r1\nout 192.168.0.1:30080 = r1");
    let local = "type: NodePort, externalTrafficPolicy: Local, ports: [{port: 80, nodePort: 30080}]";
    let actual = maps(&format!("{}{slice}{}{}", self::web(local), hinted(1, 1, "b"), hinted(1, 2, "a")));
    expect(&actual, "out 192.168.0.1:30080 = l1\npod 192.168.0.1:30080 = r1");
}

#[test]
fn rule_2_local_policies_use_endpoints_of_this_node_drop_when_others_have_some_and_reject_when_none_has() {
    let both = "type: LoadBalancer, externalTrafficPolicy: Local, internalTrafficPolicy: Local, \
                ports: [{port: 80, nodePort: 30080}]";
    for (states, want, cluster) in [
        ("l1+ l2+ r1+", "l1 l2", "l1 l2 r1"),
        ("l1+ l2~ r1+", "l1", "l1 r1"),
        ("l1~ l2! r1+", "l1", "r1"),
        ("l1! r1+", "drop no_local_backend", "r1"),
        ("l1- r1~", "drop no_local_backend", "r1"),
        ("r1! r2-", "reject no_backend", "reject no_backend"),
        ("", "reject no_backend", "reject no_backend"),
    ] {
        let actual = maps(&(web(both) + &endpoints(states)));
        expect(
            &actual,
            &format!(
                "out 192.168.0.1:30080 = {want}
                 out 203.0.113.1:80 = {want}
                 pod 10.96.0.10:80 = {want}
                 node 10.96.0.10:80 = {want}
                 # Rule 3: pods and the node are short-circuited to all endpoints.
                 pod 203.0.113.1:80 = {cluster}
                 node 203.0.113.1:80 = {cluster}
                 pod 192.168.0.1:30080 = {cluster}
                 node 192.168.0.1:30080 = {cluster}"
            ),
        );
    }
}

#[test]
fn rule_3_external_local_leaves_the_cluster_ip_alone_and_internal_local_all_other_addresses() {
    let fields = |policy: &str| {
        web(&format!(
            "type: LoadBalancer, externalIPs: [203.0.113.7], {policy}: Local, ports: [{{port: 80, nodePort: 30080}}]"
        )) + &endpoints("l1+ r1+")
    };
    expect(
        &maps(&fields("externalTrafficPolicy")),
        "pod 10.96.0.10:80 = l1 r1
         out 203.0.113.7:80 = l1
         pod 203.0.113.7:80 = l1 r1
         out 203.0.113.1:80 = l1
         out 192.168.0.1:30080 = l1",
    );
    expect(
        &maps(&fields("internalTrafficPolicy")),
        "pod 10.96.0.10:80 = l1
         node 10.96.0.10:80 = l1
         out 203.0.113.7:80 = l1 r1
         pod 203.0.113.1:80 = l1 r1
         out 192.168.0.1:30080 = l1 r1",
    );
}

#[test]
fn rule_2_a_cluster_ip_answers_its_own_ports_and_rejects_the_others_and_the_outside_is_left_to_the_stack() {
    let objects = web("ports: [{port: 80}]") + &endpoints("l1+ r1+");
    let actual = maps(&objects);
    expect(
        &actual,
        "pod 10.96.0.10:80 = l1 r1
         pod 10.96.0.10:81 = reject unknown_port
         node 10.96.0.10:81 = reject unknown_port
         pod 10.96.0.10:80/UDP = reject unknown_port
         out 10.96.0.10:80 = pass
         out 10.96.0.10:81 = pass
         # Nobody's address.
         pod 10.96.0.11:80 = pass",
    );
    let open = maps_with(Options { external_cluster_ip: true, ..Options::new(NODE) }, &objects);
    expect(&open, "out 10.96.0.10:80 = l1 r1\nout 10.96.0.10:81 = reject unknown_port");
    let local = web("internalTrafficPolicy: Local, ports: [{port: 80}]") + &endpoints("r1+");
    let open = maps_with(Options { external_cluster_ip: true, ..Options::new(NODE) }, &local);
    // As in kube-proxy, a ClusterIP follows internalTrafficPolicy whoever comes.
    expect(&open, "out 10.96.0.10:80 = drop no_local_backend\npod 10.96.0.10:80 = drop no_local_backend");
}

#[test]
fn rule_4_load_balancer_addresses_are_those_with_mode_vip_and_unknown_ports_there_are_refused() {
    let service = "kind: Service\nmetadata: {name: web}\nspec: {type: LoadBalancer, clusterIP: 10.96.0.10, \
        externalIPs: [203.0.113.7, 10.244.1.9, 192.168.0.1], ports: [{port: 80}]}\nstatus: {loadBalancer: {ingress: [{ip: 203.0.113.1}, \
        {ip: 203.0.113.2, ipMode: Proxy}, {hostname: lb.example}]}}\n---\n";
    let actual = maps(&format!("{service}{}", endpoints("l1+ r1+")));
    expect(
        &actual,
        "out 203.0.113.1:80 = l1 r1
         pod 203.0.113.1:80 = l1 r1
         out 203.0.113.1:81 = reject unknown_port
         out 203.0.113.2:80 = pass
         out 203.0.113.7:80 = l1 r1
         # An external IP may have other uses.
         out 203.0.113.7:81 = pass
         # CVE-2020-8554: a pod's address, and the node's.
         pod 10.244.1.9:80 = pass
         pod 192.168.0.1:80 = pass",
    );
}

#[test]
fn rule_5_node_ports_answer_on_node_port_addresses_alone_and_load_balancers_may_do_without() {
    let balancer = |policy: &str, node_port: &str, mode: &str| {
        format!(
            "kind: Service\nmetadata: {{name: web}}\nspec: {{type: LoadBalancer, clusterIP: 10.96.0.10, \
             externalTrafficPolicy: {policy}, healthCheckNodePort: 31000, ports: [{{port: 80{node_port}}}]}}\n\
             status: {{loadBalancer: {{ingress: [{{ip: 203.0.113.1{mode}}}]}}}}\n---\n{}",
            endpoints("l1+ r1+")
        )
    };
    let second = ["172.16.0.1"];
    for (addresses, first_answers, second_answers) in [
        (None, true, false),
        (Some(&second[..]), false, true),
        (Some(&["172.16.0.1", "192.168.0.1"]), true, true),
    ] {
        for (policy, picked) in [("Cluster", "l1 r1"), ("Local", "l1")] {
            // With NodePorts, and with `allocateLoadBalancerNodePorts: false`, which leaves them out.
            for (node_port, has) in [(", nodePort: 30080", true), (", nodePort: 0", false), ("", false)] {
                for (mode, served) in [("", true), (", ipMode: VIP", true), (", ipMode: Proxy", false)] {
                    let mut cluster = Cluster::new(Options::new(NODE));
                    let parse = |all: &[&str]| all.iter().map(|a| a.parse().unwrap()).collect();
                    cluster.model.set_node_port_addresses(addresses.map(parse));
                    let text = format!("{NODE_OBJECT}---\n{}", balancer(policy, node_port, mode));
                    Object::read(&text).into_iter().for_each(|o| cluster.apply(o));
                    cluster.settle();
                    let at = |answers: bool| if answers { picked } else { "pass" };
                    let first = at(has && first_answers);
                    let second = at(has && second_answers);
                    let vip = at(served);
                    expect(
                        &cluster.store.dump().unwrap(),
                        &format!(
                            "out 192.168.0.1:30080 = {first}
                             out 172.16.0.1:30080 = {second}
                             out 203.0.113.1:80 = {vip}
                             node 127.0.0.1:30080 = pass
                             out 192.168.0.1:80 = pass"
                        ),
                    );
                }
            }
        }
    }
}

#[test]
fn rule_4_source_ranges_limit_the_load_balancer_addresses_alone() {
    let fields = "type: LoadBalancer, externalIPs: [203.0.113.7], ports: [{port: 80, nodePort: 30080}], \
                  loadBalancerSourceRanges:";
    let limited = |ranges: &str| maps(&(web(&format!("{fields} [{ranges}]")) + &endpoints("l1+ r1+")));
    expect(
        &limited("198.51.100.0/24, 192.168.0.0/24"),
        "out 203.0.113.1:80 = l1 r1
         out@203.0.113.99 203.0.113.1:80 = drop source_range
         pod 203.0.113.1:80 = drop source_range
         node 203.0.113.1:80 = l1 r1
         out@203.0.113.99 192.168.0.1:30080 = l1 r1
         out@203.0.113.99 203.0.113.7:80 = l1 r1
         pod 10.96.0.10:80 = l1 r1",
    );
    expect(&limited("10.0.0.0/8"), "pod 203.0.113.1:80 = l1 r1\nnode 203.0.113.1:80 = drop source_range");
    expect(&limited("10.0.0.0/8, 0.0.0.0/0"), "out 203.0.113.1:80 = l1 r1");
    // Ranges of the other family limit nobody here, as in kube-proxy.
    expect(&limited("\"2001:db8::/32\""), "out 203.0.113.1:80 = l1 r1");
    expect(
        &limited("nonsense"),
        "out 203.0.113.1:80 = drop source_range\nnode 203.0.113.1:80 = drop source_range",
    );
    let denied = web(&format!("{fields} [198.51.100.0/24]"))
        .replace("{name: web}", "{name: web, annotations: {shunt.io/src-ranges-policy: deny}}");
    expect(
        &maps(&(denied + &endpoints("l1+ r1+"))),
        "out 203.0.113.1:80 = drop source_range
         out@203.0.113.99 203.0.113.1:80 = l1 r1
         pod 203.0.113.1:80 = l1 r1
         node 203.0.113.1:80 = l1 r1",
    );
    let all = Options { source_ranges_for_all: true, ..Options::new(NODE) };
    expect(
        &maps_with(all, &(web(&format!("{fields} [192.168.0.0/24]")) + &endpoints("l1+"))),
        "out 192.168.0.1:30080 = drop source_range
         out 203.0.113.7:80 = drop source_range
         node 192.168.0.1:30080 = l1
         pod 10.96.0.10:80 = l1",
    );
}

#[test]
fn rule_5_node_ports_answer_on_the_primary_address_only_and_on_loopback_for_the_node_alone() {
    let objects = web("type: NodePort, ports: [{port: 80, nodePort: 30080}]") + &endpoints("l1+ r1+");
    let table = "out 192.168.0.1:30080 = l1 r1
         out 192.168.0.1:30081 = pass
         out 172.16.0.1:30080 = pass
         out 192.168.0.1:80 = pass
         out 127.0.0.1:30080 = pass
         pod 127.0.0.1:30080 = pass";
    expect(&maps(&objects), &format!("{table}\nnode 127.0.0.1:30080 = pass"));
    let mut cluster = Cluster::new(Options::new(NODE));
    cluster.model.set_node_port_loopback(true);
    Object::read(&format!("{NODE_OBJECT}---\n{objects}")).into_iter().for_each(|o| cluster.apply(o));
    cluster.settle();
    let actual = cluster.store.dump().unwrap();
    expect(&actual, &format!("{table}\nnode 127.0.0.1:30080 = l1 r1"));
}

#[test]
fn rule_5_a_load_balancer_without_node_ports_answers_on_none() {
    let objects = web("type: LoadBalancer, allocateLoadBalancerNodePorts: false, ports: [{port: 80}]")
        + &endpoints("l1+");
    expect(&maps(&objects), "out 203.0.113.1:80 = l1\nout 192.168.0.1:80 = pass");
}

#[test]
fn rule_6_affinity_is_told_on_every_address_of_a_port() {
    let fields = "type: LoadBalancer, sessionAffinity: ClientIP, \
                  sessionAffinityConfig: {clientIP: {timeoutSeconds: 100}}, ports: [{port: 80, nodePort: 30080}]";
    let actual = maps(&(web(fields) + &endpoints("l1+ r1+")));
    for to in ["10.96.0.10:80", "192.168.0.1:30080", "203.0.113.1:80"] {
        assert_eq!(affinity(&actual, to.parse().unwrap(), Proto::Tcp), Some(100), "{to}");
    }
    assert_eq!(affinity(&actual, "10.96.0.10:81".parse().unwrap(), Proto::Tcp), None);
}

#[test]
fn rule_7_a_terminating_backend_keeps_its_row_and_takes_no_new_flows() {
    let actual = maps(&(web("ports: [{port: 80}]") + &endpoints("l1+ r1~ r2!")));
    expect(&actual, "pod 10.96.0.10:80 = l1");
    assert_eq!(actual.backends4.len(), 3);
}

#[test]
fn rule_8_a_pod_may_be_given_itself() {
    let actual = maps(&(web("ports: [{port: 80}]") + &endpoints("l1+")));
    expect(&actual, "pod@10.244.1.1 10.96.0.10:80 = l1");
}

#[test]
fn rule_10_protocols_ports_names_and_families_are_apart() {
    let service = "kind: Service\nmetadata: {name: web}\nspec: {type: NodePort, clusterIP: 10.96.0.10, \
        clusterIPs: [10.96.0.10, \"fd00:96::10\"], ports: [{name: t, port: 53, nodePort: 30053}, \
        {name: u, port: 53, nodePort: 30053, protocol: UDP}, {name: s, port: 53, nodePort: 30053, protocol: SCTP}, \
        {name: other, port: 90}, {name: nothing, port: 91}]}\n---\n";
    let six = "kind: EndpointSlice\nmetadata: {name: web-6, labels: {kubernetes.io/service-name: web}}\n\
        addressType: IPv6\nports: [{name: t, port: 8080}]\n\
        endpoints: [{addresses: [\"fd00:244:1::1\"], nodeName: node-1}, {addresses: [\"fd00:244:2::1\"], nodeName: node-2}]\n";
    let actual = maps(&format!("{service}{}{six}", endpoints("l1+ r1+")));
    expect(
        &actual,
        "pod 10.96.0.10:53 = l1 r1
         pod 10.96.0.10:53/UDP = l1 r1
         pod 10.96.0.10:53/SCTP = l1 r1
         out 192.168.0.1:30053/UDP = l1 r1
         out 192.168.0.1:30053/SCTP = l1 r1
         pod 10.96.0.10:90 = l1:9090 r1:9090
         pod 10.96.0.10:91 = reject no_backend
         pod 10.96.0.10:92 = reject unknown_port
         pod [fd00:96::10]:53 = L1 R1
         pod [fd00:96::10]:53/UDP = reject no_backend
         out [fd00:168::1]:30053 = L1 R1
         out [fd00:96::10]:53 = pass",
    );
}

#[test]
fn an_address_that_a_new_pod_has_taken_over_is_that_pods_also_while_it_is_not_ready() {
    let service = web("ports: [{port: 80}]");
    // The one that terminates stands in the same slice or in another, before or after.
    let another = |words| endpoints(words).replace("web-1", "web-2");
    let slices = [
        endpoints("r1+ l1~ l1-"),
        endpoints("r1+ l1- l1~"),
        endpoints("r1+ l1! l1-"),
        endpoints("r1+ l1~") + &another("l1-"),
        endpoints("r1+ l1-") + &another("l1~"),
    ];
    for slice in slices {
        expect(&maps(&(service.clone() + &slice)), "node 10.96.0.10:80 = r1");
        let alone = slice.replace("10.244.2.1", "10.244.1.1").replace("ready: true", "ready: false");
        expect(&maps(&(service.clone() + &alone)), "node 10.96.0.10:80 = reject no_backend");
    }
    for slice in [endpoints("l1~") + &another("l1+"), endpoints("l1+ l1-")] {
        expect(&maps(&(service.clone() + &slice)), "node 10.96.0.10:80 = l1");
    }
}

#[test]
fn a_ping_of_a_virtual_address_is_answered_where_its_ports_are() {
    let actual = maps(
        &(web("type: LoadBalancer, externalIPs: [203.0.113.7], ports: [{port: 80, nodePort: 30080}]")
            + &endpoints("")),
    );
    for (from, addr, want) in [
        ("pod", "10.96.0.10", true),
        ("node", "10.96.0.10", true),
        ("out", "10.96.0.10", false),
        ("out", "203.0.113.1", true),
        ("out", "203.0.113.7", false),
        ("out", "192.168.0.1", false),
    ] {
        assert_eq!(echo(&actual, client(from), addr.parse().unwrap()), want, "{from} {addr}");
    }
}

#[test]
fn host_ports_lead_to_the_pod_from_everywhere_or_by_host_ip_from_the_node_alone() {
    let pod = "kind: Pod\nmetadata: {name: p}\nspec: {nodeName: node-1, containers: [{ports: [\
        {containerPort: 8080, hostPort: 8888}, {containerPort: 8081, hostPort: 8889, hostIP: 127.0.0.1}]}]}\n\
        status: {phase: Running, podIPs: [{ip: 10.244.1.7}]}\n";
    let on = Options { host_ports: true, ..Options::new(NODE) };
    expect(
        &maps_with(on, pod),
        "out 192.168.0.1:8888 = l7
         pod 192.168.0.1:8888 = l7
         node 192.168.0.1:8888 = l7
         node 127.0.0.1:8889 = l7:8081
         out 127.0.0.1:8889 = pass
         out 192.168.0.1:8889 = pass",
    );
    expect(&maps(pod), "out 192.168.0.1:8888 = pass");
}

#[test]
fn what_only_marks_a_port_balances_nothing_and_words_tell_the_fate() {
    let actual = maps(&(web("type: NodePort, ports: [{port: 80, nodePort: 30080}]") + &endpoints("l1+")));
    expect(&actual, "node 0.0.0.0:30080 = pass");
    let to = fate(&actual, Client::Node, "10.96.0.10:80".parse().unwrap(), Proto::Tcp);
    assert_eq!(to.to_string(), "10.244.1.1:8080(local)");
    assert_eq!(Fate::Drop(Reason::SourceRange).to_string(), "drop source_range");
}
