//! Loading the object: maps adopted or made, configuration set, every program verified.

use crate::attach::{l3_egress, l3_ingress, xdp};
use crate::object::OBJECT;
use crate::pins::Pins;
use crate::{Error, MapSpec, Settings, Sizes, maps};
use aya::programs::{Program, ProgramError};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use shunt_common::{Config, Ip4, Ip6, feature};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The programs and maps of one load, by name. Dropping it leaves what is pinned or attached.
#[derive(Debug)]
pub(crate) struct Loaded {
    programs: BTreeMap<String, OwnedFd>,
    maps: BTreeMap<String, OwnedFd>,
    /// Instructions that the verifier walked, by program.
    pub(crate) verified: BTreeMap<String, u32>,
}

impl Loaded {
    /// A program's descriptor.
    pub(crate) fn program(&self, name: &str) -> Result<BorrowedFd<'_>, Error> {
        match self.programs.get(name) {
            Some(fd) => Ok(fd.as_fd()),
            None => Err(Error::Object { what: "program", name: name.into() }),
        }
    }

    /// Another descriptor of a program.
    pub(crate) fn clone_program(&self, name: &str) -> Result<OwnedFd, Error> {
        self.program(name)?.try_clone_to_owned().map_err(Error::system(format!("cloning program {name}")))
    }

    /// Another descriptor of a map.
    pub(crate) fn clone_map(&self, name: &str) -> Result<OwnedFd, Error> {
        let fd = self.maps.get(name).ok_or_else(|| Error::Object { what: "map", name: name.into() })?;
        fd.try_clone().map_err(Error::system(format!("cloning map {name}")))
    }

    /// The names of the programs.
    pub(crate) fn program_names(&self) -> impl Iterator<Item = &str> {
        self.programs.keys().map(String::as_str)
    }
}

/// The read-only configuration that settings and facts of the node ask for; `kernel` has the [`shunt_common::feature`] bits
/// of what the kernel can do.
pub(crate) fn config(
    settings: &Settings,
    sizes: &Sizes,
    host_netns_cookie: u64,
    hz: u32,
    kernel: u32,
) -> Config {
    Config {
        host_netns_cookie,
        hz,
        features: settings.features | kernel,
        node4: Ip4::from(settings.node4.unwrap_or(Ipv4Addr::UNSPECIFIED)),
        node6: Ip6::from(settings.node6.unwrap_or(Ipv6Addr::UNSPECIFIED)),
        snat_min: *settings.snat_ports.start(),
        snat_max: *settings.snat_ports.end(),
        ring_size: sizes.ring_slots,
        maglev_size: settings.maglev.size,
        maglev_seed: settings.maglev.flow_seed(),
        pad: 0,
    }
}

/// Holds every pinned map against its spec and answers the sizes to load with: those of the pins, where there are
/// pins. `differs` hears of each that is not as wanted.
pub(crate) fn adopt_sizes(
    pins: &Pins,
    wanted: &Sizes,
    differs: impl Fn(&MapSpec, u32),
) -> Result<Sizes, Error> {
    let mut sizes = *wanted;
    for spec in maps::specs(wanted) {
        let Some(found) = maps::check(pins, &spec)? else { continue };
        if found != spec.max_entries {
            differs(&spec, found);
            sizes.adopt(spec.name, found);
        }
    }
    Ok(sizes)
}

/// Tells the operator that a changed size has no effect yet.
pub(crate) fn warn_of_size(spec: &MapSpec, pinned: u32) {
    let MapSpec { name: map, key, max_entries: wanted, .. } = *spec;
    tracing::warn!(
        map,
        key,
        pinned,
        wanted,
        "the pinned map keeps its size; run `shunt cleanup` on this node to make it anew"
    );
}

/// Loads the object and every program in it that the configuration wants.
pub(crate) fn load(config: &Config, specs: &[MapSpec], pins: Option<&Pins>) -> Result<Loaded, Error> {
    let mut loader = EbpfLoader::new();
    // The programs take nothing from the kernel's own types, so parsing those (30 ms) would be for nothing.
    loader.btf(None).verifier_log_level(VerifierLogLevel::STATS);
    loader.override_global(shunt_common::maps::CONFIG, config, true);
    for spec in specs {
        if spec.max_entries > 0 {
            loader.map_max_entries(spec.name, spec.max_entries);
        }
        if let Some(pins) = pins {
            loader.map_pin_path(spec.name, pins.map(spec.name));
        }
    }
    let mut ebpf = loader.load(OBJECT)?;
    let has = |bit| config.features & bit != 0;
    let wanted = |name: &str| match name {
        xdp::PROGRAM => has(feature::XDP),
        name if name == l3_ingress::HOOK.program || name == l3_egress::HOOK.program => has(feature::L3),
        _ => true,
    };
    load_programs(&mut ebpf, wanted)?;
    collect(&ebpf, specs, wanted)
}

fn load_programs(ebpf: &mut Ebpf, wanted: impl Fn(&str) -> bool) -> Result<(), Error> {
    for (name, program) in ebpf.programs_mut().filter(|(name, _)| wanted(name)) {
        let mut tries = 0;
        loop {
            match load_program(program) {
                Ok(()) => break,
                // The verifier gives up with EAGAIN when a signal is pending.
                Err(source) if is_interrupted(&source) && tries < TRIES => tries += 1,
                Err(source) => {
                    return Err(Error::Verifier { program: name.into(), source: Box::new(source) });
                }
            }
        }
    }
    Ok(())
}

/// How often a program that a signal interrupted is loaded again.
const TRIES: u32 = 10;

fn load_program(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::SchedClassifier(p) => p.load(),
        Program::CgroupSockAddr(p) => p.load(),
        Program::CgroupSock(p) => p.load(),
        Program::Xdp(p) => p.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

fn is_interrupted(error: &ProgramError) -> bool {
    let code = match error {
        ProgramError::LoadError { io_error, .. } => io_error.raw_os_error(),
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    };
    matches!(code, Some(libc::EAGAIN | libc::EINTR))
}

/// Takes descriptors of everything, so that nothing else needs aya.
fn collect(ebpf: &Ebpf, specs: &[MapSpec], wanted: impl Fn(&str) -> bool) -> Result<Loaded, Error> {
    let (mut programs, mut verified, mut maps) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (name, program) in ebpf.programs().filter(|(name, _)| wanted(name)) {
        let own = || Error::system(format!("cloning program {name}"));
        let fd = program
            .fd()
            .map_err(|source| Error::Verifier { program: name.into(), source: Box::new(source) })?;
        programs.insert(name.to_owned(), fd.as_fd().try_clone_to_owned().map_err(own())?);
        let walked = program.info().ok().and_then(|info| info.verified_instruction_count());
        verified.insert(name.to_owned(), walked.unwrap_or(0));
    }
    for spec in specs {
        let map = ebpf.map(spec.name).and_then(map_fd);
        let fd = map.ok_or_else(|| Error::Object { what: "map", name: spec.name.into() })?;
        let fd = fd.try_clone_to_owned().map_err(Error::system(format!("cloning map {}", spec.name)))?;
        maps.insert(spec.name.to_owned(), fd);
    }
    Ok(Loaded { programs, maps, verified })
}

fn map_fd(map: &aya::maps::Map) -> Option<BorrowedFd<'_>> {
    use aya::maps::Map;
    match map {
        Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::LpmTrie(data)
        | Map::Array(data)
        | Map::PerCpuArray(data)
        | Map::ArrayOfMaps(data)
        | Map::SkStorage(data) => Some(data.fd().as_fd()),
        _ => None,
    }
}
