//! The rules in a real kernel: that `nft` takes them as they are printed, and that packets fare as the evaluator says.

mod place;
mod server;
mod world;

use crate::cluster::{Cluster, NODES};
use crate::compare::rulesets;
use crate::probe::{Probe, probes};
use crate::rules::{Fate, Source};
use place::Place;
use shunt_common::Proto;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;
use world::{Met, World};

/// Clusters that packets are sent through: one for each way to tell a pod, with many backends and with affinity.
const SEEDS: [u64; 3] = [36, 12, 48];

#[test]
fn the_kernel_takes_the_rules() {
    let Some(place) = Place::first("differential: the kernel takes the rules") else { return };
    for seed in 0..20 {
        let cluster = Cluster::new(seed);
        let rulesets = rulesets(&cluster, 1 + seed as usize % NODES);
        let text: String = rulesets.iter().map(ToString::to_string).collect();
        place.batch("nft", &["-f", "-"], &format!("flush ruleset\n{text}"));
    }
}

#[test]
fn packets_fare_as_the_evaluator_says() {
    if Place::first("differential: packets fare as the evaluator says").is_none() {
        return;
    }
    let mut asked = [0; 4];
    for seed in SEEDS {
        let cluster = Cluster::new(seed);
        let (world, host, rulesets) = (World::new(&cluster), cluster.host(1), rulesets(&cluster, 1));
        let judged =
            probes(&cluster, 1).into_iter().filter(|(_, _, proto)| *proto == Proto::Tcp).map(|probe| {
                let (from, to, proto) = probe;
                (probe, rulesets[usize::from(to.is_ipv6())].fate(&host, from, to, proto))
            });
        let judged: Vec<_> = judged.filter(|(probe, fate)| can_ask(&world, *probe, fate)).collect();
        let mut wrong = Vec::new();
        for part in judged.chunks(100) {
            let patience =
                |fate: &Fate| Duration::from_millis(if *fate == Fate::Drop { 300 } else { 10_000 });
            let met = world
                .connect(part.iter().map(|((from, to, _), fate)| (*from, *to, patience(fate))).collect());
            for ((probe, fate), met) in part.iter().zip(met) {
                asked[index(fate)] += 1;
                if !fits(&world, &host.addresses, *probe, fate, &met) {
                    wrong.push(format!("{:?} to {}: {fate:?}, but {met:?}", probe.0, probe.1));
                }
            }
        }
        assert!(wrong.is_empty(), "{} wrong, seed {seed}:\n{}", wrong.len(), wrong.join("\n"));
    }
    println!("connects to backends, rejected, dropped, untouched: {asked:?}");
    assert!(asked.iter().all(|n| *n > 0), "each fate has been met: {asked:?}");
}

fn index(fate: &Fate) -> usize {
    match fate {
        Fate::Backends(_) => 0,
        Fate::Reject => 1,
        Fate::Drop => 2,
        Fate::Untouched => 3,
        Fate::Mixed => panic!("chance decides"),
    }
}

/// Whether the packets cross the node both ways: one to an address of the client's own namespace does not, and neither
/// does the answer of a backend there that sees the client's own address.
fn can_ask(world: &World, (from, to, _): Probe, fate: &Fate) -> bool {
    let side = match from {
        Source::Device(_) => &world.on_wire,
        Source::Pod(addr) if world.in_pods.contains(&addr) => &world.in_pods,
        Source::Pod(_) | Source::Node(_) => return true,
    };
    let comes_back = match fate {
        Fate::Backends(ways) => ways.iter().all(|(b, way)| way.masqueraded || !side.contains(&b.ip())),
        _ => true,
    };
    side.contains(&from.addr()) && !side.contains(&to.ip()) && comes_back
}

fn fits(world: &World, own: &BTreeSet<IpAddr>, (from, to, _): Probe, fate: &Fate, met: &Met) -> bool {
    match (fate, met) {
        (Fate::Backends(ways), Met::Backend(addr, seen)) => ways
            .get(addr)
            .is_some_and(|way| if way.masqueraded { own.contains(seen) } else { *seen == from.addr() }),
        (Fate::Reject, Met::Refused) | (Fate::Drop, Met::Silence) => true,
        // Nobody listens on the port, at an address that somebody has.
        (Fate::Untouched, Met::Refused) => world.inhabited.contains(&to.ip()),
        (Fate::Untouched, Met::Sink) => !world.inhabited.contains(&to.ip()),
        _ => false,
    }
}
