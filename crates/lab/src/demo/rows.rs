//! The rows of the demo: who asks whom, and what must come back. End-to-end tests run the same list.

use crate::cluster::{Lab, udp};
use crate::net::plan::Addresses;
use crate::place::Place;
use crate::probe::Answer;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// What source address the server must see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The client's own.
    Kept(IpAddr),
    /// Not the client's: the node's that forwarded it.
    Node,
    /// Whatever routing gives.
    Any,
}

/// How to ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// curl, each try on its own connection.
    Curl,
    /// UDP from an unconnected socket; the answer must come from where the question went.
    Udp,
    /// UDP from a connected socket.
    UdpConnected,
}

/// One row.
#[derive(Clone, Debug)]
pub struct Check {
    /// What it shows.
    pub what: &'static str,
    /// Who asks.
    pub from: Place,
    /// Where to.
    pub to: SocketAddr,
    /// How.
    pub how: How,
    /// Who may answer, by name; empty when the answer must be a refusal.
    pub answers: BTreeSet<String>,
    /// What the server must see.
    pub source: Source,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Who answered, and how often.
    pub spread: BTreeMap<String, u32>,
    /// Source addresses that the servers saw.
    pub seen: BTreeSet<String>,
    /// What was wrong; empty for a pass.
    pub wrong: Vec<String>,
}

/// Tries of a row: enough to find each of six pods with near certainty.
const TRIES: usize = 24;

/// Every row, for each family of the lab.
pub fn checks(lab: &Lab) -> Result<Vec<Check>> {
    let mut rows = Vec::new();
    for v6 in lab.topology.families.each() {
        rows.extend(family(lab, *v6)?);
    }
    Ok(rows)
}

fn family(lab: &Lab, v6: bool) -> Result<Vec<Check>> {
    let (first, second) = (&lab.nodes[0], &lab.nodes[1]);
    let pod = &first.pods[0];
    let all: BTreeSet<String> = lab.nodes.iter().flat_map(|n| &n.pods).map(|p| p.name.clone()).collect();
    let only = |name: &str| BTreeSet::from([name.to_owned()]);
    let node = |port| SocketAddr::new(first.addresses.of(v6), port);
    let web = SocketAddr::new(cluster_ip(lab, "web", v6)?, 80);
    let balanced = SocketAddr::new(ingress_ip(lab, "balanced", v6)?, 80);
    let external = SocketAddr::new(if v6 { "fd00:e::10" } else { "198.51.100.10" }.parse()?, 80);
    let empty = SocketAddr::new(cluster_ip(lab, "empty", v6)?, 80);
    let client = Source::Kept(crate::net::plan::client().of(v6));
    let kept = |a: &Addresses| Source::Kept(a.of(v6));
    let row = |what, from: &Place, to, how, answers: &BTreeSet<String>, source| Check {
        what,
        from: from.clone(),
        to,
        how,
        answers: answers.clone(),
        source,
    };
    let bypass = pod.place.outside_cgroup();
    let mut rows = vec![
        row("pod to ClusterIP", &pod.place, web, How::Curl, &all, Source::Any),
        row(
            "pod to ClusterIP, another pod's",
            &pod.place,
            SocketAddr::new(cluster_ip(lab, "on-node2", v6)?, 80),
            How::Curl,
            &only("pod2-1"),
            kept(&pod.addresses),
        ),
        row("pod to ClusterIP", &pod.place, web, How::Udp, &all, Source::Any),
        row("pod to ClusterIP, connected", &pod.place, web, How::UdpConnected, &all, Source::Any),
        row("host to ClusterIP", &first.host, web, How::Curl, &all, Source::Any),
        row("host to ClusterIP", &first.host, web, How::Udp, &all, Source::Any),
        row("host to NodePort", &first.host, node(30080), How::Curl, &all, Source::Any),
        row(
            "client to NodePort, local backend",
            &lab.client,
            node(30081),
            How::Curl,
            &only("pod1-1"),
            client,
        ),
        row("client to NodePort, local backend", &lab.client, node(30081), How::Udp, &only("pod1-1"), client),
        row(
            "client to NodePort, remote backend",
            &lab.client,
            node(30082),
            How::Curl,
            &only("pod2-1"),
            Source::Node,
        ),
        row(
            "client to NodePort, remote backend",
            &lab.client,
            node(30082),
            How::Udp,
            &only("pod2-1"),
            Source::Node,
        ),
        row(
            "client to NodePort, every pod",
            &lab.client,
            SocketAddr::new(second.addresses.of(v6), 30080),
            How::Curl,
            &all,
            Source::Any,
        ),
        row("client to LoadBalancer IP", &lab.client, balanced, How::Curl, &all, Source::Any),
        row("client to LoadBalancer IP", &lab.client, balanced, How::Udp, &all, Source::Any),
        row("pod to LoadBalancer IP", &pod.place, balanced, How::Curl, &all, Source::Any),
        row("client to ExternalIP", &lab.client, external, How::Curl, &all, Source::Any),
        row("client to ExternalIP", &lab.client, external, How::Udp, &all, Source::Any),
        row(
            "client to a service of nobody",
            &lab.client,
            node(30083),
            How::Curl,
            &BTreeSet::new(),
            Source::Any,
        ),
        row(
            "client to a service of nobody",
            &lab.client,
            node(30083),
            How::UdpConnected,
            &BTreeSet::new(),
            Source::Any,
        ),
        row("pod to a service of nobody", &pod.place, empty, How::Curl, &BTreeSet::new(), Source::Any),
        row("pod to a service of nobody", &pod.place, empty, How::Udp, &BTreeSet::new(), Source::Any),
        row("bypassing pod to a service of nobody", &bypass, empty, How::Curl, &BTreeSet::new(), Source::Any),
    ];
    let remote = SocketAddr::new(cluster_ip(lab, "on-node2", v6)?, 80);
    rows.push(row(
        "bypassing pod to ClusterIP",
        &bypass,
        remote,
        How::Curl,
        &only("pod2-1"),
        kept(&pod.addresses),
    ));
    rows.push(row(
        "bypassing pod to ClusterIP",
        &bypass,
        remote,
        How::Udp,
        &only("pod2-1"),
        kept(&pod.addresses),
    ));
    let neighbour = first.pods[1].place.outside_cgroup();
    let beside = SocketAddr::new(cluster_ip(lab, "on-node1", v6)?, 80);
    rows.push(row(
        "bypassing pod to the pod beside it",
        &neighbour,
        beside,
        How::Curl,
        &only("pod1-1"),
        kept(&first.pods[1].addresses),
    ));
    Ok(rows)
}

fn service(lab: &Lab, name: &str) -> Result<Value> {
    lab.api().get(crate::api::Kind::Service, "default", name).with_context(|| format!("no service {name}"))
}

/// A service's ClusterIP of a family.
pub fn cluster_ip(lab: &Lab, name: &str, v6: bool) -> Result<IpAddr> {
    let ips = service(lab, name)?;
    of_family(ips.pointer("/spec/clusterIPs"), v6).with_context(|| format!("{name} has no such ClusterIP"))
}

/// A service's load balancer address of a family.
pub fn ingress_ip(lab: &Lab, name: &str, v6: bool) -> Result<IpAddr> {
    let service = service(lab, name)?;
    let list = service
        .pointer("/status/loadBalancer/ingress")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let ips = Value::Array(list.into_iter().map(|i| i["ip"].clone()).collect());
    of_family(Some(&ips), v6).with_context(|| format!("{name} has no such ingress address"))
}

fn of_family(ips: Option<&Value>, v6: bool) -> Option<IpAddr> {
    let ips = ips?.as_array()?.iter().filter_map(|ip| ip.as_str()?.parse::<IpAddr>().ok());
    ips.into_iter().find(|ip| ip.is_ipv6() == v6)
}

/// Runs a row, once: a try that is lost counts.
pub fn run(check: &Check) -> Result<Outcome> {
    let answers = match check.how {
        How::Curl => curl(check)?,
        How::Udp | How::UdpConnected => datagrams(check)?,
    };
    let mut outcome = Outcome { spread: BTreeMap::new(), seen: BTreeSet::new(), wrong: Vec::new() };
    if check.answers.is_empty() {
        let refused = answers.iter().all(|a| *a == Answer::Refused);
        if !refused {
            outcome.wrong.push(format!("expected to be refused, got {answers:?}"));
        }
        *outcome.spread.entry("refused".into()).or_default() += answers.len() as u32;
        return Ok(outcome);
    }
    for answer in &answers {
        match answer.body().and_then(|body| body.trim().split_once(' ')) {
            Some((name, source)) => {
                *outcome.spread.entry(name.to_owned()).or_default() += 1;
                outcome.seen.insert(source.to_owned());
            }
            None => outcome.wrong.push(format!("{answer:?}")),
        }
    }
    judge(check, &mut outcome);
    Ok(outcome)
}

fn judge(check: &Check, outcome: &mut Outcome) {
    let answered: BTreeSet<&String> = outcome.spread.keys().collect();
    let strangers: Vec<&&String> = answered.iter().filter(|name| !check.answers.contains(**name)).collect();
    if !strangers.is_empty() {
        outcome.wrong.push(format!("answered by {strangers:?}"));
    }
    // 24 tries over 6 pods miss more than two of them about once in 4,000 runs.
    if answered.len() + 2 < check.answers.len() {
        outcome.wrong.push(format!("only {answered:?} answered"));
    }
    let asker = check.from.name.as_str();
    match check.source {
        Source::Any => {}
        Source::Kept(ip) if outcome.seen.iter().all(|seen| *seen == ip.to_string()) => {}
        Source::Node
            if !outcome.seen.contains(&crate::net::plan::client().of(check.to.is_ipv6()).to_string()) => {}
        Source::Kept(_) | Source::Node => {
            outcome.wrong.push(format!("{asker} was seen as {:?}", outcome.seen))
        }
    }
}

/// curl's exit code for a connection that was refused.
const CURL_REFUSED: &str = "7";
/// curl's exit code for a time-out.
const CURL_TIMEOUT: &str = "28";

fn curl(check: &Check) -> Result<Vec<Answer>> {
    let tries = tries(check, 3);
    let url = format!("http://{}/", check.to);
    let mut command = check.from.command("curl")?;
    // One line for each try: the body, a tab, and how that try ended.
    command.args(["-s", "-m", "3", "-H", "Connection: close", "-w", "\t%{exitcode}\n"]);
    command.args(vec![url; tries]);
    let done = command.output().context("curl is not here; `cargo xtask setup` installs it")?;
    let text = String::from_utf8_lossy(&done.stdout);
    let answers: Vec<Answer> = text.lines().map(answer).collect();
    if answers.len() != tries {
        bail!(
            "curl told of {} tries out of {tries}: {}",
            answers.len(),
            String::from_utf8_lossy(&done.stderr)
        );
    }
    Ok(answers)
}

fn answer(line: &str) -> Answer {
    match line.rsplit_once('\t') {
        Some((body, "0")) => Answer::Ok(body.to_owned()),
        Some((_, CURL_REFUSED)) => Answer::Refused,
        Some((_, CURL_TIMEOUT)) => Answer::Timeout,
        Some((_, code)) => Answer::Other(format!("curl exit code {code}")),
        None => Answer::Other(format!("curl said {line:?}")),
    }
}

/// How often a row asks: when several may answer, often enough to see them all.
fn tries(check: &Check, few: usize) -> usize {
    if check.answers.len() > 1 { TRIES } else { few }
}

fn datagrams(check: &Check) -> Result<Vec<Answer>> {
    (0..tries(check, 2))
        .map(|_| {
            let got = udp(&check.from, check.to, check.how == How::UdpConnected)?;
            match got.from {
                Some(from) if from.ip() != check.to.ip() || from.port() != check.to.port() => {
                    Ok(Answer::Other(format!("the answer came from {from}")))
                }
                _ => Ok(got.answer),
            }
        })
        .collect()
}
