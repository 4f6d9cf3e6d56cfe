//! Without a cluster: an agent serves what a directory of manifests says, and follows it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use shunt_e2e::{eventually, eventually_answers, eventually_refused, json, node_port};
use shunt_lab::agent::binary;
use shunt_lab::cluster::Lab;
use shunt_lab::place::Process;
use shunt_lab::topology::{Style, Topology};
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

#[test]
fn a_directory_of_manifests_is_served_and_followed_live() {
    let lab =
        Lab::without_agents(Topology { nodes: 2, ..Topology::new("manifests", Style::Routed) }).unwrap();
    // Nothing may come from there.
    lab.api().stop();
    let dir = lab.dir().join("manifests");
    fs::create_dir(&dir).unwrap();
    let agent = Followed { dir, lab: &lab };
    // By its node's ranges an endpoint that names no node is known to be of a pod of this one.
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: node1}\nspec: {podCIDRs: [10.244.1.0/24]}\n";
    agent.write("node.yaml", node);
    agent.write("service.yaml", &service("web", 31500));
    let remote = agent.lab.nodes[1].pods[0].addresses.v4.to_string();
    let local = agent.lab.nodes[0].pods[0].addresses.v4.to_string();
    agent.write("slice.yaml", &slice("web", &remote));
    let mut running = agent.start();

    let cluster_ip: SocketAddr = "10.96.44.1:80".parse().unwrap();
    let from = [agent.lab.client.clone(), agent.lab.nodes[0].pods[1].place.clone()];
    let at = [node_port(agent.lab, 0, 31500), cluster_ip];
    let served_by = |pod: &str| {
        for (place, addr) in from.iter().zip(at) {
            eventually(&format!("{} reaches {pod} at {addr}", place.name), || {
                let answer = eventually_answers(place, addr);
                if answer.starts_with(pod) { Ok(()) } else { Err(answer) }
            });
        }
    };
    served_by("pod2-1 ");
    // A file that changes, and one that comes: by it alone the second service is known.
    agent.write("slice.yaml", &slice("web", &local));
    served_by("pod1-1 ");
    agent.write("more.yml", &format!("{}---\n{}", service("more", 31501), slice("more", &remote)));
    eventually_answers(&from[0], node_port(agent.lab, 0, 31501));
    // What is wrong is told by file and line, and spoils only itself.
    agent.write(
        "bad.yaml",
        "kind: Service\napiVersion: v1\nmetadata: {name: bad}\nspec: {ports: [{port: eighty}]}\n",
    );
    eventually("the bad file is named", || {
        let problems = json(&agent.lab.nodes[0].agent, "status")["problems"].to_string();
        if problems.contains("bad.yaml") { Ok(()) } else { Err(problems) }
    });
    served_by("pod1-1 ");
    // And one that goes.
    fs::remove_file(agent.dir.join("more.yml")).unwrap();
    eventually_refused(&from[0], node_port(agent.lab, 0, 31501));
    served_by("pod1-1 ");
    running.term().unwrap();
}

/// A directory, and the first node, whose agent follows it.
struct Followed<'a> {
    dir: PathBuf,
    lab: &'a Lab,
}

impl Followed<'_> {
    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.join(name), text).unwrap();
    }

    /// The command line of the README; where the lab keeps a node's things comes from the environment.
    fn start(&self) -> Process {
        let node = &self.lab.nodes[0];
        fs::create_dir_all(&node.agent.run_dir).unwrap();
        let mut command = node.host.command(binary().unwrap()).unwrap();
        command.args(["agent", "--node-name", &node.name, "--manifests"]).arg(&self.dir);
        let roots: [(&str, &Path); 3] = [
            ("SHUNT_RUN_DIR", &node.agent.run_dir),
            ("SHUNT_BPF_ROOT", &node.agent.bpf_root),
            ("SHUNT_CGROUP_ROOT", &node.agent.cgroup_root),
        ];
        let log = File::create(node.agent.log()).unwrap();
        command.envs(roots).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Process::new(command.spawn().unwrap())
    }
}

fn service(name: &str, node_port: u16) -> String {
    let last = node_port - 31499;
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: default}}\nspec:\n  type: NodePort\n  \
         clusterIP: 10.96.44.{last}\n  clusterIPs: [10.96.44.{last}]\n  ipFamilies: [IPv4]\n  \
         ports: [{{name: http, port: 80, targetPort: 8080, nodePort: {node_port}}}]\n"
    )
}

fn slice(service: &str, address: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\nmetadata:\n  name: {service}-1\n  \
         namespace: default\n  labels: {{kubernetes.io/service-name: {service}}}\n\
         endpoints: [{{addresses: [{address}], conditions: {{ready: true}}}}]\n\
         ports: [{{name: http, port: 8080, protocol: TCP}}]\n"
    )
}
