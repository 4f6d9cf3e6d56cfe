//! The lab with the table's services, and where they are.

use crate::table;
use serde_json::{Value, json};
use shunt_common::Proto;
use shunt_lab::api::Kind;
use shunt_lab::cluster::Lab;
use shunt_lab::net::{netns, plan};
use shunt_lab::topology::{Style, Topology};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const NAME: &str = "agreement";

/// A running lab of two nodes with two pods each, and its services as the API tells them.
pub struct World {
    pub lab: Lab,
    services: BTreeMap<String, Service>,
}

/// A service's object.
pub struct Service(Value);

impl World {
    pub fn up() -> Self {
        let mut lab =
            Lab::without_agents(Topology { nodes: 2, ..Topology::new(NAME, Style::Routed) }).unwrap();
        route_cluster_ips(&lab);
        for node in &mut lab.nodes {
            let set = ["hostPort.enabled=true", "nodePort.addresses=primary,localhost"];
            node.agent.extra.extend(set.into_iter().flat_map(|set| ["--set".to_owned(), set.to_owned()]));
            node.agent.start().unwrap();
        }
        for node in &lab.nodes {
            node.agent.wait_ready(Duration::from_secs(30)).unwrap();
        }
        for (name, spec, endpoints) in table::services() {
            put_service(&lab, name, &spec);
            for v6 in [false, true] {
                lab.api().put(slice(&lab, name, endpoints, v6)).unwrap();
            }
        }
        host_ports(&lab);
        lab.settle().unwrap();
        let read = |name: &str| Service(lab.api().get(Kind::Service, "default", name).unwrap());
        let services = table::services().iter().map(|(name, ..)| (name.to_string(), read(name))).collect();
        Self { lab, services }
    }

    pub fn service(&self, name: &str) -> &Service {
        self.services.get(name).unwrap_or_else(|| panic!("no service {name}"))
    }

    /// Where a pod serves.
    pub fn server(&self, pod: &str, v6: bool, proto: Proto) -> SocketAddr {
        let port = if proto == Proto::Udp { 8081 } else { 8080 };
        SocketAddr::new(address(&self.lab, pod, v6), port)
    }

    /// The pod that serves there.
    pub fn pod_at(&self, addr: SocketAddr) -> Option<String> {
        let mut pods = self.lab.nodes.iter().flat_map(|node| &node.pods);
        let here = pods.find(|pod| pod.addresses.of(addr.is_ipv6()) == addr.ip())?;
        [8080, 8081].contains(&addr.port()).then(|| here.name.clone())
    }
}

impl Service {
    pub fn cluster_ip(&self, v6: bool) -> IpAddr {
        of_family(&self.0["spec"]["clusterIPs"], v6)
    }

    pub fn load_balancer(&self, v6: bool) -> IpAddr {
        let ingress = self.0["status"]["loadBalancer"]["ingress"].as_array().unwrap();
        of_family(&ingress.iter().map(|i| i["ip"].clone()).collect(), v6)
    }

    pub fn external_ip(&self, v6: bool) -> IpAddr {
        of_family(&self.0["spec"]["externalIPs"], v6)
    }

    pub fn node_port(&self, proto: Proto) -> u16 {
        let ports = self.0["spec"]["ports"].as_array().unwrap();
        let port = ports.iter().find(|port| port["protocol"] == proto.name()).unwrap();
        port["nodePort"].as_u64().unwrap() as u16
    }
}

fn of_family(ips: &Value, v6: bool) -> IpAddr {
    let mut ips = ips.as_array().unwrap().iter().map(|ip| ip.as_str().unwrap().parse::<IpAddr>().unwrap());
    ips.find(|ip| ip.is_ipv6() == v6).unwrap()
}

/// The client's packets to ClusterIPs reach node 1, so that it is a node that does not serve them.
fn route_cluster_ips(lab: &Lab) {
    let router = netns::of_lab(NAME).into_iter().find(|netns| netns.name().ends_with("-router")).unwrap();
    let via = |v6: bool| format!("via {}", lab.nodes[0].addresses.of(v6));
    let lines = [false, true].map(|v6| format!("route add {} {}", plan::SERVICES[usize::from(v6)], via(v6)));
    router.ip(&lines).unwrap();
}

fn put_service(lab: &Lab, name: &str, fields: &Value) {
    let mut spec = json!({"ipFamilyPolicy": "RequireDualStack", "ports": [
        {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"},
        {"name": "udp", "port": 80, "targetPort": 8081, "protocol": "UDP"}]});
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let metadata = json!({"name": name, "namespace": "default"});
    lab.api()
        .put(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}))
        .unwrap();
}

/// The words of the table as a slice of a family.
fn slice(lab: &Lab, service: &str, words: &str, v6: bool) -> Value {
    let endpoint = |word: &str| {
        let (pod, hint) = word.split_once('^').unwrap_or((word, ""));
        let (pod, state) = pod.split_at(pod.len() - 1);
        let (ready, serving, terminating) = match state {
            "+" => (true, true, false),
            "~" => (false, true, true),
            "!" => (false, false, true),
            "-" => (false, false, false),
            other => panic!("{service}: {other:?} is no state"),
        };
        let node = format!("node{}", &pod[3..pod.find('-').unwrap()]);
        let mut endpoint = json!({"addresses": [address(lab, pod, v6).to_string()], "nodeName": node,
            "conditions": {"ready": ready, "serving": serving, "terminating": terminating}});
        if !hint.is_empty() {
            endpoint["hints"] = json!({"forNodes": [{"name": hint}]});
        }
        endpoint
    };
    let (family, suffix) = if v6 { ("IPv6", "six") } else { ("IPv4", "four") };
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
        "metadata": {"name": format!("{service}-{suffix}"), "namespace": "default",
            "labels": {"kubernetes.io/service-name": service}},
        "endpoints": words.split_whitespace().map(endpoint).collect::<Vec<_>>(),
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"},
            {"name": "udp", "port": 8081, "protocol": "UDP"}]})
}

fn address(lab: &Lab, pod: &str, v6: bool) -> IpAddr {
    let mut pods = lab.nodes.iter().flat_map(|node| &node.pods);
    pods.find(|p| p.name == pod).unwrap_or_else(|| panic!("no pod {pod}")).addresses.of(v6)
}

/// The host ports that the table knows of.
fn host_ports(lab: &Lab) {
    let port = |inside: u16, host: u16, protocol: &str| json!({"containerPort": inside, "hostPort": host, "protocol": protocol});
    let mut loopback = [port(8080, 5433, "TCP"), port(8080, 5433, "TCP")];
    (loopback[0]["hostIP"], loopback[1]["hostIP"]) = ("127.0.0.1".into(), "::1".into());
    let [four, six] = loopback;
    for (pod, ports) in [(1, vec![port(8080, 5432, "TCP"), four, six]), (2, vec![port(8081, 5432, "UDP")])] {
        let mut object = shunt_lab::objects::pod(1, pod, lab.topology.families);
        object["spec"]["containers"][0]["ports"] = ports.into();
        lab.api().put(object).unwrap();
    }
}
