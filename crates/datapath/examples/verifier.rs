//! Loads every program in every configuration into the running kernel and prints what it takes of what the verifier allows:
//! `verified PROGRAM CONFIGURATION INSTRUCTIONS STACK`.
//!
//! `cargo xtask test-kernels` runs it on each supported kernel and holds the figures against the budget.

use std::process::ExitCode;

use shunt_common::feature;
use shunt_datapath::testrun::TestRun;
use shunt_datapath::{Settings, Sizes};

/// Sets of features as nodes have them; their names are those of the output. Everything that is on anywhere is on in one of
/// them, alone and beside the rest of its kind: each takes the verifier seconds in an emulator.
const SETS: [(&str, u32); 7] = [
    ("bare", feature::L3),
    ("opt", USUAL | feature::DSR_OPT | feature::L3),
    ("opt,xdp", USUAL | feature::DSR_OPT | feature::XDP),
    ("opt,by-snat", USUAL | feature::DSR_OPT | feature::DSR_BY_SNAT),
    ("ipip", USUAL | feature::DSR_IPIP | feature::L3),
    ("ipip,xdp", USUAL | feature::DSR_IPIP | feature::XDP),
    ("opt-out", USUAL | feature::DSR_OPT | feature::OPT_OUT),
];
const USUAL: u32 = feature::BIND_PROTECTION;

const FAMILIES: [(&str, u32); 3] =
    [("ipv4", feature::IPV4), ("ipv6", feature::IPV6), ("dual", feature::IPV4 | feature::IPV6)];

fn main() -> ExitCode {
    let mut refused = false;
    for (name, features) in configurations() {
        let mut config = TestRun::config(&Settings::new("/", "/"));
        config.features = features;
        match TestRun::load(&config, &Sizes::default()).and_then(|run| run.verified()) {
            Ok(verified) => {
                for (program, cost) in verified {
                    println!("verified {program} {name} {} {}", cost.walked, cost.stack);
                }
            }
            Err(error) => {
                refused = true;
                println!("refused {name}: {error}");
                let mut source = std::error::Error::source(&error);
                while let Some(cause) = source {
                    println!("  {cause}");
                    source = cause.source();
                }
            }
        }
    }
    if let Err(error) = walk_over_sockets() {
        refused = true;
        println!("refused the walk over sockets: {error}");
    }
    if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The one program that is not in the object must pass too, and run.
fn walk_over_sockets() -> Result<(), Box<dyn std::error::Error>> {
    let run = TestRun::load(&TestRun::config(&Settings::new("/", "/")), &Sizes::default())?;
    let (sender, receiver) = std::sync::mpsc::channel();
    run.sockets()?.repair(Vec::new(), move |repair| _ = sender.send(repair))?;
    let repair = receiver.recv()?;
    println!("walked over {} translated sockets in {:?}", repair.seen, repair.took);
    repair.error.map_or(Ok(()), |error| Err(error.into()))
}

/// Every family choice with every set, and with what the running kernel can do.
fn configurations() -> Vec<(String, u32)> {
    let kernel = TestRun::kernel_features().unwrap_or(0);
    let all = FAMILIES.iter().flat_map(|(family, bits)| {
        SETS.iter().map(move |(set, features)| {
            let more = if *set == "bare" { 0 } else { kernel };
            (format!("{family},{set}"), bits | features | more)
        })
    });
    all.collect()
}
