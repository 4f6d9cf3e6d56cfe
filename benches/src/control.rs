//! The control plane: how long from an agent's start, and from a change of one endpoint, until packets meet it, and what
//! the agent costs, on clusters of three sizes.
//!
//! Everything is watched from outside: the pinned maps tell when something is in effect.

use crate::process;
use crate::report::Report;
use crate::services::{self, Service};
use crate::stats::Sample;
use anyhow::{Context, Result, bail};
use shunt_common::{Frontend, FrontendKey, FrontendKind, Ip4, PortBe, Proto, Scope, frontend_flag};
use shunt_datapath::dump::Reader;
use shunt_lab::cluster::Lab;
use shunt_lab::topology::{Style, Topology};
use std::net::SocketAddrV4;
use std::thread;
use std::time::{Duration, Instant};

/// Numbers of services, balanced at random.
const CLUSTERS: [usize; 3] = [10, 1_000, 10_000];
/// The last again, with a Maglev table for each: what tables add to the start, to a change and to the maps.
const BY_TABLE: usize = 10_000;
const ENDPOINTS: usize = 10;
/// Starts measured on each, each without anything pinned.
const STARTS: usize = 3;
/// Changes measured on each.
const CHANGES: usize = 300;
/// Between changes: longer than anything that the agent does after one.
const PAUSE: Duration = Duration::from_millis(20);
/// Between looks at the maps.
const LOOK: Duration = Duration::from_micros(100);
const PATIENCE: Duration = Duration::from_secs(120);

/// Made-up endpoints that come in by a change count from here.
const FRESH: usize = 300_000;
/// Far from every other service's number, and prime to the sizes: changes go all over the cluster.
const STRIDE: usize = 7919;

/// Measures every cluster.
pub fn run() -> Result<Report> {
    let columns = [
        "services x endpoints",
        "start s",
        "change p50 ms",
        "p99",
        "max",
        "CPU ms/change",
        "RSS MB",
        "anon",
        "after changes",
        "anon",
        "maps MB",
    ];
    let mut report = Report::new("control", &columns);
    let mut medians = Vec::new();
    for count in CLUSTERS {
        let cost = cluster(count, "random", &mut report);
        medians.push(cost.with_context(|| format!("{count} services"))?);
    }
    let ratio = |of: fn(&Cost) -> f64| format!("{:.2}", of(&medians[CLUSTERS.len() - 1]) / of(&medians[0]));
    let mut row = vec![String::new(); columns.len()];
    row[0] = "the last by the first".into();
    row[2] = ratio(|cost| cost.median);
    row[5] = ratio(|cost| cost.cpu);
    report.rows.push(row);
    cluster(BY_TABLE, "maglev", &mut report).with_context(|| format!("{BY_TABLE} services by Maglev"))?;
    Ok(report)
}

/// What one change costs, milliseconds.
struct Cost {
    median: f64,
    cpu: f64,
}

fn cluster(count: usize, algorithm: &str, report: &mut Report) -> Result<Cost> {
    let topology = Topology { nodes: 1, pods: 0, ..Topology::new("bench", Style::Routed) };
    let mut lab = Lab::without_agents(topology)?;
    let all: Vec<Service> = (0..count).map(|i| Service::made_up(i, ENDPOINTS)).collect();
    for service in &all {
        for object in [service.object(), service.slice("elsewhere")] {
            lab.api().force_put(object).map_err(|e| anyhow::anyhow!("{}: {e:?}", service.name()))?;
        }
    }
    eprintln!("control: {count} services are in the API");
    let settings =
        [format!("nodePort.range={}", services::NODE_PORTS), format!("loadBalancer.algorithm={algorithm}")];
    lab.nodes[0].agent.extra = settings.into_iter().flat_map(|s| ["--set".into(), s]).collect();

    let mut starts = Vec::new();
    let reader = loop {
        let (reader, took) = start(&mut lab, &all)?;
        starts.push(took.as_secs_f64());
        if starts.len() == STARTS {
            break reader;
        }
        drop(reader);
        lab.nodes[0].agent.term()?;
        lab.nodes[0].agent.ask(&["cleanup"])?;
    };
    let pid = lab.nodes[0].agent.id().context("the agent has ended")?;
    // Whatever it does once at its start is over then.
    thread::sleep(Duration::from_secs(1));
    let tables = if algorithm == "maglev" { count } else { 0 };
    wait(&lab, "not every table is built", || (by_table(&reader).ok()? >= tables).then_some(()))?;
    let fresh = process::memory(pid)?;
    let busy = process::cpu(pid)?;
    let changes = changes(&lab, &reader, all)?;
    let cpu = (process::cpu(pid)? - busy).as_secs_f64() * 1e3 / CHANGES as f64;
    let later = process::memory(pid)?;
    let maps: u64 = reader.maps()?.iter().map(|map| map.bytes).sum();

    let (start, change) = (Sample::new(starts.clone()), Sample::new(changes.clone()));
    let by = if tables > 0 { ", maglev" } else { "" };
    let mb = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
    report.rows.push(vec![
        format!("{count} x {ENDPOINTS}{by}"),
        format!("{:.2}", start.median()),
        format!("{:.2}", change.median()),
        format!("{:.2}", change.quantile(0.99)),
        format!("{:.2}", change.quantile(1.0)),
        format!("{cpu:.2}"),
        mb(fresh.all),
        mb(fresh.anonymous),
        mb(later.all),
        mb(later.anonymous),
        mb(maps),
    ]);
    report.raw.push((format!("{count}{by}: start, s"), starts));
    report.raw.push((format!("{count}{by}: change, ms"), changes));
    Ok(Cost { median: change.median(), cpu })
}

/// Starts the agent; the time until the maps are full and programs are attached to the node's device.
fn start(lab: &mut Lab, all: &[Service]) -> Result<(Reader, Duration)> {
    let begun = Instant::now();
    lab.nodes[0].agent.start()?;
    let root = lab.nodes[0].agent.bpf_root.clone();
    let reader = wait(lab, "the maps are not pinned", || Reader::open(&root).ok())?;
    // Ids of backends are dense, and a service's backends are written before its frontends: this one look is cheap.
    let last = (all.len() * ENDPOINTS) as u32;
    wait(lab, "not every backend is written", || reader.backend4(last))?;
    // ClusterIP, NodePort and the NodePort's mark of each, and `default/kubernetes`.
    let rows = all.len() * 3 + 1;
    wait(lab, "not every frontend is written", || (reader.frontends4().ok()?.count() >= rows).then_some(()))?;
    let attached = || reader.attachments().ok()?.into_iter().find(|a| a.ifindex != 0);
    wait(lab, "no device is attached", attached)?;
    Ok((reader, begun.elapsed()))
}

/// How many ClusterIPs have a Maglev table.
fn by_table(reader: &Reader) -> Result<usize> {
    let mut count = 0;
    for entry in reader.frontends4()? {
        let row = entry?.1;
        count +=
            usize::from(row.flags & frontend_flag::MAGLEV != 0 && row.kind == FrontendKind::ClusterIp as u8);
    }
    Ok(count)
}

/// Changes an endpoint, again and again; the milliseconds until every frontend of its service has the new one.
fn changes(lab: &Lab, reader: &Reader, mut all: Vec<Service>) -> Result<Vec<f64>> {
    let node = lab.nodes[0].addresses.v4;
    let mut times = Vec::new();
    for i in 0..CHANGES {
        let number = i * STRIDE % all.len();
        let service = &mut all[number];
        let fresh = services::made_up(FRESH + i);
        service.endpoints[i % ENDPOINTS] = fresh;
        let slice = service.slice("elsewhere");
        let frontends = [service.cluster_ip(), SocketAddrV4::new(node, service.node_port())];
        let begun = Instant::now();
        lab.api().force_put(slice).map_err(|e| anyhow::anyhow!("a change: {e:?}"))?;
        let in_effect = || frontends.iter().all(|at| names(reader, *at, fresh)).then_some(());
        wait(lab, "a change is not in effect", in_effect)?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        thread::sleep(PAUSE);
    }
    Ok(times)
}

/// Whether both pools of a frontend name a backend.
fn names(reader: &Reader, at: SocketAddrV4, backend: SocketAddrV4) -> bool {
    let key = FrontendKey::new(Ip4::from(*at.ip()), PortBe::new(at.port()), Proto::Tcp as u8);
    let Ok(Some(frontend)) = reader.frontend4(&key) else { return false };
    let named = |frontend: &Frontend, scope| {
        reader
            .slots(frontend.pool(scope))
            .into_iter()
            .filter_map(|id| reader.backend4(id))
            .any(|row| row.addr == Ip4::from(*backend.ip()) && row.port == PortBe::new(backend.port()))
    };
    named(&frontend, Scope::External) && named(&frontend, Scope::Internal)
}

/// Looks until there is something.
fn wait<T>(lab: &Lab, what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if begun.elapsed() > PATIENCE {
            let log = std::fs::read_to_string(lab.nodes[0].agent.log()).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(15).collect();
            bail!("{what}; the agent's log, last line first:\n{}", tail.join("\n"));
        }
        thread::sleep(LOOK);
    }
}
