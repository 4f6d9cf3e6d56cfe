//! Loads every program in every configuration into the running kernel and prints what the verifier walked:
//! `verified PROGRAM INSTRUCTIONS CONFIGURATION`, the costliest configuration of each program.
//!
//! `cargo xtask test-kernels` runs it on each supported kernel and holds the figures against the budget.

use std::collections::BTreeMap;
use std::process::ExitCode;

use shunt_common::feature;
use shunt_datapath::testrun::TestRun;
use shunt_datapath::{Settings, Sizes};

/// Features that are on or off on their own; their names are those of the output.
const OPTIONS: [(&str, u32); 3] =
    [("bind-protection", feature::BIND_PROTECTION), ("csum-ipv6", feature::CSUM_IPV6), ("xdp", feature::XDP)];

const FAMILIES: [(&str, u32); 3] =
    [("ipv4", feature::IPV4), ("ipv6", feature::IPV6), ("dual", feature::IPV4 | feature::IPV6)];

fn main() -> ExitCode {
    let mut most: BTreeMap<String, (u32, String)> = BTreeMap::new();
    let mut refused = false;
    for (name, features) in configurations() {
        let mut config = TestRun::config(&Settings::new("/", "/"));
        config.features = features;
        match TestRun::load(&config, &Sizes::default()) {
            Ok(loaded) => {
                for (program, &count) in loaded.verified() {
                    let entry = most.entry(program.clone()).or_default();
                    if count > entry.0 {
                        *entry = (count, name.clone());
                    }
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
    for (program, (count, name)) in most {
        println!("verified {program} {count} {name}");
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

/// Every family choice with every set of options, and with the opt-out: the programs that look at it look at no other.
fn configurations() -> Vec<(String, u32)> {
    let mut all = Vec::new();
    for (family, bits) in FAMILIES {
        for chosen in 0..1 << OPTIONS.len() {
            let (mut name, mut features) = (family.to_owned(), bits);
            for (at, (option, bit)) in OPTIONS.iter().enumerate() {
                if chosen >> at & 1 == 1 {
                    name = format!("{name},{option}");
                    features |= bit;
                }
            }
            all.push((name, features));
        }
        all.push((format!("{family},opt-out"), bits | feature::OPT_OUT));
    }
    all
}
