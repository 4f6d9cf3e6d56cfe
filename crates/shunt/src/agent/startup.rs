//! Coming up: load or adopt the datapath, take over what the maps hold, start the source.

use super::flows::Flows;
use super::interfaces::Interfaces;
use super::sockets::Sockets;
use super::sync::Progress;
use super::{Agent, Events};
use crate::config::Config;
use crate::devices::{NetState, Patterns, classify};
use crate::server::Metrics;
use crate::sources::{kube, manifests};
use shunt_datapath::{Datapath, Repair};
use shunt_model::{MapStore, Model};
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

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

/// Brings the datapath up and the model to what the maps hold.
///
/// Answers also where the passes over sockets tell of their end.
pub(super) fn start(
    config: Config,
    net: NetState,
    metrics: Arc<Metrics>,
) -> Result<(Agent, mpsc::Receiver<Repair>), String> {
    let started = Instant::now();
    let patterns = Patterns::new(config.resolved.list("devices"));
    let classified = classify(&net, &patterns, &[]);
    let mut settings = config.datapath_settings()?;
    for addr in &classified.primary {
        match addr {
            IpAddr::V4(addr) => settings.node4 = Some(*addr),
            IpAddr::V6(addr) => settings.node6 = Some(*addr),
        }
    }
    let failed = |e: shunt_datapath::Error| e.to_string();
    let datapath = Datapath::start(&settings).map_err(failed)?;
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
    let (sockets, ended) = Sockets::new(datapath.sockets().map_err(failed)?, config.ended_sockets());
    let mut agent = Agent {
        source: source_name(&config),
        started,
        model,
        store,
        flows,
        sockets,
        interfaces: Interfaces::default(),
        net,
        patterns,
        classified,
        node_ips: Vec::new(),
        progress: Progress::default(),
        source_problems: BTreeMap::new(),
        logged: HashSet::new(),
        down: BTreeMap::new(),
        listeners: BTreeMap::new(),
        metrics,
        datapath,
        config,
    };
    agent.update_addresses();
    Ok((agent, ended))
}

fn source_name(config: &Config) -> (&'static str, String) {
    match config.path("manifests") {
        Some(dir) => ("Manifests", dir.display().to_string()),
        None => match access(config) {
            kube::Access::Kubeconfig(path) => ("Kubernetes", format!("kubeconfig {}", path.display())),
            kube::Access::Host(host, port) => ("Kubernetes", format!("{host} port {port}")),
            kube::Access::InCluster => ("Kubernetes", "in cluster".into()),
        },
    }
}

fn access(config: &Config) -> kube::Access {
    let port = u16::try_from(config.resolved.number("k8sServicePort")).unwrap_or(6443);
    match (config.path("kubeconfig"), config.resolved.text("k8sServiceHost")) {
        (Some(path), _) => kube::Access::Kubeconfig(path),
        (None, "") => kube::Access::InCluster,
        (None, host) => kube::Access::Host(host.into(), port),
    }
}

/// Starts the source that the configuration names.
pub(super) async fn source(config: &Config) -> Result<Events, String> {
    let (sender, events) = mpsc::channel(QUEUE);
    if let Some(dir) = config.path("manifests") {
        tokio::spawn(async move { manifests::watch(&dir, sender).await });
    } else {
        let client = kube::connect(&access(config)).await?;
        let node = config.node_name.clone();
        tokio::spawn(async move { kube::watch(client, &node, sender).await });
    }
    Ok(events)
}
