//! Loading the object: maps adopted or made, configuration set, programs verified.

mod config;
mod object;
mod on_demand;
mod stack;

pub(crate) use config::{adopt_sizes, config, warn_of_size};
pub use object::Cost;
pub(crate) use on_demand::OnDemand;

use crate::object::OBJECT;
use crate::pins::Pins;
use crate::{Error, MapSpec, memory};
use object::{Maps, Object};
use shunt_common::Config;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Every program and map that the configuration wants, by name. Dropping it leaves what is pinned or attached.
#[derive(Debug)]
pub(crate) struct Loaded {
    programs: BTreeMap<String, OwnedFd>,
    maps: Maps,
}

impl Loaded {
    /// A program's descriptor.
    pub(crate) fn program(&self, name: &str) -> Result<BorrowedFd<'_>, Error> {
        let fd = self.programs.get(name).ok_or_else(|| object::unknown_program(name))?;
        Ok(fd.as_fd())
    }

    /// Another descriptor of a program.
    pub(crate) fn clone_program(&self, name: &str) -> Result<OwnedFd, Error> {
        self.program(name)?.try_clone_to_owned().map_err(Error::system(format!("cloning program {name}")))
    }

    /// Another descriptor of a map.
    pub(crate) fn clone_map(&self, name: &str) -> Result<OwnedFd, Error> {
        self.maps.clone_of(name)
    }

    /// The names of the programs.
    pub(crate) fn program_names(&self) -> impl Iterator<Item = &str> {
        self.programs.keys().map(String::as_str)
    }
}

/// Loads the object and every program in it that the configuration wants.
pub(crate) fn load(config: &Config, specs: &[MapSpec], pins: Option<&Pins>) -> Result<Loaded, Error> {
    let mut object = Object::open(config, specs, pins)?;
    let names: Vec<String> = object.programs().map(str::to_owned).collect();
    let load = |name: String| Ok((name.clone(), object.load(&name)?.fd));
    let programs = names.into_iter().map(load).collect::<Result<_, Error>>()?;
    // Nobody looks at it again until the next start.
    memory::put_away(OBJECT);
    Ok(Loaded { programs, maps: object.maps(specs)? })
}
