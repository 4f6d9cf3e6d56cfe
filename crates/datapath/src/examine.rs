//! What a node could do, without a trace of it: for `shunt check`.

use crate::attach::{links, name_of, netdev, status, xdp};
use crate::pins::Pins;
use crate::{Error, Settings, Sizes, load, maps, preflight};
use std::path::Path;

/// One thing that the datapath needs of a node.
#[derive(Debug)]
pub struct Need {
    /// What it is, in a word.
    pub what: &'static str,
    /// What was found; an [`Error`] says what is missing and what to do.
    pub found: Result<String, Error>,
}

/// What a device could do at XDP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ability {
    /// It runs our program already.
    Runs,
    /// Its driver says that it takes a program. Whether it takes one with the device's MTU and queues shows at the start.
    Takes,
    /// Not in its driver, because of this.
    Cannot(String),
    /// It has no driver that could, which `native` does not mind.
    NoDriver(String),
    /// The kernel cannot tell.
    Unknown(String),
}

/// Entries in maps that exist only while programs are verified.
const FEW: u32 = 1024;

/// Looks at everything that [`crate::Datapath::start`] needs, and lets the kernel verify every program of these settings.
/// Nothing is pinned or attached.
#[must_use]
pub fn node(settings: &Settings) -> Vec<Need> {
    let mut needs = preflight::each(settings);
    // Without capabilities the kernel does not even look at a program.
    if needs.iter().all(|need| need.what != preflight::CAPABILITIES || need.found.is_ok()) {
        needs.push(Need { what: "programs", found: verify(settings) });
    }
    needs
}

fn verify(settings: &Settings) -> Result<String, Error> {
    let sizes = Sizes { ring_slots: FEW, affinity: FEW, source_ranges: FEW, ..Sizes::new(FEW, FEW) };
    let config = load::config(settings, &sizes, 0, 1, preflight::running()?);
    let loaded = load::load(&config, &maps::specs(&sizes), None)?;
    Ok(format!("the kernel's verifier takes all {}", loaded.program_names().count()))
}

/// What a device could do at XDP; `bpf_root` is where an agent's pins would be.
///
/// # Errors
/// [`Error::NoInterface`] when there is none, else what the kernel says.
pub fn xdp(ifindex: u32, bpf_root: &Path) -> Result<Ability, Error> {
    let system = |error: std::io::Error| match error.raw_os_error() {
        Some(libc::ENODEV) => Error::NoInterface { ifindex },
        _ => Error::system(format!("reading interface {}", name_of(ifindex).unwrap_or_default()))(error),
    };
    let link = links::read(ifindex).map_err(system)?;
    if let Some(why) = xdp::pointless(&link) {
        return Ok(Ability::NoDriver(why.into()));
    }
    if let Some((_, id)) = link.xdp {
        let pins = Pins::new(bpf_root);
        let ours = status::program_of(&pins, &xdp::pin_name(ifindex)).ok().flatten();
        return Ok(if ours == Some(id) { Ability::Runs } else { Ability::Cannot(xdp::taken(id)) });
    }
    Ok(match netdev::takes_xdp(ifindex).map_err(system)? {
        Some(true) => Ability::Takes,
        Some(false) => Ability::Cannot(xdp::NO_PROGRAM.into()),
        None => Ability::Unknown("kernels before 6.3 do not tell".into()),
    })
}
