//! Nanoseconds a packet, by the kernel's own test-run of the very programs that are attached on a node, in alternating
//! rounds with `floor`: a program that parses, rewrites and redirects with no lookup.
//!
//! The kernel does not set a packet back between repeats, so the flows measured rewrite a packet to itself: the work is
//! the same, byte for byte, checksum updates included.

use crate::packet::{ACK, Kind, Packet, SYN, SYN_ACK};
use crate::report::Report;
use crate::stats::Sample;
use crate::world::{BOTH, Family, World};
use shunt_common::FrontendKind::LoadBalancer;
use shunt_common::maglev::TableRef;
use shunt_common::{BackendState, Frontend, Proto, feature, frontend_flag};
use shunt_model::maglev::{Member, Settings};
use shunt_model::store::{BackendRow, MapStore, Op};

/// Rounds; in each, every case runs once, so that a change of the machine's speed meets all of them.
const ROUNDS: usize = 15;
/// Runs of a program in one round.
const RUNS: u32 = 20_000;
/// Runs on one packet before it is set back: fewer than its TTL.
const REPEAT: u32 = 250;
/// Features of a node whose device runs XDP.
const AT_DRIVER: u32 = feature::IPV4 | feature::IPV6 | feature::XDP;
/// Flows that begin in one round.
const OPENINGS: u32 = 2_000;
/// Backends of the services that are picked from.
const BACKENDS: u16 = 10;
/// Where the Maglev table lies.
const TABLE: u32 = 4096;

/// A hook, and the packets that it gets in turn.
struct Case {
    name: String,
    hook: &'static str,
    frames: Vec<Vec<u8>>,
    repeat: u32,
}

/// Measures every case.
pub fn run() -> anyhow::Result<Report> {
    let mut report = Report::new("packets", &["case", "ns/packet", "min", "x floor"]);
    for family in BOTH {
        // Once at a device that runs XDP, and once at one that does not: the programs differ a little.
        let mut worlds = [World::new(family), World::with_features(family, AT_DRIVER)];
        let [tc, xdp] = &mut worlds;
        let at = |world: usize| move |case: Case| (world, case);
        let cases: Vec<(usize, Case)> =
            cases(tc)?.into_iter().map(at(0)).chain(at_driver(xdp)?.into_iter().map(at(1))).collect();
        let mut samples: Vec<Vec<f64>> = vec![Vec::new(); cases.len()];
        for round in 0..ROUNDS {
            for ((world, case), sample) in cases.iter().zip(&mut samples) {
                sample.push(measure(&worlds[*world], case, round)?);
            }
        }
        let floor = Sample::new(samples[0].clone()).median();
        for ((_, case), sample) in cases.into_iter().zip(samples) {
            let sorted = Sample::new(sample.clone());
            report.rows.push(vec![
                case.name.clone(),
                format!("{:.0}", sorted.median()),
                format!("{:.0}", sorted.quantile(0.0)),
                format!("{:.2}", sorted.median() / floor),
            ]);
            report.raw.push((case.name, sample));
        }
    }
    Ok(report)
}

/// Mean nanoseconds of a run over one round. No round gets a packet that began a flow in another one.
fn measure(world: &World, case: &Case, round: usize) -> anyhow::Result<f64> {
    let calls = (RUNS / case.repeat).min(OPENINGS);
    let mut total = 0.0;
    for i in 0..calls as usize {
        let frame = &case.frames[(round * calls as usize + i) % case.frames.len()];
        total += world.run.run(case.hook, frame, world.eth0, case.repeat)?.time.as_nanos() as f64;
    }
    Ok(total / f64::from(calls))
}

const fn version(f: Family) -> u8 {
    if matches!(f, Family::V4) { 4 } else { 6 }
}

/// The same packet, again and again.
fn steady(f: Family, name: &str, hook: &'static str, packet: Packet) -> Case {
    Case {
        name: format!("IPv{} {name}", version(f)),
        hook,
        frames: vec![Packet { ttl: 255, ..packet }.bytes()],
        repeat: REPEAT,
    }
}

/// Packets that each begin a flow to a port of the service address.
fn opening(f: Family, name: &str, hook: &'static str, port: u16) -> Case {
    let packet = |sport| Packet::new((f.client(), sport), (f.vip(), port), Kind::Udp).bytes();
    let frames = (1024..61_024).map(packet).collect();
    Case { name: format!("IPv{} {name}", version(f)), hook, frames, repeat: 1 }
}

/// A remote backend at the frontend's own address, asked by the node's own address: source and port stay too. Its next hop is
/// known.
fn remote(world: &mut World) -> Packet {
    let f = world.family;
    let remote = Packet::new((f.node(), 40_001), (f.remote_pod(), 8080), ACK);
    world.service(LoadBalancer, (f.remote_pod(), 8080), 6, (f.remote_pod(), 8080), false);
    world.hook("tc_ingress", &Packet { kind: SYN, ..remote });
    world.age(&remote);
    world.hook("tc_ingress", &remote);
    remote
}

/// A service of several remote backends, picked by chance, and another that has a Maglev table for as many.
fn picked(world: &mut World, by_chance: u16, by_table: u16) -> anyhow::Result<()> {
    let f = world.family;
    let ids = |world: &mut World| -> Vec<u32> {
        (0..BACKENDS).map(|i| world.backend(f.remote_pod(), 8000 + i, 17, false)).collect()
    };
    let chance = ids(world);
    world.frontend(LoadBalancer, f.vip(), by_chance, 17, &chance);
    let ids = ids(world);
    let row = |i| BackendRow::new(f.remote_pod(), 8000 + i, Proto::Udp, BackendState::Active, 1);
    let members: Vec<Member> = (0..BACKENDS).map(|i| Member::from(&row(i))).collect();
    let table = Settings::default().table(&members);
    let put = Op::PutTable { at: TABLE, table: table.into() };
    world.run.store()?.apply(&put).map_err(|e| anyhow::anyhow!("a table: {e:?}"))?;
    let slots = ids.iter().chain(&ids).copied().collect();
    let row = Frontend {
        kind: LoadBalancer as u8,
        flags: frontend_flag::EXTERNAL | frontend_flag::MAGLEV,
        pools: [world.maglev_pool(ids.len() as u32, slots, TableRef::new(TABLE, false).0); 2],
        ..Frontend::default()
    };
    world.put_frontend(f.vip(), by_table, 17, row);
    Ok(())
}

/// By tc alone. The floor first.
fn cases(world: &mut World) -> anyhow::Result<Vec<Case>> {
    let f = world.family;
    // A local backend at the frontend's own address: rewritten to itself.
    world.service(LoadBalancer, (f.vip(), 80), 6, (f.vip(), 80), true);
    let client = |port, kind| Packet::new((f.client(), port), (f.vip(), 80), kind);
    let local = client(40_000, ACK);
    world.hook("tc_ingress", &client(40_000, SYN));
    let reply = local.reply(ACK);
    world.hook("tc_egress", &local.reply(SYN_ACK));
    let remote = remote(world);
    picked(world, 8000, 8001)?;
    let elsewhere = Packet::new((f.node(), 22), (f.client(), 4000), ACK);
    Ok(vec![
        steady(f, "floor: parse, rewrite, redirect", "floor", local),
        steady(f, "no service, ingress", "tc_ingress", client(40_000, Kind::Udp)),
        steady(f, "no service, egress", "tc_egress", elsewhere),
        steady(f, "established, local backend", "tc_ingress", local),
        steady(f, "established, reply of local backend", "tc_egress", reply),
        steady(f, "established, remote backend", "tc_ingress", remote),
        opening(f, "first packet, remote backend at random", "tc_ingress", 8000),
        opening(f, "first packet, remote backend by Maglev", "tc_ingress", 8001),
    ])
}

/// By XDP.
fn at_driver(world: &mut World) -> anyhow::Result<Vec<Case>> {
    let f = world.family;
    let remote = remote(world);
    picked(world, 8000, 8001)?;
    let other = Packet::new((f.client(), 40_000), (f.node(), 22), ACK);
    Ok(vec![
        steady(f, "no service, at the driver", "xdp", other),
        steady(f, "established, remote backend, at the driver", "xdp", remote),
        opening(f, "first packet, remote backend at random, at the driver", "xdp", 8000),
        opening(f, "first packet, remote backend by Maglev, at the driver", "xdp", 8001),
    ])
}
