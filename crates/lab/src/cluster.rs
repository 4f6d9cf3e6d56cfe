//! A whole lab: networks, API, nodes, pods and agents, from a topology.

use crate::agent::{Agent, beside};
use crate::api::{Api, Handle, Options};
use crate::net::netns::{self, Netns};
use crate::net::underlay::Underlay;
use crate::net::{plan, pods, underlay};
use crate::place::{Place, Process};
use crate::probe::{Answer, Datagram, Tries};
use crate::topology::{Topology, netns_prefix};
use crate::{bpffs, cgroup, objects};
use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// A pod with its server.
#[derive(Debug)]
pub struct Pod {
    /// `podN-I`.
    pub name: String,
    /// Where its processes run.
    pub place: Place,
    /// Its addresses.
    pub addresses: plan::Addresses,
    _server: Process,
}

/// A node.
#[derive(Debug)]
pub struct Node {
    /// `nodeN`.
    pub name: String,
    /// Where the node's own processes run.
    pub host: Place,
    /// Its addresses.
    pub addresses: plan::Addresses,
    /// Its pods.
    pub pods: Vec<Pod>,
    /// Its agent.
    pub agent: Agent,
}

/// A running lab. Dropping it removes everything.
pub struct Lab {
    /// What it was made from.
    pub topology: Topology,
    /// Its nodes.
    pub nodes: Vec<Node>,
    /// The client outside.
    pub client: Place,
    /// Where kubectl reaches the API.
    pub kubectl: SocketAddr,
    api: Api,
    dir: PathBuf,
    /// Keep everything when dropped.
    kept: bool,
    _lock: File,
}

/// Files of all labs.
const RUN: &str = "/run/shunt-lab";

impl Lab {
    /// Brings a lab up, agents included, and waits until they are ready.
    pub fn up(topology: Topology) -> Result<Self> {
        let mut lab = Self::without_agents(topology)?;
        for node in &mut lab.nodes {
            node.agent.start()?;
        }
        for node in &lab.nodes {
            node.agent.wait_ready(Duration::from_secs(30))?;
        }
        Ok(lab)
    }

    /// Brings up everything but the agents.
    pub fn without_agents(topology: Topology) -> Result<Self> {
        let lock = lock()?;
        clean(&topology.name);
        match Self::build(topology.clone(), lock) {
            Ok(lab) => Ok(lab),
            Err(error) => {
                clean(&topology.name);
                Err(error)
            }
        }
    }

    fn build(topology: Topology, lock: File) -> Result<Self> {
        let dir = Path::new(RUN).join(&topology.name);
        fs::create_dir_all(&dir)?;
        bpffs::mount(&dir.join("bpf"))?;
        let cgroups = cgroup::root(&topology.name)?;
        let underlay = underlay::build(&topology)?;
        let (api, kubectl) = serve_api(&underlay, &dir)?;
        let handle = api.handle();
        let mut nodes = Vec::new();
        for i in 1..=topology.nodes {
            handle.put(objects::node(i)).map_err(|e| anyhow::anyhow!("node object: {e:?}"))?;
            nodes.push(build_node(&topology, &underlay, &dir, &cgroups, i)?);
        }
        let client = Place { name: "client".into(), netns: underlay.client, cgroup: None };
        let lab = Self { topology, nodes, client, kubectl, api, dir, kept: false, _lock: lock };
        for (n, i) in lab.pod_numbers() {
            lab.put_pod(n, i)?;
        }
        Ok(lab)
    }

    fn pod_numbers(&self) -> Vec<(usize, usize)> {
        let pods = self.topology.pods;
        (1..=self.topology.nodes).flat_map(|n| (1..=pods).map(move |i| (n, i))).collect()
    }

    /// Tells the API of a pod: it is running and ready.
    pub fn put_pod(&self, node: usize, i: usize) -> Result<()> {
        self.api().put(objects::pod(node, i)).map(drop).map_err(|e| anyhow::anyhow!("pod object: {e:?}"))
    }

    /// The API, without HTTP.
    pub fn api(&self) -> Handle {
        self.api.handle()
    }

    /// The lab's own files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The kubeconfig for kubectl on the host.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    /// Runs the stock kubectl on this lab's API.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        let done = std::process::Command::new("kubectl")
            .args(args)
            .env("KUBECONFIG", self.kubeconfig())
            .env("HOME", &self.dir)
            .output()
            .context("kubectl is not here; `cargo xtask setup` installs it")?;
        if !done.status.success() {
            bail!("kubectl {}: {}", args.join(" "), String::from_utf8_lossy(&done.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }

    /// Waits until the API's controllers and then every agent have dealt with all changes so far.
    pub fn settle(&self) -> Result<()> {
        if !self.api().settle(Duration::from_secs(10)) {
            bail!("the endpoint-slice controller does not come to rest");
        }
        // An agent waits at most 100 ms for a burst to end before it applies it.
        std::thread::sleep(Duration::from_millis(400));
        for node in self.nodes.iter().filter(|node| node.agent.id().is_some()) {
            node.agent.wait_ready(Duration::from_secs(10))?;
        }
        Ok(())
    }

    /// Leaves everything up when this process ends.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        for node in &mut self.nodes {
            node.agent.kill();
        }
        self.nodes.clear();
        clean(&self.topology.name);
    }
}

/// Runs a probe process in a place and reads what it found.
pub fn probe<T: DeserializeOwned>(place: &Place, args: &[&str]) -> Result<T> {
    let mut command = place.command(lab_binary()?)?;
    let done = command.arg("probe").args(args).stdin(Stdio::null()).output()?;
    if !done.status.success() {
        bail!("probe {} from {}: {}", args.join(" "), place.name, String::from_utf8_lossy(&done.stderr));
    }
    serde_json::from_slice(&done.stdout).with_context(|| format!("probe {}", args.join(" ")))
}

/// One HTTP GET from a place.
pub fn http(place: &Place, addr: SocketAddr, path: &str) -> Result<Answer> {
    probe(place, &["http", &addr.to_string(), path])
}

/// One UDP exchange from a place.
pub fn udp(place: &Place, addr: SocketAddr, connected: bool) -> Result<Datagram> {
    let addr = addr.to_string();
    let mut args = vec!["udp", &addr];
    if connected {
        args.push("--connected");
    }
    probe(place, &args)
}

/// Some HTTP GETs from a place, each on its own connection.
pub fn repeat(place: &Place, addr: SocketAddr, count: u32) -> Result<Tries> {
    probe(place, &["repeat", &addr.to_string(), "--count", &count.to_string()])
}

/// A probe that runs until its standard input is closed.
pub fn background(place: &Place, args: &[String]) -> Result<Process> {
    let mut command = place.command(lab_binary()?)?;
    command.arg("probe").args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    Ok(Process::new(command.spawn()?))
}

/// Ends a background probe and reads what it found: its last line.
pub fn finish<T: DeserializeOwned>(mut process: Process) -> Result<T> {
    drop(process.child().stdin.take());
    let mut text = String::new();
    let mut out = process.child().stdout.take().context("a pipe")?;
    std::io::Read::read_to_string(&mut out, &mut text)?;
    process.child().wait()?;
    let last = text.lines().last().context("the probe said nothing")?;
    serde_json::from_str(last).with_context(|| text.clone())
}

/// `shunt-lab` itself: it serves and probes in its places.
pub fn lab_binary() -> Result<PathBuf> {
    match std::env::var_os("SHUNT_BIN") {
        Some(shunt) => Ok(Path::new(&shunt).with_file_name("shunt-lab")),
        None => beside("shunt-lab"),
    }
}

fn build_node(
    topology: &Topology,
    underlay: &Underlay,
    dir: &Path,
    cgroups: &Path,
    i: usize,
) -> Result<Node> {
    let name = format!("node{i}");
    let netns = underlay::add_node(topology, underlay, i)?;
    pods::prepare_node(topology, &netns, i)?;
    let root = cgroups.join(&name);
    let host = place(&name, &netns, &root.join("host"))?;
    let pods = (1..=topology.pods)
        .map(|p| {
            let name = format!("pod{i}-{p}");
            let netns = pods::add_pod(topology, &netns, i, p)?;
            let place = place(&name, &netns, &root.join(&name))?;
            let server = start_server(&place, &name)?;
            Ok(Pod { name, place, addresses: plan::pod(i, p), _server: server })
        })
        .collect::<Result<_>>()?;
    let bpf = dir.join("bpf").join(&name);
    let agent = Agent::new(&name, host.clone(), dir, bpf, root, dir.join("agents.kubeconfig"));
    Ok(Node { name, host, addresses: plan::node(i), pods, agent })
}

fn place(name: &str, netns: &Netns, cgroup: &Path) -> Result<Place> {
    fs::create_dir_all(cgroup).with_context(|| format!("cgroup {}", cgroup.display()))?;
    Ok(Place { name: name.into(), netns: netns.clone(), cgroup: Some(cgroup.into()) })
}

fn start_server(place: &Place, name: &str) -> Result<Process> {
    let mut command = place.command(lab_binary()?)?;
    command.args(["netexec", "--name", name]).stdin(Stdio::null());
    Ok(Process::new(command.spawn().with_context(|| format!("the server of {name}"))?))
}

/// Starts the API on the router's side and on the host's loopback, and writes the kubeconfigs for both.
fn serve_api(underlay: &Underlay, dir: &Path) -> Result<(Api, SocketAddr)> {
    let at = plan::router_to_nodes().v4;
    let net = |text: &str| text.parse().expect("a literal network");
    let options = Options {
        advertise: Some((vec![at.into()], plan::API_PORT)),
        load_balancer_cidrs: plan::BALANCER.map(net).to_vec(),
        ..Options::default()
    };
    let api = Api::start(options)?;
    let inside = underlay.router.run(move || TcpListener::bind((at, plan::API_PORT)))??;
    api.serve(inside)?;
    let kubectl = api.serve(TcpListener::bind("127.0.0.1:0")?)?;
    fs::write(dir.join("kubeconfig"), kubeconfig(kubectl))?;
    fs::write(dir.join("agents.kubeconfig"), kubeconfig((at, plan::API_PORT).into()))?;
    Ok((api, kubectl))
}

fn kubeconfig(server: SocketAddr) -> String {
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: lab\n  cluster:\n    server: http://{server}\n\
         contexts:\n- name: lab\n  context:\n    cluster: lab\n    user: lab\ncurrent-context: lab\n\
         users:\n- name: lab\n  user: {{}}\n"
    )
}

/// One lab at a time: they are heavy, and their figures would disturb each other.
fn lock() -> Result<File> {
    fs::create_dir_all(RUN)?;
    let file = File::create(Path::new(RUN).join("lock"))?;
    file.lock()?;
    Ok(file)
}

/// Removes everything of a lab by name, whoever made it: after a crash too. Fine when there is nothing.
pub fn clean(name: &str) {
    let dir = Path::new(RUN).join(name);
    if let Ok(root) = cgroup::root(name) {
        cgroup::remove(&root);
    }
    for netns in netns::with_prefix(&netns_prefix(name)) {
        // Removed meanwhile is as good.
        let _ = netns.remove();
    }
    bpffs::unmount(&dir.join("bpf"));
    let _ = fs::remove_dir_all(&dir);
}

/// Names of labs that are up, or were not taken down.
pub fn names() -> Vec<String> {
    let Ok(entries) = fs::read_dir(RUN) else { return Vec::new() };
    entries.flatten().filter(|e| e.path().is_dir()).filter_map(|e| e.file_name().into_string().ok()).collect()
}
