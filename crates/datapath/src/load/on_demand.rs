//! Programs that are verified when they are first wanted: a packet test runs one or two of them, and the verifier takes its
//! time for each.

use super::object::{Cost, Maps, Object, Verified, unknown_program};
use crate::{Error, MapSpec};
use shunt_common::Config;
use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The object, attached nowhere and pinned nowhere.
#[derive(Debug)]
pub(crate) struct OnDemand {
    object: RefCell<Object>,
    programs: BTreeMap<String, OnceCell<Verified>>,
    maps: Maps,
}

impl OnDemand {
    /// Makes the maps.
    pub(crate) fn open(config: &Config, specs: &[MapSpec]) -> Result<Self, Error> {
        let object = Object::open(config, specs, None)?;
        let programs = object.programs().map(|name| (name.to_owned(), OnceCell::new())).collect();
        let maps = object.maps(specs)?;
        Ok(Self { object: RefCell::new(object), programs, maps })
    }

    /// A program's descriptor.
    pub(crate) fn program(&self, name: &str) -> Result<BorrowedFd<'_>, Error> {
        Ok(self.verified(name)?.fd.as_fd())
    }

    /// Another descriptor of a program.
    pub(crate) fn clone_program(&self, name: &str) -> Result<OwnedFd, Error> {
        self.program(name)?.try_clone_to_owned().map_err(Error::system(format!("cloning program {name}")))
    }

    /// Another descriptor of a map.
    pub(crate) fn clone_map(&self, name: &str) -> Result<OwnedFd, Error> {
        self.maps.clone_of(name)
    }

    /// What each program takes of what the verifier allows.
    pub(crate) fn costs(&self) -> Result<BTreeMap<String, Cost>, Error> {
        let cost = |name: &String| Ok((name.clone(), self.verified(name)?.cost()?));
        self.programs.keys().map(cost).collect()
    }

    fn verified(&self, name: &str) -> Result<&Verified, Error> {
        let cell = self.programs.get(name).ok_or_else(|| unknown_program(name))?;
        if let Some(verified) = cell.get() {
            return Ok(verified);
        }
        let verified = self.object.borrow_mut().load(name)?;
        Ok(cell.get_or_init(|| verified))
    }
}
