//! Writes over HTTP: conflicts, errors as Status objects, patches, and services as a real API server stores them.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod api_support;

use api_support::{config, server, service};
use serde_json::{Value, json};
use shunt_lab::api::{Kind, Options};

const SERVICES: &str = "/api/v1/namespaces/default/services";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn port() -> Value {
    json!({"ports": [{"port": 80}]})
}

fn with(mut base: Value, extra: Value) -> Value {
    for (key, value) in extra.as_object().unwrap() {
        base[key] = value.clone();
    }
    base
}

#[test]
fn an_update_with_an_old_version_is_a_conflict_and_a_create_of_a_taken_name_exists() {
    let server = server(Options::default());
    let (code, first) = server.post(MAPS, &config("a", json!({})));
    assert_eq!(code, 201);
    assert!(!first["metadata"]["uid"].as_str().unwrap().is_empty());
    let (code, status) = server.post(MAPS, &config("a", json!({})));
    assert_eq!((code, &status["reason"], &status["kind"]), (409, &json!("AlreadyExists"), &json!("Status")));
    let mut change = first.clone();
    change["data"] = json!({"k": "1"});
    let (code, second) = server.put(&format!("{MAPS}/a"), &change);
    assert_eq!((code, &second["metadata"]["uid"]), (200, &first["metadata"]["uid"]));
    let (code, status) = server.put(&format!("{MAPS}/a"), &change);
    assert_eq!((code, &status["reason"]), (409, &json!("Conflict")));
    let (_, same) = server.put(&format!("{MAPS}/a"), &second);
    assert_eq!(
        same["metadata"]["resourceVersion"], second["metadata"]["resourceVersion"],
        "no change, no version"
    );
    assert_eq!(server.get(&format!("{MAPS}/b")).1["reason"], "NotFound");
    let missing = server.post("/api/v1/namespaces/none/configmaps", &json!({"metadata": {"name": "a"}}));
    assert_eq!((missing.0, &missing.1["details"]["kind"]), (404, &json!("namespaces")));
    assert_eq!(server.get("/apis/apps/v1/deployments").0, 404);
    assert_eq!(server.send("POST", MAPS, "application/json", "{").0, 400);
    assert_eq!(server.send("POST", MAPS, "application/vnd.kubernetes.protobuf", "x").0, 415);
    assert_eq!(server.send("DELETE", &format!("{MAPS}/a"), "", "").1["status"], "Success");
}

#[test]
fn every_patch_type_works_and_apply_creates() {
    let server = server(Options::default());
    let path = format!("{SERVICES}/web");
    let patch = |kind: &str, body: Value| server.send("PATCH", &path, kind, &body.to_string());
    let (code, _) = patch("application/merge-patch+json", json!({}));
    assert_eq!(code, 404);
    let yaml = "apiVersion: v1\nkind: Service\nspec:\n  ports:\n  - {name: a, port: 53}\n  - {name: b, port: 53, protocol: UDP}\n";
    let (code, made) =
        server.send("PATCH", &format!("{path}?fieldManager=t"), "application/apply-patch+yaml", yaml);
    assert_eq!((code, &made["spec"]["ports"][1]["protocol"]), (201, &json!("UDP")));
    assert_eq!(server.send("PATCH", &path, "application/apply-patch+yaml", yaml).0, 200);
    let ports = json!({"spec": {"ports": [{"port": 53, "protocol": "UDP", "targetPort": 5353}]}});
    let (_, merged) = patch("application/strategic-merge-patch+json", ports);
    assert_eq!(merged["spec"]["ports"][0]["targetPort"], 53);
    assert_eq!(merged["spec"]["ports"][1]["targetPort"], 5353);
    let (_, json_patched) =
        patch("application/json-patch+json", json!([{"op": "remove", "path": "/spec/ports/0"}]));
    assert_eq!(json_patched["spec"]["ports"].as_array().unwrap().len(), 1);
    let version = json!({"metadata": {"resourceVersion": "1", "labels": {"a": "b"}}});
    assert_eq!(patch("application/merge-patch+json", version).0, 409);
    assert_eq!(patch("text/plain", json!({})).0, 415);
}

#[test]
fn the_status_is_written_through_its_own_path_only() {
    let server = server(Options::default());
    let ingress = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}});
    let with_status = with(service("web", port()), json!({"status": ingress}));
    assert_eq!(server.post(SERVICES, &with_status).1["status"], json!({"loadBalancer": {}}));
    let body = json!({"status": ingress, "spec": {"sessionAffinity": "ClientIP"}}).to_string();
    let merge = "application/merge-patch+json";
    let (_, main) = server.send("PATCH", &format!("{SERVICES}/web"), merge, &body);
    assert_eq!(
        (&main["status"], &main["spec"]["sessionAffinity"]),
        (&json!({"loadBalancer": {}}), &json!("ClientIP"))
    );
    assert_eq!(main["spec"]["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"], 10_800);
    let body = json!({"status": ingress, "spec": {"sessionAffinity": "None"}}).to_string();
    let (_, sub) = server.send("PATCH", &format!("{SERVICES}/web/status"), merge, &body);
    assert_eq!((&sub["status"], &sub["spec"]["sessionAffinity"]), (&ingress, &json!("ClientIP")));
}

#[test]
fn services_get_addresses_of_the_families_they_ask_for() {
    let server = server(Options::default());
    let cases = [
        ("single", json!({}), vec!["IPv4"], vec!["10.96."]),
        ("six", json!({"ipFamilies": ["IPv6"]}), vec!["IPv6"], vec!["fd00:10:96::"]),
        (
            "prefer",
            json!({"ipFamilyPolicy": "PreferDualStack"}),
            vec!["IPv4", "IPv6"],
            vec!["10.96.", "fd00:10:96::"],
        ),
        (
            "need",
            json!({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"]}),
            vec!["IPv6", "IPv4"],
            vec!["fd00:10:96::", "10.96."],
        ),
        ("asked", json!({"clusterIP": "10.96.7.7"}), vec!["IPv4"], vec!["10.96.7.7"]),
        ("headless", json!({"clusterIP": "None"}), vec!["IPv4"], vec!["None"]),
    ];
    for (name, extra, families, prefixes) in cases {
        let (code, made) = server.post(SERVICES, &service(name, with(port(), extra)));
        assert_eq!((code, &made["spec"]["ipFamilies"]), (201, &json!(families)), "{name}: {made}");
        let ips = made["spec"]["clusterIPs"].as_array().unwrap();
        assert_eq!(ips.len(), prefixes.len(), "{name}");
        for (ip, prefix) in ips.iter().zip(prefixes) {
            assert!(ip.as_str().unwrap().starts_with(prefix), "{name}: {ip}");
        }
        assert_eq!(made["spec"]["clusterIP"], ips[0]);
    }
}

#[test]
fn broken_services_are_refused_with_the_field_that_is_wrong() {
    let server = server(Options::default());
    let node_port = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 31000}]});
    assert_eq!(server.post(SERVICES, &service("first", node_port.clone())).0, 201);
    assert_eq!(server.post(SERVICES, &service("ip", with(port(), json!({"clusterIP": "10.96.1.1"})))).0, 201);
    let cases = [
        (json!({}), "spec.ports"),
        (json!({"ports": [{"port": 0}]}), "spec.ports[0].port"),
        (json!({"ports": [{"port": 1}, {"port": 2}]}), "spec.ports[0].name"),
        (json!({"ports": [{"port": 1, "name": "a"}, {"port": 2, "name": "a"}]}), "spec.ports[1].name"),
        (json!({"ports": [{"port": 1, "protocol": "ICMP"}]}), "spec.ports[0].protocol"),
        (json!({"ports": [{"port": 1, "nodePort": 31001}]}), "spec.ports[0].nodePort"),
        (node_port, "spec.ports[0].nodePort"),
        (json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 80}]}), "spec.ports[0].nodePort"),
        (with(port(), json!({"type": "Other"})), "spec.type"),
        (with(port(), json!({"clusterIP": "10.96.1.1"})), "spec.clusterIPs[0]"),
        (with(port(), json!({"clusterIP": "192.0.2.1"})), "spec.clusterIPs[0]"),
        (with(port(), json!({"ipFamilies": ["IPv4", "IPv6"]})), "spec.ipFamilyPolicy"),
        (with(port(), json!({"externalIPs": ["x"]})), "spec.externalIPs[0]"),
        (json!({"type": "ExternalName"}), "spec.externalName"),
    ];
    for (spec, field) in cases {
        let (code, status) = server.post(SERVICES, &service("bad", spec.clone()));
        assert_eq!((code, &status["reason"]), (422, &json!("Invalid")), "{spec}: {status}");
        assert_eq!(status["details"]["causes"][0]["field"], field, "{spec}: {status}");
    }
    assert_eq!(
        server.post(SERVICES, &service("Bad_Name", port())).1["details"]["causes"][0]["field"],
        "metadata.name"
    );
}

#[test]
fn changes_of_type_keep_and_drop_what_belongs_to_the_type() {
    let server = server(Options::default());
    let path = format!("{SERVICES}/web");
    let (_, made) = server.post(
        SERVICES,
        &service("web", with(port(), json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"}))),
    );
    let node_port = made["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    assert!(made["spec"]["healthCheckNodePort"].as_u64().is_some_and(|p| p != node_port));
    // A PUT that is silent about allocated values keeps them.
    let (code, kept) = server.put(&path, &service("web", with(port(), json!({"type": "NodePort"}))));
    assert_eq!((code, &kept["spec"]["ports"][0]["nodePort"]), (200, &json!(node_port)));
    assert_eq!(kept["spec"]["clusterIP"], made["spec"]["clusterIP"]);
    let merge = |body: Value| server.send("PATCH", &path, "application/merge-patch+json", &body.to_string());
    let (code, inner) = merge(json!({"spec": {"type": "ClusterIP"}}));
    assert_eq!((code, inner["spec"]["ports"][0].get("nodePort")), (200, None), "{inner}");
    assert_eq!(merge(json!({"spec": {"clusterIP": "10.96.9.9", "clusterIPs": ["10.96.9.9"]}})).0, 422);
    let (_, dual) = merge(json!({"spec": {"ipFamilyPolicy": "PreferDualStack"}}));
    assert_eq!(dual["spec"]["clusterIPs"].as_array().unwrap().len(), 2, "{dual}");
    let (_, single) = merge(json!({"spec": {"ipFamilyPolicy": "SingleStack"}}));
    assert_eq!(single["spec"]["clusterIPs"], made["spec"]["clusterIPs"]);
    let (code, name) = merge(json!({"spec": {"type": "ExternalName", "externalName": "x.example"}}));
    assert_eq!((code, name["spec"].get("clusterIP")), (200, None), "{name}");
    // What was released can be taken.
    let again = json!({"type": "NodePort", "clusterIP": made["spec"]["clusterIP"], "ports": [{"port": 1, "nodePort": node_port}]});
    assert_eq!(server.post(SERVICES, &service("other", again)).0, 201);
}

#[test]
fn forced_objects_get_in_and_do_not_take_what_others_hold() {
    let server = server(Options::default());
    let spec = json!({"type": "NodePort", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "ports": [{"port": 80, "nodePort": 31000}]});
    server.handle().put(service("first", spec.clone())).unwrap();
    assert_eq!(server.handle().put(service("second", spec.clone())).unwrap_err().code, 422);
    server.handle().force_put(service("second", spec.clone())).unwrap();
    server.handle().force_put(service("odd", json!({"ports": "many"}))).unwrap();
    server.handle().delete(Kind::Service, "default", "second").unwrap();
    assert_eq!(
        server.handle().put(service("third", spec)).unwrap_err().code,
        422,
        "the first one still holds them"
    );
    assert_eq!(server.get(&format!("{SERVICES}/odd")).1["spec"]["ports"], "many");
}

#[test]
fn dry_runs_change_and_allocate_nothing() {
    let server = server(Options::default());
    let before = server.handle().version();
    let spec = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 31000}]});
    let (code, made) = server.post(&format!("{SERVICES}?dryRun=All"), &service("web", spec.clone()));
    assert_eq!((code, &made["spec"]["clusterIP"]), (201, &json!("10.96.0.2")));
    assert_eq!(server.handle().version(), before);
    assert_eq!(server.post(SERVICES, &service("other", spec)).1["spec"]["clusterIP"], "10.96.0.2");
}

#[test]
fn finalizers_hold_an_object_and_a_namespace_takes_its_content_along() {
    let server = server(Options::default());
    let handle = server.handle();
    let mut held = config("held", json!({}));
    held["metadata"]["finalizers"] = json!(["lab/wait"]);
    handle.put(held).unwrap();
    let (_, object) = server.send("DELETE", &format!("{MAPS}/held"), "", "");
    assert!(object["metadata"]["deletionTimestamp"].is_string());
    let free = r#"{"metadata":{"finalizers":null}}"#;
    server.send("PATCH", &format!("{MAPS}/held"), "application/merge-patch+json", free);
    assert_eq!(server.get(&format!("{MAPS}/held")).0, 404);
    let inside =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "other"}});
    handle.put(inside).unwrap();
    handle.delete(Kind::Namespace, "", "other").unwrap();
    assert_eq!(handle.get(Kind::ConfigMap, "other", "a"), None);
    server.post(MAPS, &config("x", json!({"a": "1"})));
    server.post(MAPS, &config("y", json!({"a": "2"})));
    server.send("DELETE", &format!("{MAPS}?labelSelector=a=1"), "", "");
    assert_eq!((server.get(&format!("{MAPS}/x")).0, server.get(&format!("{MAPS}/y")).0), (404, 200));
}

#[test]
fn one_port_number_of_two_protocols_gets_one_node_port_in_a_new_service_and_keeps_it() {
    let server = server(Options::default());
    let ports = |extra: Value| {
        json!({"type": "NodePort", "ports": [
            {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
            with(json!({"name": "web", "port": 80, "protocol": "TCP"}), extra.clone()),
            {"name": "quic", "port": 80, "protocol": "UDP"},
        ]})
    };
    let numbers = |service: &Value| -> Vec<u64> {
        let ports = service["spec"]["ports"].as_array().unwrap();
        ports.iter().map(|port| port["nodePort"].as_u64().unwrap()).collect()
    };
    let (code, made) = server.post(SERVICES, &service("dns", ports(json!({}))));
    let first = numbers(&made);
    assert_eq!((code, first[0], first[2]), (201, first[1], first[3]), "{made}");
    assert_ne!(first[0], first[2], "another port number has another node port");
    // What was asked for counts, wherever it stands; and a second service gets others.
    let (code, other) = server.post(SERVICES, &service("other", ports(json!({"nodePort": 31080}))));
    let second = numbers(&other);
    assert_eq!((code, second[0], &second[2..]), (201, second[1], &[31080, 31080][..]), "{other}");
    assert_ne!(first[0], second[0]);
    // A replacement without node ports keeps the shared ones, and the numbers come free with the service.
    let spec = with(ports(json!({})), json!({"clusterIP": made["spec"]["clusterIP"]}));
    let (code, kept) = server.put(&format!("{SERVICES}/dns"), &service("dns", spec));
    assert_eq!((code, numbers(&kept)), (200, first), "{kept}");
}
