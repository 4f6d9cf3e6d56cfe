//! Coming up: load or adopt the datapath, take over what the maps hold, start the source.

use super::flows::Flows;
use super::interfaces::Interfaces;
use super::opt_out::OptOut;
use super::programming::Programming;
use super::reserved_ports::ReservedPorts;
use super::sockets::Sockets;
use super::sync::Progress;
use super::{Agent, Events, direct};
use crate::config::{Config, kube_proxy::Note};
use crate::devices::{Classified, NetState, Patterns, classify};
use crate::server::health_ports::HealthPorts;
use crate::server::rest_client_metrics::RestClient;
use crate::server::{Condition, Metrics};
use crate::sources::{kube, manifests};
use shunt_datapath::{Datapath, Repair, Settings};
use shunt_model::{MapStore, Model};
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

/// Events that a source may be ahead of the loop.
const QUEUE: usize = 1024;

/// SIGTERM and SIGINT.
pub(super) fn signals() -> Result<mpsc::Receiver<()>, String> {
    let (sender, stop) = mpsc::channel(1);
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signal = signal(kind).map_err(|e| format!("signals: {e}"))?;
        let sender = sender.clone();
        tokio::spawn(async move {
            if signal.recv().await.is_some() {
                _ = sender.send(()).await;
            }
        });
    }
    Ok(stop)
}

/// Tells what became of a kube-proxy configuration.
pub(super) fn log_notes(config: &Config) {
    for note in config.resolved.notes() {
        match note {
            Note::Info(text) => tracing::info!("{text}"),
            Note::Warning(text) => tracing::warn!("{text}"),
        }
    }
}

/// Refuses a node that lacks what the datapath needs, before anything is made on it.
pub(super) fn check(config: &Config) -> Result<(), String> {
    let settings = config.datapath_settings()?;
    super::mounts::bpffs(&settings.bpf_root);
    Datapath::check(&settings).map_err(|e| e.to_string())
}

/// Brings the datapath up and the model to what the maps hold.
///
/// Answers also where the passes over sockets tell of their end, and where a word comes when pods' cgroups come or go.
pub(super) fn start(
    config: Config,
    net: NetState,
    metrics: Arc<Metrics>,
    condition: watch::Sender<Condition>,
    client: Option<::kube::Client>,
) -> Result<(Agent, mpsc::Receiver<Repair>, mpsc::Receiver<()>), String> {
    let started = Instant::now();
    let patterns = Patterns::new(config.resolved.list("devices"));
    let node_ips: Vec<IpAddr> = config.node_address().into_iter().collect();
    let classified = classify(&net, &patterns, &node_ips);
    let (datapath, settings) = datapath(&config, &classified)?;
    let devices: Vec<u32> = classified.devices.keys().copied().collect();
    datapath.require_xdp(&devices).map_err(|e| e.to_string())?;
    let failed = |e: shunt_datapath::Error| e.to_string();
    let mut store = datapath.store().map_err(failed)?;
    let mut model = Model::new(config.model_options(), store.capacity());
    let actual = store.dump().map_err(|e| e.to_string())?;
    tracing::info!(
        node = %config.node_name,
        frontends = actual.frontends.len(),
        backends = actual.backends4.len() + actual.backends6.len(),
        bpf_root = %settings.bpf_root.display(),
        cgroup_root = %settings.cgroup_root.display(),
        "datapath up; took over what the maps held"
    );
    model.restore(&actual);
    let flows = Flows::new(datapath.expirer().map_err(failed)?);
    let clashes = super::health::tell_clashes(client, &config.node_name);
    let health_ports = HealthPorts::new(condition.subscribe(), clashes);
    let (sockets, ended) = Sockets::new(datapath.sockets().map_err(failed)?, config.ended_sockets());
    let (hint, cgroups) = mpsc::channel(1);
    let opt_out = OptOut::new(&config, &datapath, hint)?;
    let mut agent = Agent {
        source: source_name(&config),
        started,
        model,
        store,
        flows,
        sockets,
        opt_out,
        interfaces: Interfaces::default(),
        net,
        patterns,
        classified,
        node_ips,
        progress: Progress::new(config.min_sync_period()),
        programming: Programming::default(),
        condition,
        health_ports,
        source_problems: BTreeMap::new(),
        logged: HashSet::new(),
        down: BTreeMap::new(),
        listeners: BTreeMap::new(),
        metrics,
        datapath,
        config,
    };
    agent.update_addresses();
    protect_node_ports(&agent.config);
    Ok((agent, ended, cgroups))
}

/// Without it NodePorts work, but now and then a socket of the node is given one as its source port.
fn protect_node_ports(config: &Config) {
    let wanted =
        config.resolved.bool("nodePort.enabled") && config.resolved.bool("nodePort.autoProtectPortRange");
    if !wanted {
        return;
    }
    if let Err(error) =
        ReservedPorts::new(Path::new(config.resolved.text("runDir"))).reserve(config.node_port_range())
    {
        tracing::warn!(
            %error,
            "cannot add nodePort.range to net.ipv4.ip_local_reserved_ports: add it yourself, or set \
             nodePort.autoProtectPortRange to false"
        );
    }
}

/// Loads or adopts programs and maps.
pub(super) fn datapath(config: &Config, classified: &Classified) -> Result<(Datapath, Settings), String> {
    let mut settings = config.datapath_settings()?;
    for addr in &classified.primary {
        match addr {
            IpAddr::V4(addr) => settings.node4 = Some(*addr),
            IpAddr::V6(addr) => settings.node6 = Some(*addr),
        }
    }
    // What services will ask for is not known yet, so a node that could not carry it falls back for all.
    let found = direct::look(config, classified, true);
    settings.features |= direct::features(&found);
    direct::tell(config, &found);
    let datapath = Datapath::start(&settings).map_err(|e| e.to_string())?;
    Ok((datapath, settings))
}

fn source_name(config: &Config) -> (&'static str, String) {
    match config.path("manifests") {
        Some(dir) => ("Manifests", dir.display().to_string()),
        None => match access(config) {
            kube::Access::Kubeconfig(path, None) => ("Kubernetes", format!("kubeconfig {}", path.display())),
            kube::Access::Kubeconfig(path, Some(url)) => {
                ("Kubernetes", format!("{url} by kubeconfig {}", path.display()))
            }
            kube::Access::Host(host, port) => ("Kubernetes", format!("{host} port {port}")),
            kube::Access::InCluster => ("Kubernetes", "in cluster".into()),
        },
    }
}

/// How the API server is reached.
pub(crate) fn access(config: &Config) -> kube::Access {
    let port = u16::try_from(config.resolved.number("k8sServicePort")).unwrap_or(6443);
    match (config.path("kubeconfig"), config.resolved.text("k8sServiceHost")) {
        (Some(path), "") => kube::Access::Kubeconfig(path, None),
        (Some(path), host) => kube::Access::Kubeconfig(path, Some(kube::url(host, port))),
        (None, "") => kube::Access::InCluster,
        (None, host) => kube::Access::Host(host.into(), port),
    }
}

/// Starts the source that the configuration names.
pub(super) async fn source(
    config: &Config,
    metrics: &RestClient,
) -> Result<(Events, Option<::kube::Client>), String> {
    let (sender, events) = mpsc::channel(QUEUE);
    if let Some(dir) = config.path("manifests") {
        tokio::spawn(async move { manifests::watch(&dir, sender).await });
        return Ok((events, None));
    }
    let client = kube::connect(&access(config), metrics).await?;
    let label = config.resolved.text("socketLB.optOutLabel");
    let wanted = kube::Wanted {
        node: config.node_name.clone(),
        proxy: config.resolved.text("k8s.serviceProxyName").into(),
        pods: config.resolved.bool("hostPort.enabled") || !label.is_empty(),
        namespaces: label.into(),
    };
    let watching = client.clone();
    tokio::spawn(async move { kube::watch(watching, &wanted, sender).await });
    Ok((events, Some(client)))
}
