//! What a Service's fields and annotations become in its rows, and what is said about those that make no sense.

// A test that cannot go on should say where.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Cluster, NODE, Object};
use shunt_common::Frontend;
use shunt_model::{MapStore, Options};

/// The row of the ClusterIP of a service with these annotations and fields of its spec, and all problems.
fn row(annotations: &str, spec: &str) -> (Frontend, Vec<String>) {
    let mut cluster = Cluster::new(Options::new(NODE));
    let text = format!(
        "kind: Service\nmetadata: {{name: web, annotations: {{{annotations}}}}}\n\
         spec: {{clusterIP: 10.96.0.10, ports: [{{port: 80}}], {spec}}}"
    );
    Object::read(&text).into_iter().for_each(|o| cluster.apply(o));
    cluster.settle();
    let actual = cluster.store.dump().unwrap();
    let row = actual.frontends.iter().find(|(key, _)| key.port() == 80).map(|(_, row)| *row).unwrap();
    (row, cluster.model.problems().iter().map(ToString::to_string).collect())
}

#[test]
fn session_affinity_has_a_timeout_from_the_service_or_the_annotation_else_three_hours() {
    let timeout = |seconds| format!("sessionAffinityConfig: {{clientIP: {{timeoutSeconds: {seconds}}}}}");
    for (annotations, spec, want) in [
        ("", String::new(), 0),
        ("", "sessionAffinity: None".into(), 0),
        ("", "sessionAffinity: ClientIP".into(), 10_800),
        ("", format!("sessionAffinity: ClientIP, {}", timeout(1)), 1),
        ("", format!("sessionAffinity: ClientIP, {}", timeout(86_400)), 86_400),
        ("", timeout(60), 0),
        ("service.cilium.io/affinity: client-ip", String::new(), 10_800),
        ("shunt.io/affinity: client-ip, shunt.io/affinity-timeout: '60'", String::new(), 60),
        ("service.cilium.io/affinity-timeout: '60'", "sessionAffinity: ClientIP".into(), 60),
        (
            "service.cilium.io/affinity-timeout: '60', shunt.io/affinity-timeout: '70'",
            "sessionAffinity: ClientIP".into(),
            70,
        ),
        ("service.cilium.io/affinity: local", String::new(), 0),
        // Cilium's word is about clusters of a mesh, ours about clients; ours comes first.
        ("service.cilium.io/affinity: none", "sessionAffinity: ClientIP".into(), 10_800),
        ("shunt.io/affinity: none", "sessionAffinity: ClientIP".into(), 0),
        ("shunt.io/affinity: none, service.cilium.io/affinity: client-ip", String::new(), 0),
        ("shunt.io/affinity: client-ip, service.cilium.io/affinity: none", String::new(), 10_800),
        ("shunt.io/affinity: ' client-ip '", timeout(60), 60),
        ("shunt.io/affinity: ''", "sessionAffinity: ClientIP".into(), 10_800),
    ] {
        let (row, problems) = row(annotations, &spec);
        assert_eq!((row.affinity_timeout, problems), (want, vec![]), "{annotations} {spec}");
    }
}

#[test]
fn what_makes_no_sense_is_a_problem_and_its_default_holds() {
    for (annotations, spec, says) in [
        ("", "sessionAffinity: Cookie", "spec.sessionAffinity: \"Cookie\" is unknown"),
        ("", "externalTrafficPolicy: Near", "spec.externalTrafficPolicy: \"Near\" is unknown"),
        ("", "internalTrafficPolicy: Near", "spec.internalTrafficPolicy: \"Near\" is unknown"),
        ("shunt.io/affinity: cookie", "", "annotation shunt.io/affinity: \"cookie\" is unknown"),
        ("shunt.io/affinity: local", "", "annotation shunt.io/affinity: \"local\" is unknown"),
        ("service.cilium.io/affinity: far", "", "annotation service.cilium.io/affinity: \"far\" is unknown"),
        // Told before anybody asks for affinity.
        (
            "shunt.io/affinity-timeout: soon",
            "",
            "annotation shunt.io/affinity-timeout: \"soon\" is not in 1-86400",
        ),
    ] {
        let (row, problems) = row(annotations, spec);
        assert_eq!(row.affinity_timeout, 0);
        assert!(problems.len() == 1 && problems[0].contains(says), "{problems:?}");
        assert!(problems[0].starts_with("Service default/web: "), "{problems:?}");
    }
    for seconds in ["0", "86401", "-1", "soon"] {
        let (row, problems) =
            row(&format!("shunt.io/affinity-timeout: '{seconds}'"), "sessionAffinity: ClientIP");
        assert_eq!(row.affinity_timeout, 10_800);
        assert!(problems[0].contains("is not in 1-86400"), "{problems:?}");
    }
    let (row, problems) = row(
        "shunt.io/affinity: odd, service.cilium.io/affinity-timeout: 1h",
        "sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}",
    );
    assert_eq!(row.affinity_timeout, 60, "what the Service says holds on");
    assert!(
        problems.iter().any(|p| p.ends_with("ClientIP of spec.sessionAffinity is taken")),
        "{problems:?}"
    );
    assert!(problems.iter().any(|p| p.ends_with("60 seconds are taken")), "{problems:?}");
}

/// The addresses, ports and kinds that a service asks for, and all problems.
fn served(options: Options, metadata: &str) -> (Vec<String>, Vec<String>) {
    let mut cluster = Cluster::new(options);
    let text = format!(
        "kind: Node\nmetadata: {{name: {NODE}, labels: {{zone: a, shunt.io/node: edge}}}}\n\
         spec: {{podCIDRs: [10.244.1.0/24]}}\n\
         status: {{addresses: [{{type: InternalIP, address: 192.168.0.1}}]}}\n---\n\
         kind: Service\nmetadata: {{name: web, {metadata}}}\n\
         spec: {{type: LoadBalancer, clusterIP: 10.96.0.10, externalIPs: [203.0.113.7, 10.244.1.9, 192.168.0.1], \
         ports: [{{port: 80, nodePort: 30080}}]}}\n\
         status: {{loadBalancer: {{ingress: [{{ip: 203.0.113.1}}]}}}}"
    );
    Object::read(&text).into_iter().for_each(|o| cluster.apply(o));
    cluster.settle();
    let service = cluster.model.service("default", "web");
    let frontends = service.into_iter().flat_map(|s| s.frontends).filter(|f| !f.address.is_unspecified());
    let kinds = frontends.map(|f| format!("{} {}", f.kind, f.address)).collect();
    (kinds, cluster.model.problems().iter().map(ToString::to_string).collect())
}

const CLUSTER_IP: &str = "ClusterIP 10.96.0.10";
const NODE_PORT: &str = "NodePort 192.168.0.1";
const LOAD_BALANCER: &str = "LoadBalancer 203.0.113.1";
const EXTERNAL: &str = "ExternalIPs 203.0.113.7";

#[test]
fn the_annotation_type_lists_the_kinds_that_are_served() {
    let all: &[&str] = &[CLUSTER_IP, NODE_PORT, LOAD_BALANCER, EXTERNAL];
    for (value, want) in [
        ("ClusterIP", &[CLUSTER_IP][..]),
        ("LoadBalancer", &[LOAD_BALANCER]),
        ("'NodePort, ExternalIP'", &[NODE_PORT, EXTERNAL]),
        ("'LoadBalancer,Odd'", &[LOAD_BALANCER]),
        ("Odd", all),
        ("''", all),
    ] {
        let (kinds, problems) =
            served(Options::new(NODE), &format!("annotations: {{service.cilium.io/type: {value}}}"));
        assert_eq!(kinds, want, "{value}");
        let odd =
            problems.iter().any(|p| p.contains("annotation service.cilium.io/type: \"Odd\" is unknown"));
        assert_eq!(odd, value.contains("Odd"), "{problems:?}");
    }
}

#[test]
fn the_annotations_node_and_node_selector_choose_the_nodes_that_serve() {
    for (annotations, on) in [
        ("shunt.io/node: node-1", true),
        ("shunt.io/node: node-2", false),
        ("service.cilium.io/node: edge", true),
        ("service.cilium.io/node-selector: 'zone in ( a , b )'", true),
        ("shunt.io/node-selector: zone!=a", false),
        ("shunt.io/node: node-1, shunt.io/node-selector: zone=b", false),
    ] {
        let (kinds, _) = served(Options::new(NODE), &format!("annotations: {{{annotations}}}"));
        assert_eq!(!kinds.is_empty(), on, "{annotations}");
    }
    let (kinds, problems) = served(Options::new(NODE), "annotations: {shunt.io/node-selector: 'zone in a'}");
    assert!(!kinds.is_empty());
    assert!(problems.iter().any(|p| p.contains("is no label selector")), "{problems:?}");
}

#[test]
fn external_ips_can_be_turned_off() {
    let options = Options { external_ips: false, ..Options::new(NODE) };
    assert_eq!(
        served(options, ""),
        (vec![CLUSTER_IP.into(), NODE_PORT.into(), LOAD_BALANCER.into()], vec![])
    );
}

#[test]
fn an_external_ip_of_the_node_is_refused_even_without_mitigation_one_in_a_pod_cidr_only_with_it() {
    let (kinds, problems) = served(Options::new(NODE), "");
    assert_eq!(kinds, [CLUSTER_IP, NODE_PORT, LOAD_BALANCER, EXTERNAL]);
    assert!(problems[0].contains("10.244.1.9 lies in the pod CIDR 10.244.1.0/24"), "{problems:?}");
    assert!(problems[1].contains("192.168.0.1 is an address of this node"), "{problems:?}");
    let options = Options { external_ip_mitigation: false, ..Options::new(NODE) };
    let (kinds, problems) = served(options, "");
    assert_eq!(kinds.last().map(String::as_str), Some("ExternalIPs 10.244.1.9"));
    assert_eq!(problems.len(), 1);
}

#[test]
fn an_external_ip_or_load_balancer_s_address_among_any_node_s_pods_is_refused_where_their_ranges_are_told() {
    let cluster_cidrs = vec!["2001:db8::/32".parse().unwrap(), "203.0.113.7/32".parse().unwrap()];
    let options = |mitigation| Options {
        cluster_cidrs: cluster_cidrs.clone(),
        external_ip_mitigation: mitigation,
        ..Options::new(NODE)
    };
    let (kinds, problems) = served(options(true), "");
    assert_eq!(kinds, [CLUSTER_IP, NODE_PORT, LOAD_BALANCER]);
    let told = "spec.externalIPs: 203.0.113.7 lies in the pod CIDR 203.0.113.7/32";
    assert!(problems.iter().any(|p| p.contains(told)), "{problems:?}");
    assert!(served(options(false), "").0.contains(&EXTERNAL.to_owned()));
    let balancer = Options {
        cluster_cidrs: vec![
            LOAD_BALANCER.rsplit(' ').next().unwrap().parse::<std::net::IpAddr>().unwrap().into(),
        ],
        ..Options::new(NODE)
    };
    let (kinds, problems) = served(balancer, "");
    assert!(!kinds.contains(&LOAD_BALANCER.to_owned()), "{kinds:?}");
    assert!(problems.iter().any(|p| p.contains("status.loadBalancer.ingress")), "{problems:?}");
}

#[test]
fn k8s_service_proxy_name_serves_the_services_that_ask_for_that_proxy_and_no_others() {
    let named = || Options { service_proxy_name: "shunt".into(), ..Options::new(NODE) };
    let label = |name: &str| format!("labels: {{service.kubernetes.io/service-proxy-name: {name}}}");
    assert!(served(named(), "").0.is_empty());
    assert!(served(named(), &label("other")).0.is_empty());
    assert!(!served(named(), &label("shunt")).0.is_empty());
    assert!(served(Options::new(NODE), &label("shunt")).0.is_empty());
}

#[test]
fn forwarding_mode_and_algorithm_are_in_the_row_when_they_are_known() {
    for (annotations, want, acted_on) in [
        ("", (0, 0), true),
        ("service.cilium.io/forwarding-mode: snat, service.cilium.io/lb-algorithm: random", (0, 0), true),
        // A ClusterIP, which nobody outside reaches.
        ("shunt.io/forwarding-mode: dsr", (0, 0), true),
        ("shunt.io/lb-algorithm: maglev", (0, 1), true),
    ] {
        let (row, problems) = row(annotations, "");
        assert_eq!((row.mode, row.algorithm), want, "{annotations}");
        assert_eq!(problems.is_empty(), acted_on, "{annotations}: {problems:?}");
        assert!(problems.iter().all(|p| p.contains("not acted on by this version")), "{problems:?}");
    }
    let (unknown, problems) = row("shunt.io/forwarding-mode: carrier-pigeon", "");
    assert_eq!(unknown.mode, 0);
    assert!(problems[0].contains("\"carrier-pigeon\" is unknown; use snat, dsr or hybrid"), "{problems:?}");
}

#[test]
fn the_weight_of_a_slice_is_in_its_backends() {
    for (text, want, bad) in
        [("'30'", 30, false), ("'100'", 0, false), ("'65535'", 65535, false), ("'0'", 0, true)]
    {
        let mut cluster = Cluster::new(Options::new(NODE));
        let text = format!(
            "kind: Service\nmetadata: {{name: web}}\nspec: {{clusterIP: 10.96.0.10, ports: [{{port: 80}}]}}\n---\n\
             kind: EndpointSlice\nmetadata: {{name: web-1, labels: {{kubernetes.io/service-name: web}}, \
             annotations: {{service.cilium.io/weight: {text}}}}}\naddressType: IPv4\n\
             endpoints: [{{addresses: [10.244.1.5]}}]\nports: [{{port: 8080}}]"
        );
        Object::read(&text).into_iter().for_each(|o| cluster.apply(o));
        cluster.settle();
        let actual = cluster.store.dump().unwrap();
        assert_eq!(actual.backends4.values().next().unwrap().weight, want);
        assert_eq!(!cluster.model.problems().is_empty(), bad);
    }
}

#[test]
fn source_ranges_hold_for_all_kinds_from_outside_only_when_asked_for() {
    use shunt_common::{FrontendKind, frontend_flag::*};
    for all in [false, true] {
        let mut cluster = Cluster::new(Options {
            source_ranges_for_all: all,
            external_cluster_ip: true,
            ..Options::new(NODE)
        });
        let text = format!(
            "kind: Node\nmetadata: {{name: {NODE}}}\n\
             status: {{addresses: [{{type: InternalIP, address: 192.168.0.1}}]}}\n---\n\
             kind: Service\nmetadata: {{name: web}}\nspec: {{type: LoadBalancer, clusterIP: 10.96.0.10, \
             externalIPs: [203.0.113.7], loadBalancerSourceRanges: [192.168.0.0/24], \
             ports: [{{port: 80, nodePort: 30080}}]}}\n\
             status: {{loadBalancer: {{ingress: [{{ip: 203.0.113.1}}]}}}}"
        );
        Object::read(&text).into_iter().for_each(|o| cluster.apply(o));
        cluster.settle();
        for (key, row) in &cluster.store.dump().unwrap().frontends {
            let kind = FrontendKind::from_number(row.kind).unwrap();
            let balanced = row.flags & (MARKER | WILDCARD) == 0;
            let limited =
                balanced && (kind == FrontendKind::LoadBalancer || all && kind != FrontendKind::ClusterIp);
            assert_eq!(row.flags & SOURCE_RANGES != 0, limited, "{key:?}");
            assert_eq!(row.flags & NODE_ALLOWED != 0, limited, "{key:?}: the node is in the range");
        }
    }
}

#[test]
fn addresses_from_outside_of_a_family_that_the_service_lacks_are_skipped_without_a_word() {
    let mut cluster = Cluster::new(Options::new(NODE));
    let text = "kind: Service\nmetadata: {name: web}\nspec: {type: LoadBalancer, clusterIP: 10.96.0.10, ports: [{port: 80}], \
                externalIPs: [198.51.100.1, '2001:db8::1']}\n\
                status: {loadBalancer: {ingress: [{ip: 198.51.100.2}, {ip: '2001:db8::2'}]}}";
    Object::read(text).into_iter().for_each(|o| cluster.apply(o));
    cluster.settle();
    let actual = cluster.store.dump().unwrap();
    let on_port = actual.frontends.keys().filter(|key| key.port() == 80);
    assert!(on_port.clone().all(|key| key.family() == shunt_model::store::Family::V4));
    assert_eq!(on_port.count(), 3);
    assert_eq!(cluster.model.problems(), []);
}
