//! A kubeadm DaemonSet with only the image changed: the same command line, the same two files.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use shunt_e2e::{eventually, eventually_answers, json, node_port};
use shunt_lab::agent::binary;
use shunt_lab::cluster::Lab;
use shunt_lab::demo::apply_examples;
use shunt_lab::place::Process;
use shunt_lab::topology::{Style, Topology};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What kubeadm writes to the ConfigMap's key `config.conf`, as far as it says anything.
const CONFIG: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
bindAddress: 0.0.0.0
clientConnection:
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
clusterCIDR: 10.244.0.0/16
conntrack:
  maxPerCore: 1024
  min: 4096
  tcpEstablishedTimeout: 24h0m0s
healthzBindAddress: \"\"
mode: \"\"
nodePortAddresses: null
oomScoreAdj: 10
oldField: from another version
iptables:
  minSyncPeriod: 3s
configSyncPeriod: 15m0s
";

struct DropIn {
    lab: Lab,
    binary: PathBuf,
    config: PathBuf,
}

#[test]
fn called_as_kube_proxy_with_kubeadms_files_it_serves() {
    let mut lab = Lab::up(Topology { nodes: 2, ..Topology::new("dropin", Style::Routed) }).unwrap();
    apply_examples(&lab).unwrap();
    lab.nodes[0].agent.term().unwrap();
    // The ConfigMap, as a pod has it mounted: both keys in one folder.
    let dir = lab.dir().join("kube-proxy");
    std::fs::create_dir(&dir).unwrap();
    let (config, binary_path) = (dir.join("config.conf"), dir.join("kube-proxy"));
    std::fs::write(&config, CONFIG).unwrap();
    std::fs::copy(lab.dir().join("agents.kubeconfig"), dir.join("kubeconfig.conf")).unwrap();
    std::fs::copy(binary().unwrap(), &binary_path).unwrap();
    let drop_in = DropIn { lab, binary: binary_path, config };
    drop_in.init_only();
    drop_in.serves();
    drop_in.cleanup();
}

impl DropIn {
    /// kubeadm's command line; where the lab keeps a node's things is no business of it.
    fn command(&self, more: &[&str]) -> Command {
        let node = &self.lab.nodes[0];
        let mut command = node.host.command(&self.binary).unwrap();
        command.arg(format!("--config={}", self.config.display()));
        command.arg(format!("--hostname-override={}", node.name)).args(more);
        command.env("SHUNT_RUN_DIR", &node.agent.run_dir).env("SHUNT_BPF_ROOT", &node.agent.bpf_root);
        command.env("SHUNT_CGROUP_ROOT", &node.agent.cgroup_root);
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, more: &[&str]) -> Output {
        let done = self.command(more).output().unwrap();
        assert!(done.status.success(), "{more:?}: {}", String::from_utf8_lossy(&done.stderr));
        done
    }

    fn init_only(&self) {
        let log = String::from_utf8(self.run(&["--init-only"]).stderr).unwrap();
        assert!(log.contains("loaded and pinned"), "{log}");
        assert!(log.contains("accepted and ignored: configSyncPeriod"), "{log}");
        assert!(log.contains("does not have are ignored: oldField"), "{log}");
        assert!(log.contains("NodePorts answer on the node's primary addresses"), "{log}");
    }

    fn serves(&self) {
        let agent = &self.lab.nodes[0].agent;
        let mut running = Process::new(self.command(&["--v=2"]).stderr(Stdio::null()).spawn().unwrap());
        agent.wait_ready(Duration::from_secs(30)).unwrap();
        eventually_answers(&self.lab.client, node_port(&self.lab, 0, 30080));
        let view = json(agent, "config view");
        let of = |key: &str| view.as_array().unwrap().iter().find(|s| s["key"] == key).unwrap().clone();
        assert_eq!(of("nodeName")["origin"], "flag --hostname-override");
        assert_eq!(of("flows.tcpEstablishedTimeout")["value"], "24h0m0s");
        let origin = of("flows.tcpEstablishedTimeout")["origin"].as_str().unwrap().to_owned();
        assert_eq!(origin, format!("kube-proxy config {}:10", self.config.display()));
        assert_eq!(of("clusterCIDR")["value"], serde_json::json!(["10.244.0.0/16"]));
        let beside = self.config.with_file_name("kubeconfig.conf");
        assert_eq!(of("kubeconfig")["value"].as_str().map(Path::new), Some(beside.as_path()));
        let score = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", running.id())).unwrap();
        // A score below the own one needs a right that tests may lack.
        assert_eq!(score.trim(), "10");
        self.changes_wait_for_the_least_period();
        running.term().unwrap();
    }

    fn changes_wait_for_the_least_period(&self) {
        let agent = &self.lab.nodes[0].agent;
        let put = |name: &str, node_port: u16| {
            let service = serde_json::json!({"apiVersion": "v1", "kind": "Service",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"type": "NodePort", "selector": {"app": "web"},
                    "ports": [{"port": 80, "targetPort": 8080, "nodePort": node_port}]}});
            self.lab.api().put(service).unwrap();
        };
        put("first", 31771);
        eventually_answers(&self.lab.client, node_port(&self.lab, 0, 31771));
        // Its endpoints have just been written.
        put("second", 31772);
        let put_at = Instant::now();
        assert_eq!(agent.ask(&["status", "--brief"]).unwrap(), "OK\n");
        assert!(put_at.elapsed() < Duration::from_secs(2), "the agent answers while changes wait");
        eventually("the second service is written", || {
            let rows = agent.ask(&["bpf", "lb", "list"]).map_err(|e| e.to_string())?;
            if rows.contains(":31772/TCP") { Ok(()) } else { Err(rows) }
        });
        let waited = put_at.elapsed();
        assert!(waited > Duration::from_secs(2) && waited < Duration::from_secs(6), "{waited:?}");
    }

    fn cleanup(&self) {
        let done = self.run(&["--cleanup"]);
        assert!(String::from_utf8_lossy(&done.stdout).contains("removed "), "{done:?}");
    }
}
