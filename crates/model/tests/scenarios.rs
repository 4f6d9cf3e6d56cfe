//! Scenario files: events in, map contents and problems out. `BLESS=1` rewrites what is expected.
//!
//! A line `>>> verb args` begins a step; the lines up to the next one are its body. Steps: `apply` (YAML documents),
//! `delete KIND NAMESPACE/NAME`, `relist`, `restart` (the agent dies, another reads the maps back, nothing is listed yet),
//! `node-ports ADDR...`, `node-port-loopback`, `host-ports`, `external-cluster-ip`; and to look: `dump` (`bpf lb list`), `backends`, `source-ranges`, `problems`, `status`.

// A test that cannot go on should say where.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Cluster, NODE, Object};
use shunt_model::objects::Kind;
use shunt_model::store::Actual;
use shunt_model::{MapStore, Model, Options, dump};
use std::fmt::Write;
use std::path::Path;

#[test]
fn every_scenario_ends_in_the_maps_that_its_file_shows() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 12, "the scenarios are gone");
    let mut failed = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let ran = run(&text);
        if ran == text {
            continue;
        }
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&file, ran).unwrap();
        } else {
            failed.push(format!("{}: now\n{ran}", file.display()));
        }
    }
    assert!(failed.is_empty(), "BLESS=1 accepts these:\n{}", failed.join("\n"));
}

/// Runs a scenario; returns its text with what was really seen.
fn run(text: &str) -> String {
    let mut cluster = Cluster::new(Options::new(NODE));
    let (preamble, steps) = text.split_once(">>> ").expect("a scenario has steps");
    let mut out = preamble.to_string();
    for step in steps.split("\n>>> ") {
        let (command, body) = step.split_once('\n').unwrap_or((step, ""));
        _ = writeln!(out, ">>> {command}");
        out.push_str(&match perform(&mut cluster, command, body) {
            Some(seen) => seen + "\n",
            None if body.is_empty() => "\n".into(),
            None => format!("{}\n\n", body.trim_end()),
        });
    }
    format!("{}\n", out.trim_end())
}

fn perform(cluster: &mut Cluster, command: &str, body: &str) -> Option<String> {
    let mut words = command.split(' ');
    let verb = words.next()?;
    match verb {
        "apply" => Object::read(body).into_iter().for_each(|o| cluster.apply(o)),
        "delete" => {
            let kind = words.next().unwrap();
            let kind = Kind::ALL.into_iter().find(|k| k.name() == kind).unwrap();
            cluster.delete(kind, words.next().unwrap());
        }
        "relist" => cluster.relist(),
        "list" => {
            let kind = words.next().unwrap();
            cluster.list(Kind::ALL.into_iter().find(|k| k.name() == kind).unwrap());
        }
        "restart" => cluster.restart(),
        "node-ports" => {
            cluster.node_ports = Some(words.map(|w| w.parse().unwrap()).collect());
            cluster.model.set_node_port_addresses(cluster.node_ports.clone());
        }
        "node-port-loopback" => {
            cluster.loopback = true;
            cluster.model.set_node_port_loopback(true);
        }
        "host-ports" => {
            cluster.options.host_ports = true;
            cluster.restart();
            cluster.relist();
        }
        "external-cluster-ip" => {
            cluster.options.external_cluster_ip = true;
            cluster.model = Model::new(cluster.options.clone(), cluster.store.capacity());
            cluster.relist();
        }
        "dump" => return Some(dump::table(&dump::SERVICES, &dump::services(&actual(cluster)))),
        "backends" => return Some(dump::table(&dump::BACKENDS, &dump::backends(&actual(cluster)))),
        "source-ranges" => {
            let rows = dump::source_ranges(&actual(cluster));
            return Some(
                rows.iter().fold(format!("{}\n", dump::SOURCE_RANGES), |text, row| text + row + "\n"),
            );
        }
        "problems" => return Some(problems(cluster)),
        "status" => return Some(status(cluster)),
        other => panic!("no step {other:?}"),
    }
    cluster.settle();
    None
}

fn actual(cluster: &mut Cluster) -> Actual {
    cluster.store.dump().unwrap()
}

fn problems(cluster: &Cluster) -> String {
    let problems = cluster.model.problems();
    problems.iter().map(|p| format!("{p}\n")).collect()
}

fn status(cluster: &Cluster) -> String {
    let mut text = String::new();
    for service in cluster.model.services() {
        for f in service.frontends {
            let address = format!("{}:{}/{}", f.address, f.port, f.protocol);
            let who = format!("{}/{}", service.namespace, service.name);
            _ = writeln!(
                text,
                "{who} {:?} {address} {} {:?} {} backends",
                f.port_name,
                f.kind,
                f.status,
                f.external.len()
            );
        }
    }
    text
}
