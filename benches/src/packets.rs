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

/// Rounds; in each, every case runs once, so that a change of the machine's speed meets all of them.
const ROUNDS: usize = 15;
/// Runs of a program in one round.
const RUNS: u32 = 20_000;
/// Runs on one packet before it is set back: fewer than its TTL.
const REPEAT: u32 = 250;

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
        let mut world = World::new(family);
        let cases = cases(&mut world);
        let mut samples: Vec<Vec<f64>> = vec![Vec::new(); cases.len()];
        for _ in 0..ROUNDS {
            for (case, sample) in cases.iter().zip(&mut samples) {
                sample.push(measure(&world, case)?);
            }
        }
        let floor = Sample::new(samples[0].clone()).median();
        for (case, sample) in cases.into_iter().zip(samples) {
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

/// Mean nanoseconds of a run over one round.
fn measure(world: &World, case: &Case) -> anyhow::Result<f64> {
    let calls = (RUNS / case.repeat).min(2_000);
    let mut total = 0.0;
    for i in 0..calls as usize {
        let frame = &case.frames[i % case.frames.len()];
        total += world.run.run(case.hook, frame, world.eth0, case.repeat)?.time.as_nanos() as f64;
    }
    Ok(total / f64::from(calls))
}

/// The floor first.
fn cases(world: &mut World) -> Vec<Case> {
    let f = world.family;
    let v = if f == Family::V4 { 4 } else { 6 };
    let steady = |name: &str, hook, packet: Packet| Case {
        name: format!("IPv{v} {name}"),
        hook,
        frames: vec![Packet { ttl: 255, ..packet }.bytes()],
        repeat: REPEAT,
    };

    // A local backend at the frontend's own address: rewritten to itself.
    world.service(LoadBalancer, (f.vip(), 80), 6, (f.vip(), 80), true);
    let client = |port, kind| Packet::new((f.client(), port), (f.vip(), 80), kind);
    let local = client(40_000, ACK);
    world.hook("tc_ingress", &client(40_000, SYN));
    let reply = local.reply(ACK);
    world.hook("tc_egress", &local.reply(SYN_ACK));

    // A remote backend at the frontend's own address, asked by the node's own address: source and port stay too.
    let remote = Packet::new((f.node(), 40_001), (f.remote_pod(), 8080), ACK);
    world.service(LoadBalancer, (f.remote_pod(), 8080), 6, (f.remote_pod(), 8080), false);
    world.hook("tc_ingress", &Packet { kind: SYN, ..remote });
    world.age(&remote);
    world.hook("tc_ingress", &remote);

    // Another frontend for flows that begin: each packet has a tuple of its own.
    world.service(LoadBalancer, (f.vip(), 8000), 17, (f.remote_pod(), 8000), false);
    let opening =
        (1024..61_024).map(|port| Packet::new((f.client(), port), (f.vip(), 8000), Kind::Udp).bytes());
    vec![
        steady("floor: parse, rewrite, redirect", "floor", local),
        steady("no service, ingress", "tc_ingress", client(40_000, Kind::Udp)),
        steady("no service, egress", "tc_egress", Packet::new((f.node(), 22), (f.client(), 4000), ACK)),
        steady("established, local backend", "tc_ingress", local),
        steady("established, reply of local backend", "tc_egress", reply),
        steady("established, remote backend", "tc_ingress", remote),
        Case {
            name: format!("IPv{v} first packet, remote backend"),
            hook: "tc_ingress",
            frames: opening.collect(),
            repeat: 1,
        },
    ]
}
