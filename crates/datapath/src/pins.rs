//! Where everything is pinned: `<bpf_root>/v<ABI>/{maps,links,programs}`, readable by root only.

use crate::Error;
use shunt_common::ABI_VERSION;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The directories of pins under one root.
#[derive(Clone, Debug)]
pub(crate) struct Pins {
    root: PathBuf,
}

impl Pins {
    /// Below `bpf_root`.
    pub(crate) fn new(bpf_root: &Path) -> Self {
        Self { root: bpf_root.join(format!("v{ABI_VERSION}")) }
    }

    /// In one version's directory.
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.into() }
    }

    /// Makes the directories; fine when they exist.
    pub(crate) fn create(&self) -> Result<(), Error> {
        for dir in [self.maps(), self.links(), self.programs(), self.qdiscs()] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir)
                .map_err(Error::system(format!("creating {}", dir.display())))?;
        }
        Ok(())
    }

    /// The directory of this ABI version.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
    /// Maps, by name.
    pub(crate) fn maps(&self) -> PathBuf {
        self.root.join("maps")
    }
    /// One map.
    pub(crate) fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }
    /// Links: a socket hook's name, or `<ifindex>-<hook>`.
    pub(crate) fn links(&self) -> PathBuf {
        self.root.join("links")
    }
    /// Programs, by name: what the command line runs while no agent does.
    pub(crate) fn programs(&self) -> PathBuf {
        self.root.join("programs")
    }
    /// One program.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs().join(name)
    }
    /// A directory `<ifindex>` here says that the device's clsact qdisc is ours to remove.
    pub(crate) fn qdiscs(&self) -> PathBuf {
        self.root.join("qdiscs")
    }
}

/// The names in a directory, sorted; none when it does not exist.
pub(crate) fn names(dir: &Path) -> Result<Vec<String>, Error> {
    let failed = || Error::system(format!("reading {}", dir.display()));
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed()(e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(failed())?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Removes a pin; `false` when it was not there.
pub(crate) fn remove(path: &Path) -> Result<bool, Error> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::system(format!("removing {}", path.display()))(e)),
    }
}
