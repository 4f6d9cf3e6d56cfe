//! A whole lab: networks, API, nodes, pods and agents, from a topology.

use crate::agent::{Agent, beside};
use crate::api::{Api, Handle, Kind, Options};
use crate::net::netns::Netns;
use crate::net::underlay::Underlay;
use crate::net::{plan, pods, underlay};
use crate::place::{Place, Process};
use crate::topology::{Families, Topology};
use crate::{bpffs, cgroup, kubelet, objects, patience, state};
use anyhow::{Context, Result, anyhow, bail};
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use crate::client::{background, finish, http, probe, repeat, repeat_udp, udp};
pub use crate::state::{clean, names};

/// A pod with its server.
#[derive(Debug)]
pub struct Pod {
    /// `podN-I`.
    pub name: String,
    /// Where its processes run.
    pub place: Place,
    /// Its addresses.
    pub addresses: plan::Addresses,
    server: Mutex<Option<Server>>,
}

/// A pod's server, and the name that it answers with.
#[derive(Debug)]
struct Server {
    name: String,
    _process: Process,
}

impl Pod {
    /// Kills its server: what is connected to it breaks, and nobody answers any more.
    pub fn stop_server(&self) {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Has a server answer by this name, a new one unless that name answers already, and waits until it listens: as
    /// when a pod is replaced by one of a newer version. It ends with the calling thread.
    pub fn serve_as(&self, name: &str) -> Result<()> {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if server.as_ref().is_some_and(|server| server.name == name) {
            return Ok(());
        }
        // The ports must be free before the next one wants them.
        drop(server.take());
        *server = Some(start_server(&self.place, name)?);
        let (at, end) =
            (SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)), Instant::now() + patience::seconds(10));
        while http(&self.place.outside_cgroup(), at, "/hostname")?.body() != Some(name) {
            if Instant::now() > end {
                bail!("the server of {} does not listen as {name}", self.name);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
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
    _lock: File,
}

impl Lab {
    /// Brings a lab up, agents included, and waits until they are ready.
    pub fn up(topology: Topology) -> Result<Self> {
        let mut lab = Self::without_agents(topology)?;
        for node in &mut lab.nodes {
            node.agent.start()?;
        }
        for node in &lab.nodes {
            node.agent.wait_ready(patience::seconds(30))?;
        }
        Ok(lab)
    }

    /// Brings up everything but the agents.
    pub fn without_agents(topology: Topology) -> Result<Self> {
        topology.check().map_err(|why| anyhow!(why))?;
        let lock = state::lock()?;
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
        let dir = state::take(&topology.name)?;
        bpffs::mount(&dir.join("bpf"))?;
        let cgroups = cgroup::root(&topology.name)?;
        let underlay = underlay::build(&topology)?;
        let (api, kubectl) = serve_api(&topology, &underlay, &dir)?;
        let handle = api.handle();
        let mut nodes = Vec::new();
        for i in 1..=topology.nodes {
            handle.put(objects::node(i, topology.families)).map_err(|e| anyhow!("node object: {e:?}"))?;
            nodes.push(build_node(&topology, &underlay, &dir, &cgroups, &handle, i)?);
        }
        let client = Place { name: "client".into(), netns: underlay.client, cgroup: None };
        Ok(Self { topology, nodes, client, kubectl, api, dir, _lock: lock })
    }

    /// Tells the API of a pod: it is running and ready. Its server runs on in the cgroup that it has, also when the API takes
    /// it for another pod of that name.
    pub fn put_pod(&self, node: usize, i: usize) -> Result<()> {
        put_pod(&self.api(), self.topology.families, node, i).map(drop)
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

    /// The stock kubectl, made to talk to this lab's API.
    pub fn kubectl_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.args(args).env("KUBECONFIG", self.kubeconfig()).env("HOME", &self.dir);
        command
    }

    /// Runs it to its end.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        let done = self.kubectl_command(args).output();
        let done = done.context("kubectl is not here; `cargo xtask setup` installs it")?;
        if !done.status.success() {
            bail!("kubectl {}: {}", args.join(" "), String::from_utf8_lossy(&done.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }

    /// Waits until the API's controllers and then every agent have dealt with all changes so far.
    pub fn settle(&self) -> Result<()> {
        if !self.api().settle(patience::seconds(10)) {
            bail!("the endpoint-slice controller does not come to rest");
        }
        // An agent waits at most 100 ms for a burst to end before it applies it.
        std::thread::sleep(Duration::from_millis(400));
        for node in self.nodes.iter().filter(|node| node.agent.id().is_some()) {
            node.agent.wait_ready(patience::seconds(10))?;
        }
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.agent.kill();
        }
        self.nodes.clear();
        clean(&self.topology.name);
    }
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
    api: &Handle,
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
            let uid = put_pod(api, topology.families, i, p)?;
            let place = place(&name, &netns, &kubelet::make(&root, (i, p), &uid)?)?;
            let server = Mutex::new(Some(start_server(&place, &name)?));
            Ok(Pod { name, place, addresses: plan::pod(i, p), server })
        })
        .collect::<Result<_>>()?;
    let bpf = dir.join("bpf").join(&name);
    let agent = Agent::new(&name, host.clone(), dir, bpf, root, dir.join("agents.kubeconfig"));
    Ok(Node { name, host, addresses: plan::node(i), pods, agent })
}

/// Answers the pod's uid.
fn put_pod(api: &Handle, families: Families, node: usize, i: usize) -> Result<String> {
    let pod = objects::pod(node, i, families);
    let name = format!("pod{node}-{i}");
    api.put(pod).map_err(|e| anyhow!("pod object: {e:?}"))?;
    let stored = api.get(Kind::Pod, "default", &name).context("the pod that was just put")?;
    Ok(stored["metadata"]["uid"].as_str().context("a uid")?.to_owned())
}

fn place(name: &str, netns: &Netns, cgroup: &Path) -> Result<Place> {
    fs::create_dir_all(cgroup).with_context(|| format!("cgroup {}", cgroup.display()))?;
    Ok(Place { name: name.into(), netns: netns.clone(), cgroup: Some(cgroup.into()) })
}

fn start_server(place: &Place, name: &str) -> Result<Server> {
    let mut command = place.command(lab_binary()?)?;
    command.args(["netexec", "--name", name]).stdin(Stdio::null());
    let child = command.spawn().with_context(|| format!("the server of {name}"))?;
    Ok(Server { name: name.into(), _process: Process::new(child) })
}

/// Starts the API on the router's side and on the host's loopback, and writes the kubeconfigs for both.
fn serve_api(topology: &Topology, underlay: &Underlay, dir: &Path) -> Result<(Api, SocketAddr)> {
    let at = SocketAddr::new(plan::router_to_nodes().of(topology.families.first_is_v6()), plan::API_PORT);
    let nets = |both: &[&str; 2]| -> Vec<_> {
        let ours = topology.families.of(both);
        ours.into_iter().map(|net| net.parse().expect("a literal network")).collect()
    };
    let options = Options {
        advertise: Some((vec![at.ip()], at.port())),
        service_cidrs: nets(&plan::SERVICES),
        load_balancer_cidrs: nets(&plan::BALANCER),
        ..Options::default()
    };
    let api = Api::start(options)?;
    let inside = underlay.router.run(move || TcpListener::bind(at))??;
    api.serve(inside)?;
    let kubectl = api.serve(TcpListener::bind("127.0.0.1:0")?)?;
    fs::write(dir.join("kubeconfig"), kubeconfig(kubectl))?;
    fs::write(dir.join("agents.kubeconfig"), kubeconfig(at))?;
    Ok((api, kubectl))
}

fn kubeconfig(server: SocketAddr) -> String {
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: lab\n  cluster:\n    server: http://{server}\n\
         contexts:\n- name: lab\n  context:\n    cluster: lab\n    user: lab\ncurrent-context: lab\n\
         users:\n- name: lab\n  user: {{}}\n"
    )
}
