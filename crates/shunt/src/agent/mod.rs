//! The agent: one loop that owns the model and the datapath. Sources, netlink and servers talk to it through channels.

mod answers;
mod batch;
mod departed;
pub(crate) mod direct;
mod flows;
mod health;
mod interfaces;
mod mounts;
mod oom;
mod opt_out;
mod programming;
pub(crate) mod reserved_ports;
mod sockets;
mod startup;
mod sync;

use crate::config::Config;
use crate::devices::{self, Classified, NetState, Patterns};
use crate::server::health_ports::HealthPorts;
use crate::server::{Condition, Metrics, Query};
use crate::sources::Event;
use flows::Flows;
use interfaces::Interfaces;
use opt_out::OptOut;
use programming::Programming;
use shunt_datapath::{Datapath, KernelStore};
use shunt_model::objects::Kind;
use shunt_model::{Model, Problem};
use sockets::Sockets;
pub(crate) use startup::access;
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use sync::Progress;
use tokio::sync::{mpsc, watch};
use tokio::time::{interval_at, sleep_until};

/// The loop's state.
pub(crate) struct Agent {
    config: Config,
    started: Instant,
    source: (&'static str, String),
    model: Model,
    datapath: Datapath,
    store: KernelStore,
    flows: Flows,
    sockets: Sockets,
    /// `None` where `socketLB.optOutLabel` names no label.
    opt_out: Option<OptOut>,
    interfaces: Interfaces,
    net: NetState,
    patterns: Patterns,
    classified: Classified,
    /// The InternalIPs that this node's object names.
    node_ips: Vec<IpAddr>,
    progress: Progress,
    programming: Programming,
    condition: watch::Sender<Condition>,
    health_ports: HealthPorts,
    /// Problems that sources tell, by what they are about.
    source_problems: BTreeMap<String, Vec<Problem>>,
    /// Problems that are in the log already.
    logged: HashSet<Problem>,
    down: BTreeMap<Kind, String>,
    /// Listeners that are down, by configuration key.
    listeners: BTreeMap<String, String>,
    metrics: Arc<Metrics>,
}

/// Runs until SIGTERM or SIGINT; the datapath stays attached and pinned.
///
/// # Errors
/// One message about what keeps it from starting, and what to do.
pub async fn run(config: Config) -> Result<(), String> {
    startup::log_notes(&config);
    startup::check(&config)?;
    let mut stop = startup::signals()?;
    let monitor = devices::monitor()?;
    let net = monitor.read().await?;
    let mut links = monitor.follow(net.clone());
    let (query_sender, mut queries) = mpsc::channel(16);
    let metrics = Arc::new(Metrics::default());
    oom::adjust(config.oom_score_adj());
    let (condition, seen) = watch::channel(health::first(&config));
    let (mut events, client) = startup::source(&config, &metrics.rest_client).await?;
    // The socket before the datapath: it tells when another agent is at work already. Nothing awaits in between, so that
    // no server or source can say a word before a refusal, which is then the only one.
    crate::server::start(&config, metrics.clone(), seen, query_sender)?;
    let (mut agent, mut ended, mut cgroups) = startup::start(config, net, metrics, condition, client)?;
    agent.apply_interfaces();
    let resync = agent.config.resync_period();
    let mut verify = interval_at(tokio::time::Instant::now() + resync, resync);
    let mut beat = interval_at(tokio::time::Instant::now(), health::BEAT);
    loop {
        tokio::select! {
            _ = stop.recv() => break,
            Some(event) = events.recv() => agent.take_batch(event, &mut events).await,
            Some(state) = links.recv() => agent.links_changed(state),
            Some(query) = queries.recv() => agent.answer(query),
            () = sleep_until(agent.progress.next().into()) => agent.sync(),
            () = sleep_until(agent.flows.next.into()) => agent.flows.step(&agent.metrics),
            () = sleep_until(agent.sockets.next().into()) => agent.end_departed(),
            Some(repair) = ended.recv() => agent.sockets_ended(repair),
            Some(()) = cgroups.recv() => agent.place_opt_outs(false),
            () = sleep_until(agent.next_opt_out().into()) => agent.place_opt_outs(true),
            () = sleep_until(agent.interfaces.retry_at.into()) => agent.apply_interfaces(),
            _ = verify.tick() => agent.verify(),
            _ = beat.tick() => {}
        }
        agent.publish_condition();
    }
    tracing::info!("stopping; the datapath stays attached and goes on");
    Ok(())
}

/// `--init-only`: all that needs the most rights, then the end. It checks the node, loads and pins programs and maps, or
/// adopts those of an earlier agent, and attaches the socket hooks; no API server is asked, and nothing is removed.
///
/// # Errors
/// One message about what keeps the datapath from coming up, and what to do.
pub async fn init(config: Config) -> Result<(), String> {
    startup::log_notes(&config);
    let net = devices::monitor()?.read().await?;
    let node_ips: Vec<IpAddr> = config.node_address().into_iter().collect();
    let classified = devices::classify(&net, &Patterns::new(config.resolved.list("devices")), &node_ips);
    startup::check(&config)?;
    startup::datapath(&config, &classified)?;
    tracing::info!("programs and maps are loaded and pinned; an agent may take over");
    Ok(())
}

/// A moment that never comes, for timers that are off.
pub(crate) fn never() -> Instant {
    Instant::now() + Duration::from_secs(365 * 24 * 3600)
}

/// The type of events on their way here.
pub(crate) type Events = mpsc::Receiver<Event>;

impl Agent {
    fn links_changed(&mut self, state: Result<NetState, String>) {
        match state {
            Ok(state) => {
                self.interfaces.unread = None;
                self.net = state;
                self.reclassify();
                self.sync();
            }
            Err(error) => {
                // Each failed try says the same.
                if self.interfaces.unread.as_ref() != Some(&error) {
                    tracing::warn!(%error, "cannot read interfaces; those known stay as they are");
                }
                self.interfaces.unread = Some(error);
            }
        }
    }

    fn answer(&mut self, query: Query) {
        // Whoever asked may be gone by now.
        match query {
            Query::Status(to) => _ = to.send(self.status()),
            Query::Services(to) => _ = to.send(self.model.services().collect()),
            Query::Gauges(to) => {
                self.update_gauges();
                _ = to.send(());
            }
            Query::Listener(key, None) => _ = self.listeners.remove(&key),
            Query::Listener(key, Some(error)) => _ = self.listeners.insert(key, error),
        }
    }
}
