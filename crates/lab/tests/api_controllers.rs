//! The controllers in the API, and its size: slices from pods, ingress addresses, ten thousand services.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod api_support;

use api_support::{server, service};
use serde_json::{Value, json};
use shunt_lab::api::{Api, Handle, Kind, Options, PatchType};
use std::time::{Duration, Instant};

fn pod(name: &str, n: usize, ready: bool) -> Value {
    let (v4, v6) = (format!("10.1.{}.{}", n / 200, n % 200 + 1), format!("fd00:1::{:x}", n + 1));
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
        "status": {"phase": "Running", "podIP": v4, "podIPs": [{"ip": v4}, {"ip": v6}],
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}})
}

fn web() -> Value {
    service(
        "web",
        json!({"selector": {"app": "web"}, "ipFamilyPolicy": "PreferDualStack",
        "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}),
    )
}

fn slices(handle: &Handle) -> Vec<Value> {
    assert!(handle.settle(Duration::from_secs(20)));
    handle.list(Kind::EndpointSlice, "default", "kubernetes.io/service-name=web").unwrap()
}

/// Sizes of the slices of one family, largest first.
fn sizes(handle: &Handle, family: &str) -> Vec<usize> {
    let slices = slices(handle);
    let family = slices.iter().filter(|s| s["addressType"] == family);
    let mut sizes: Vec<usize> = family.map(|s| s["endpoints"].as_array().unwrap().len()).collect();
    sizes.sort_by(|a, b| b.cmp(a));
    sizes
}

#[test]
fn slices_follow_pods_services_and_nodes() {
    let api = Api::start(Options::default()).unwrap();
    let handle = api.handle();
    let zone = json!({"name": "n1", "labels": {"topology.kubernetes.io/zone": "z1"}});
    handle.put(json!({"apiVersion": "v1", "kind": "Node", "metadata": zone})).unwrap();
    handle.put(web()).unwrap();
    assert_eq!((sizes(&handle, "IPv4"), sizes(&handle, "IPv6")), (vec![0], vec![0]), "known to be empty");
    handle.put(pod("p0", 0, true)).unwrap();
    let both = slices(&handle);
    let v6 = both.iter().find(|s| s["addressType"] == "IPv6").unwrap();
    let endpoint = &v6["endpoints"][0];
    assert_eq!((&endpoint["addresses"], &endpoint["zone"]), (&json!(["fd00:1::1"]), &json!("z1")));
    assert_eq!(v6["ports"], json!([{"name": "http", "port": 8080, "protocol": "TCP"}]));
    assert_eq!(
        v6["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"],
        "endpointslice-controller.k8s.io"
    );
    assert!(v6["metadata"]["annotations"]["endpoints.kubernetes.io/last-change-trigger-time"].is_string());
    handle.put(pod("p0", 0, false)).unwrap();
    assert_eq!(slices(&handle)[0]["endpoints"][0]["conditions"]["ready"], false);
    let relabel = json!({"metadata": {"labels": {"app": "other"}}});
    handle.patch(Kind::Pod, "default", "p0", PatchType::Merge, &relabel).unwrap();
    assert_eq!(sizes(&handle, "IPv4"), [0]);
    handle.delete(Kind::Service, "default", "web").unwrap();
    assert_eq!(slices(&handle), Vec::<Value>::new());
}

#[test]
fn a_slice_holds_a_hundred_and_one_that_is_deleted_comes_back() {
    let api = Api::start(Options::default()).unwrap();
    let handle = api.handle();
    handle.put(web()).unwrap();
    for n in 0..250 {
        handle.put(pod(&format!("p{n}"), n, true)).unwrap();
    }
    assert_eq!(sizes(&handle, "IPv4").iter().sum::<usize>(), 250);
    assert!(sizes(&handle, "IPv4")[0] <= 100);
    let name = slices(&handle)[0]["metadata"]["name"].as_str().unwrap().to_owned();
    handle.delete(Kind::EndpointSlice, "default", &name).unwrap();
    assert_eq!(sizes(&handle, "IPv4").iter().sum::<usize>(), 250);
    for n in 0..250 {
        handle.delete(Kind::Pod, "default", &format!("p{n}")).unwrap();
    }
    assert_eq!((sizes(&handle, "IPv4"), sizes(&handle, "IPv6")), (vec![0], vec![0]));
}

#[test]
fn a_pod_with_a_grace_period_is_terminating_until_it_is_over() {
    let api = Api::start(Options::default()).unwrap();
    let handle = api.handle();
    handle.put(web()).unwrap();
    let mut pod = pod("p0", 0, true);
    pod["spec"]["terminationGracePeriodSeconds"] = 1.into();
    handle.put(pod).unwrap();
    handle.delete(Kind::Pod, "default", "p0").unwrap();
    let want = json!({"ready": false, "serving": true, "terminating": true});
    assert_eq!(slices(&handle)[0]["endpoints"][0]["conditions"], want);
    api_support::eventually("the pod is gone", || handle.get(Kind::Pod, "default", "p0").is_none());
    assert_eq!(sizes(&handle, "IPv4"), [0]);
}

#[test]
fn load_balancers_get_an_address_of_each_family_and_give_it_back() {
    let cidrs = ["192.0.2.0/29", "2001:db8::/125"].map(|c| c.parse().unwrap()).to_vec();
    let api = Api::start(Options { load_balancer_cidrs: cidrs, ..Options::default() }).unwrap();
    let handle = api.handle();
    let spec = json!({"type": "LoadBalancer", "ipFamilyPolicy": "RequireDualStack", "ports": [{"port": 80}]});
    let ingress = |name: &str| {
        assert!(handle.settle(Duration::from_secs(5)));
        let service = handle.get(Kind::Service, "default", name).unwrap();
        let ingress = service["status"]["loadBalancer"]["ingress"].as_array().cloned().unwrap_or_default();
        ingress.iter().map(|i| i["ip"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    handle.put(service("a", spec.clone())).unwrap();
    assert_eq!(ingress("a"), ["192.0.2.2", "2001:db8::2"]);
    handle
        .patch(Kind::Service, "default", "a", PatchType::Merge, &json!({"spec": {"type": "ClusterIP"}}))
        .unwrap();
    assert_eq!(ingress("a"), Vec::<String>::new());
    handle.put(service("b", with_ip(&spec, "192.0.2.2"))).unwrap();
    assert_eq!(ingress("b")[0], "192.0.2.2");
}

fn with_ip(spec: &Value, ip: &str) -> Value {
    let mut spec = spec.clone();
    spec["loadBalancerIP"] = ip.into();
    spec
}

#[test]
fn ten_thousand_services_are_made_and_listed_in_seconds() {
    let server = server(Options::default());
    let handle = server.handle();
    let start = Instant::now();
    for n in 0..10_000 {
        let name = format!("s{n}");
        handle.put(service(&name, json!({"ports": [{"name": "http", "port": 80}]}))).unwrap();
        let endpoints: Vec<Value> = (0..10)
            .map(|e| json!({"addresses": [format!("10.{}.{}.{}", n >> 8 & 63, n & 255, e + 1)]}))
            .collect();
        let labels = json!({"kubernetes.io/service-name": name});
        handle
            .put(json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": format!("{name}-1"), "namespace": "default", "labels": labels},
            "endpoints": endpoints, "ports": [{"name": "http", "port": 80}]}))
            .unwrap();
    }
    let made = start.elapsed();
    let (_, list) = server.get("/apis/discovery.k8s.io/v1/endpointslices");
    assert_eq!(list["items"].as_array().unwrap().len(), 10_000);
    let all = start.elapsed();
    // Generous for a loaded machine and an unoptimised build; the figures are printed for the eye.
    eprintln!("made in {made:?}, listed after {all:?}");
    assert!(all < Duration::from_secs(60), "{all:?}");
}
