//! The object: its maps, and its programs one by one.

use super::stack;
use crate::attach::{l3_egress, l3_ingress, xdp};
use crate::object::OBJECT;
use crate::pins::Pins;
use crate::{Error, MapSpec, sys};
use aya::programs::{Program, ProgramError};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use shunt_common::{Config, feature};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::Duration;

/// The object with its maps made or adopted, and no program loaded yet.
#[derive(Debug)]
pub(super) struct Object {
    ebpf: Ebpf,
    features: u32,
}

/// A program that the verifier has passed.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) fd: OwnedFd,
    /// Instructions that the verifier walked.
    walked: u32,
}

/// What a program takes of what the verifier allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cost {
    /// Instructions that the verifier walked, of a million.
    pub walked: u32,
    /// Bytes of stack, of 512, as far as the instructions tell.
    pub stack: u32,
}

impl Verified {
    pub(super) fn cost(&self) -> Result<Cost, Error> {
        let code = sys::program::instructions(self.fd.as_fd());
        let code = code.map_err(Error::system("reading a program's instructions"))?;
        Ok(Cost { walked: self.walked, stack: stack::depth(&code) })
    }
}

/// Maps by name.
#[derive(Debug)]
pub(super) struct Maps(BTreeMap<String, OwnedFd>);

impl Maps {
    /// Another descriptor of a map.
    pub(super) fn clone_of(&self, name: &str) -> Result<OwnedFd, Error> {
        let fd = self.0.get(name).ok_or_else(|| Error::Object { what: "map", name: name.into() })?;
        fd.try_clone().map_err(Error::system(format!("cloning map {name}")))
    }
}

impl Object {
    /// With this configuration; maps are those at `pins`, where there are any.
    pub(super) fn open(config: &Config, specs: &[MapSpec], pins: Option<&Pins>) -> Result<Self, Error> {
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
        Ok(Self { ebpf: loader.load(OBJECT)?, features: config.features })
    }

    /// The names of the programs that the configuration wants.
    pub(super) fn programs(&self) -> impl Iterator<Item = &str> {
        let has = |bit| self.features & bit != 0;
        let wanted = move |name: &&str| match *name {
            xdp::PROGRAM => has(feature::XDP),
            name if name == l3_ingress::HOOK.program || name == l3_egress::HOOK.program => has(feature::L3),
            _ => true,
        };
        self.ebpf.programs().map(|(name, _)| name).filter(wanted)
    }

    /// Has a program verified.
    pub(super) fn load(&mut self, name: &str) -> Result<Verified, Error> {
        let program = self.ebpf.program_mut(name).ok_or_else(|| unknown_program(name))?;
        let refused = |source| Error::Verifier { program: name.into(), source: Box::new(source) };
        let mut tries = 0;
        loop {
            match load_program(program) {
                Ok(()) => break,
                // The verifier gives up with EAGAIN when a signal is pending, which may last a moment on a busy machine.
                Err(source) if is_interrupted(&source) && tries < TRIES => {
                    thread::sleep(Duration::from_millis(1 << tries));
                    tries += 1;
                }
                Err(source) => return Err(refused(source)),
            }
        }
        let fd = program.fd().map_err(refused)?.as_fd().try_clone_to_owned();
        let walked = program.info().ok().and_then(|info| info.verified_instruction_count());
        let fd = fd.map_err(Error::system(format!("cloning program {name}")))?;
        Ok(Verified { fd, walked: walked.unwrap_or(0) })
    }

    /// Descriptors of the maps, so that nothing else needs aya.
    pub(super) fn maps(&self, specs: &[MapSpec]) -> Result<Maps, Error> {
        let own = |spec: &MapSpec| {
            let map = self.ebpf.map(spec.name).and_then(map_fd);
            let fd = map.ok_or_else(|| Error::Object { what: "map", name: spec.name.into() })?;
            let fd = fd.try_clone_to_owned().map_err(Error::system(format!("cloning map {}", spec.name)))?;
            Ok((spec.name.to_owned(), fd))
        };
        specs.iter().map(own).collect::<Result<_, Error>>().map(Maps)
    }
}

/// There is no program of that name in the object, or the configuration does not want it.
pub(super) fn unknown_program(name: &str) -> Error {
    Error::Object { what: "program", name: name.into() }
}

/// How often a program that a signal interrupted is loaded again, after a pause that doubles: a second in all.
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
