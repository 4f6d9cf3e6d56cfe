//! What a cluster has from its first moment: namespaces, service networks, and the API as a service of itself.

use super::{Handle, alloc, options::Options, shared::Shared};
use serde_json::{Value, json};
use std::{net::IpAddr, sync::Arc};

/// Fills a new API.
pub fn populate(shared: &Arc<Shared>, options: &Options) {
    let handle = Handle::new(shared.clone());
    let put = |value: Value| handle.put(value).expect("the cluster's own objects are valid");
    for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
        let metadata = json!({"name": name, "labels": {"kubernetes.io/metadata.name": name}});
        put(
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata, "spec": {"finalizers": ["kubernetes"]}}),
        );
    }
    if !options.service_cidrs.is_empty() {
        let cidrs: Vec<String> = options.service_cidrs.iter().map(ToString::to_string).collect();
        put(
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
            "spec": {"cidrs": cidrs}}),
        );
    }
    if let (Some((addresses, port)), Some(cidr)) = (&options.advertise, options.service_cidrs.first()) {
        put(service(alloc::nth(*cidr, 1), *port));
        let v6 = cidr.addr().is_ipv6();
        let addresses: Vec<&IpAddr> = addresses.iter().filter(|a| a.is_ipv6() == v6).collect();
        // Unchecked: a lab on one machine may well serve on loopback, which no endpoint may have otherwise.
        handle.force_put(slice(&addresses, v6, *port)).expect("the cluster's own objects are valid");
    }
}

fn service(ip: IpAddr, port: u16) -> Value {
    json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {"clusterIP": ip, "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}]}})
}

fn slice(addresses: &[&IpAddr], v6: bool, port: u16) -> Value {
    let endpoints: Vec<Value> =
        addresses.iter().map(|a| json!({"addresses": [a], "conditions": {"ready": true}})).collect();
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": if v6 { "IPv6" } else { "IPv4" },
        "endpoints": endpoints, "ports": [{"name": "https", "port": port, "protocol": "TCP"}]})
}
