//! A lab in the words of the cases.

use serde_json::{Value, json};
use shunt_e2e::eventually;
use shunt_lab::api::{Kind, PatchType};
use shunt_lab::cluster::{Lab, http, repeat, udp};
use shunt_lab::place::Place;
use shunt_lab::probe::{Answer, Datagram};
use shunt_lab::topology::{Style, Topology};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Both families: whether it is IPv6.
pub const FAMILIES: [bool; 2] = [false, true];

/// A running lab of two nodes with two pods each: `pod1-1`, `pod1-2`, `pod2-1`, `pod2-2`.
pub struct Cluster {
    pub lab: Lab,
}

impl Cluster {
    pub fn up(name: &str, style: Style, arguments: &[&str]) -> Self {
        let mut lab = Lab::without_agents(Topology { nodes: 2, ..Topology::new(name, style) }).unwrap();
        for node in &mut lab.nodes {
            node.agent.extra.extend(arguments.iter().map(ToString::to_string));
            node.agent.start().unwrap();
        }
        for node in &lab.nodes {
            node.agent.wait_ready(Duration::from_secs(30)).unwrap();
        }
        Self { lab }
    }

    /// Creates or replaces a service of both families, with ports `http` (80 to 8080) and `udp` (80 to 8081) unless
    /// `spec` says otherwise.
    pub fn service(&self, name: &str, spec: Value) {
        let mut service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
            "spec": {"ipFamilyPolicy": "PreferDualStack", "ports": [
                {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"},
                {"name": "udp", "port": 80, "targetPort": 8081, "protocol": "UDP"}]},
        });
        for (key, value) in spec.as_object().unwrap() {
            service["spec"][key] = value.clone();
        }
        self.lab.api().put(service).unwrap();
        self.settle();
    }

    /// Changes a service by a merge patch of the whole object.
    pub fn change(&self, name: &str, patch: Value) {
        self.lab.api().patch(Kind::Service, "default", name, PatchType::Merge, &patch).unwrap();
        self.settle();
    }

    pub fn delete(&self, name: &str) {
        self.lab.api().delete(Kind::Service, "default", name).unwrap();
        self.settle();
    }

    /// Removes every service but the API's own.
    pub fn forget_services(&self) {
        for service in self.lab.api().list(Kind::Service, "", "").unwrap() {
            let text = |at: &str| service.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
            let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
            if name != "kubernetes" {
                self.lab.api().delete(Kind::Service, &namespace, &name).unwrap();
            }
        }
        for node in 1..=2 {
            for pod in 1..=2 {
                let known = &self.lab.nodes[node - 1].pods[pod - 1];
                known.serve_as(&known.name).unwrap();
                self.restore_pod(node, pod);
            }
        }
        self.settle();
    }

    pub fn settle(&self) {
        assert!(self.lab.api().settle(Duration::from_secs(5)), "the lab's controllers settle");
    }

    /// A service's object.
    pub fn get(&self, name: &str) -> Value {
        self.lab.api().get(Kind::Service, "default", name).unwrap()
    }

    /// Its ClusterIP of a family, port 80.
    pub fn cluster_ip(&self, name: &str, v6: bool) -> SocketAddr {
        let ip = family_of(self.get(name).pointer("/spec/clusterIPs").unwrap(), v6);
        SocketAddr::new(ip, 80)
    }

    /// Its load balancer's address of a family, port 80.
    pub fn load_balancer(&self, name: &str, v6: bool) -> SocketAddr {
        let ingress = self.get(name).pointer("/status/loadBalancer/ingress").unwrap().clone();
        let ips: Value = ingress.as_array().unwrap().iter().map(|i| i["ip"].clone()).collect();
        SocketAddr::new(family_of(&ips, v6), 80)
    }

    /// The node port of one of its ports.
    pub fn node_port(&self, name: &str, port: &str) -> u16 {
        let service = self.get(name);
        let ports = service.pointer("/spec/ports").unwrap().as_array().unwrap().clone();
        let found = ports.iter().find(|p| p["name"] == port).unwrap();
        found["nodePort"].as_u64().unwrap() as u16
    }

    /// An address of a node (1 or 2) and a port.
    pub fn node(&self, node: usize, v6: bool, port: u16) -> SocketAddr {
        SocketAddr::new(self.lab.nodes[node - 1].addresses.of(v6), port)
    }

    /// A node itself.
    pub fn host(&self, node: usize) -> Place {
        self.lab.nodes[node - 1].host.clone()
    }

    /// A pod whose sockets are served.
    pub fn pod(&self, node: usize, pod: usize) -> Place {
        self.lab.nodes[node - 1].pods[pod - 1].place.clone()
    }

    /// The same pod, past the socket path: its packets are served.
    pub fn bypass(&self, node: usize, pod: usize) -> Place {
        self.pod(node, pod).outside_cgroup()
    }

    /// A pod's address.
    pub fn pod_ip(&self, node: usize, pod: usize, v6: bool) -> IpAddr {
        self.lab.nodes[node - 1].pods[pod - 1].addresses.of(v6)
    }

    pub fn client(&self) -> Place {
        self.lab.client.clone()
    }

    /// Everybody inside: a pod by both paths, and a node; all of node 1.
    pub fn inside(&self) -> [Place; 3] {
        [self.pod(1, 2), self.bypass(1, 2), self.host(1)]
    }

    /// Makes a pod ready or not, and terminating or not: its server runs on in any case.
    pub fn set_pod(&self, node: usize, pod: usize, ready: bool, terminating: bool) {
        let mut object = shunt_lab::objects::pod(node, pod, self.lab.topology.families);
        object["status"]["conditions"] =
            json!([{"type": "Ready", "status": if ready { "True" } else { "False" }}]);
        object["spec"]["terminationGracePeriodSeconds"] = 600.into();
        self.lab.api().put(object).unwrap();
        if terminating {
            self.delete_pod(node, pod);
        }
        self.settle();
    }

    fn delete_pod(&self, node: usize, pod: usize) {
        self.lab.api().delete(Kind::Pod, "default", &format!("pod{node}-{pod}")).unwrap();
    }

    /// Replaces a pod that is on its way out: its server ends, its object goes, and another of its name comes, whose
    /// server answers as that name and `-next`.
    pub fn replace_pod(&self, node: usize, pod: usize) {
        let known = &self.lab.nodes[node - 1].pods[pod - 1];
        known.stop_server();
        self.remove_pod(node, pod);
        self.lab.settle().unwrap();
        known.serve_as(&format!("{}-next", known.name)).unwrap();
        self.restore_pod(node, pod);
        self.lab.settle().unwrap();
    }

    /// Takes a pod's object away at once; its server runs on.
    pub fn remove_pod(&self, node: usize, pod: usize) {
        let mut going = shunt_lab::objects::pod(node, pod, self.lab.topology.families);
        going["spec"]["terminationGracePeriodSeconds"] = 0.into();
        self.lab.api().put(going).unwrap();
        self.delete_pod(node, pod);
    }

    pub fn restore_pod(&self, node: usize, pod: usize) {
        let good = shunt_lab::objects::pod(node, pod, self.lab.topology.families);
        let now = self.lab.api().get(Kind::Pod, "default", &format!("pod{node}-{pod}"));
        if now.is_some_and(|pod| pod.pointer("/metadata/deletionTimestamp").is_some()) {
            // Nobody comes back from terminating: it goes at once, and another of its name comes.
            self.remove_pod(node, pod);
        }
        self.lab.api().put(good).unwrap();
    }

    /// Waits until exactly these pods answer there, by HTTP: no other, no failure, and, where they are few, each of them.
    pub fn reaches(&self, from: &Place, to: SocketAddr, pods: &[&str]) {
        let wanted: BTreeSet<String> = pods.iter().map(ToString::to_string).collect();
        eventually(&format!("{} reaches {pods:?} at {to}", from.name), || {
            let tries = repeat(from, to, 8 + 6 * pods.len() as u32).map_err(|e| e.to_string())?;
            let name = |body: &String| body.split(' ').next().unwrap_or_default().to_owned();
            let found: BTreeSet<String> = tries.bodies.keys().map(name).collect();
            if tries.failures.is_empty() && found == wanted { Ok(()) } else { Err(format!("{tries:?}")) }
        });
    }

    /// Waits until somebody answers there by UDP, and is one of these pods; connected and not.
    pub fn reaches_by_udp(&self, from: &Place, to: SocketAddr, pods: &[&str]) {
        for connected in [true, false] {
            eventually(&format!("{} reaches {pods:?} at {to} by UDP", from.name), || {
                let Datagram { answer, from: peer } = udp(from, to, connected).map_err(|e| e.to_string())?;
                let body = answer.body().unwrap_or_default();
                let good = pods.contains(&body.split(' ').next().unwrap_or_default()) && peer == Some(to);
                if good { Ok(()) } else { Err(format!("{answer:?} from {peer:?}")) }
            });
        }
    }

    /// The source address that the server sees.
    pub fn source_seen(&self, from: &Place, to: SocketAddr) -> IpAddr {
        let body = shunt_e2e::eventually_answers(from, to);
        body.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn gets(&self, from: &Place, to: SocketAddr, what: &str, fits: impl Fn(&Answer) -> bool) {
        eventually(&format!("{} is {what} at {to}", from.name), || {
            let answer = http(from, to, "/").map_err(|e| e.to_string())?;
            if fits(&answer) { Ok(()) } else { Err(format!("{answer:?}")) }
        });
    }

    /// Waits until somebody says no there.
    pub fn refused(&self, from: &Place, to: SocketAddr) {
        self.gets(from, to, "refused", |answer| *answer == Answer::Refused);
    }

    /// Waits until nothing comes back from there.
    pub fn silent(&self, from: &Place, to: SocketAddr) {
        self.gets(from, to, "not answered", |answer| *answer == Answer::Timeout);
    }

    /// Waits until no service answers there, whatever the network says of the address.
    pub fn unserved(&self, from: &Place, to: SocketAddr) {
        self.gets(from, to, "not served", |answer| answer.body().is_none());
    }

    /// Waits until a socket's call fails, because there is no local endpoint.
    pub fn no_way(&self, from: &Place, to: SocketAddr) {
        self.gets(
            from,
            to,
            "told that there is no way",
            |answer| matches!(answer, Answer::Other(text) if text.contains("No route to host")),
        );
    }
}

fn family_of(ips: &Value, v6: bool) -> IpAddr {
    let mut all = ips.as_array().unwrap().iter().map(|ip| ip.as_str().unwrap().parse::<IpAddr>().unwrap());
    all.find(|ip| ip.is_ipv6() == v6).unwrap()
}
