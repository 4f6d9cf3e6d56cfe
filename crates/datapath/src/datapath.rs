//! The node's datapath as the agent holds it: loaded, pinned, attached.

use crate::attach::{Attacher, socket, status, tcx, xdp};
use crate::load::{self, Loaded};
use crate::mapped::Arrays;
use crate::pins::{self, Pins};
use crate::{
    Attachment, Clock, Error, Expirer, Interface, KernelStore, Lifetimes, Role, Settings, Sizes, Sockets,
    Table, Xdp, clock, maps, preflight, sys,
};
use shunt_common::{
    Device,
    maps::{DEVICES, OPT_OUT, SOCK_PEER, XDP_DEVICES},
};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// The running datapath. Dropping it changes nothing in the kernel: links and maps live on in their pins, so that
/// traffic goes on while the agent is down.
#[derive(Debug)]
pub struct Datapath {
    pins: Pins,
    loaded: Loaded,
    attacher: Attacher,
    driver: xdp::Driver,
    devices: Table<u32, Device>,
    arrays: Arrays,
    sizes: Sizes,
    hz: u32,
    lifetimes: Lifetimes,
}

impl Datapath {
    /// Only the checks that [`Self::start`] begins with: what a node lacks is told before anything of it is touched.
    ///
    /// # Errors
    /// One message for what is missing, see [`Error`].
    pub fn check(settings: &Settings) -> Result<(), Error> {
        preflight::check(settings).map(drop)
    }

    /// Checks the node, loads the programs, makes or adopts the pinned maps, and attaches the socket hooks.
    ///
    /// Where an earlier agent left its programs attached, each is replaced in place: every socket call and packet
    /// meets the old or the new one. That goes for interfaces too, at their [`Self::set_interface`]; until then they
    /// run the old programs on the same maps.
    ///
    /// # Errors
    /// One message for each thing that can be missing or wrong on a node, see [`Error`].
    pub fn start(settings: &Settings) -> Result<Self, Error> {
        let release = preflight::check(settings)?;
        let hz = clock::hz()?;
        let pins = Pins::new(&settings.bpf_root);
        pins.create()?;
        let sizes = load::adopt_sizes(&pins, &settings.sizes, load::warn_of_size)?;
        let config = load::config(
            settings,
            &sizes,
            netns_cookie()?,
            hz,
            preflight::features(release) | shunt_common::feature::L3,
        );
        let loaded = load::load(&config, &maps::specs(&sizes), Some(&pins))?;
        pin_programs(&loaded, &pins)?;
        socket::attach(&loaded, &pins, &settings.cgroup_root)?;
        drop_unknown(&loaded, &pins)?;
        let attacher = Attacher::new(pins.clone(), settings.force_clsact || release < preflight::TCX_SINCE);
        for ifindex in attacher.reap()? {
            tracing::info!(ifindex, "removed the pins of an interface that is gone");
        }
        let rows = Table::new(loaded.clone_map(XDP_DEVICES)?, XDP_DEVICES)?;
        let driver = xdp::Driver::new(pins.clone(), settings.acceleration, config, rows);
        let devices = Table::new(loaded.clone_map(DEVICES)?, DEVICES)?;
        let arrays = Arrays::new(|name| loaded.clone_map(name), true)?;
        let lifetimes = settings.lifetimes;
        Ok(Self { arrays, pins, loaded, attacher, driver, devices, sizes, hz, lifetimes })
    }

    /// Makes an interface a device or a pod interface: writes its row and attaches, or replaces, its programs.
    /// Calling it again with a new row changes the row without a gap.
    ///
    /// # Errors
    /// [`Error::NoInterface`] when it is gone; else what the kernel says.
    pub fn set_interface(&self, interface: &Interface) -> Result<(), Error> {
        match &interface.role {
            // The row first: the programs take a device without a row for one that is not ours.
            Role::Device(row) => self.set_device(interface.ifindex, row)?,
            Role::Pod => self.remove_device(interface.ifindex)?,
        }
        self.attacher.set(&self.loaded, interface)?;
        // Last: what it passes up is for the others to serve.
        self.driver.set(&self.loaded, interface.ifindex, matches!(interface.role, Role::Device(_)))
    }

    /// Whether an interface is as [`Self::set_interface`] leaves it. Nothing is changed.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn is_set(&self, interface: &Interface) -> Result<bool, Error> {
        let ifindex = interface.ifindex;
        let row = self.devices.get(&ifindex);
        let row = row.map_err(Error::system(format!("reading the row of device {ifindex}")))?;
        let wanted = match &interface.role {
            Role::Device(row) => Some(*row),
            Role::Pod => None,
        };
        Ok(row == wanted
            && self.attacher.is_set(&self.loaded, interface)?
            && self.driver.is_set(&self.loaded, ifindex, wanted.is_some())?)
    }

    /// With [`Acceleration::Native`](crate::Acceleration::Native): attaches XDP to these devices, which pass everything up until
    /// [`Self::set_interface`] has served them and the maps are filled. Otherwise nothing.
    ///
    /// # Errors
    /// [`Error::Xdp`] when one of them cannot run it; then none is left with what it did not have before.
    pub fn require_xdp(&self, devices: &[u32]) -> Result<(), Error> {
        self.driver.require(&self.loaded, devices)
    }

    /// What an interface's packets meet before tc, since its last [`Self::set_interface`].
    pub fn xdp(&self, ifindex: u32) -> Xdp {
        self.driver.state(ifindex)
    }

    /// Changes only a device's row (an address came or went).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_device(&self, ifindex: u32, row: &Device) -> Result<(), Error> {
        self.devices.set(&ifindex, row).map_err(Error::system(format!("writing the row of device {ifindex}")))
    }

    fn remove_device(&self, ifindex: u32) -> Result<(), Error> {
        self.devices
            .remove(&ifindex)
            .map(|_| ())
            .map_err(Error::system(format!("removing the row of device {ifindex}")))
    }

    /// Takes our programs off an interface and removes its row; fine when it is gone or was never ours.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove_interface(&self, ifindex: u32) -> Result<(), Error> {
        self.driver.remove(ifindex)?;
        self.attacher.remove(ifindex)?;
        self.remove_device(ifindex)
    }

    /// The interfaces that have programs or a row of ours, also from an earlier agent: what the agent compares with
    /// what it wants, to remove the rest.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn interfaces(&self) -> Result<BTreeSet<u32>, Error> {
        let mut all = self.attacher.attached()?;
        let rows = self.devices.entries().map_err(Error::system("reading map devices"))?;
        all.extend(rows.into_iter().map(|(ifindex, _)| ifindex));
        Ok(all)
    }

    /// Removes what remembers interfaces that are gone; answers their indexes.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn reap_interfaces(&self) -> Result<Vec<u32>, Error> {
        let gone = self.attacher.reap()?;
        for ifindex in &gone {
            self.driver.remove(*ifindex)?;
            self.remove_device(*ifindex)?;
        }
        Ok(gone)
    }

    /// Everything of ours that is attached now.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn attachments(&self) -> Result<Vec<Attachment>, Error> {
        status::attachments(&self.pins)
    }

    /// The maps of frontends, backends and pools, to apply the model's writes to. One at a time should write.
    ///
    /// # Errors
    /// When a map cannot be mapped into memory.
    pub fn store(&self) -> Result<KernelStore, Error> {
        KernelStore::new(|name| self.loaded.clone_map(name), self.arrays.clone())
    }

    /// What ends flows that are over. One at a time should run.
    ///
    /// # Errors
    /// When a map cannot be mapped into memory.
    pub fn expirer(&self) -> Result<Expirer, Error> {
        Expirer::new(|name| self.loaded.clone_map(name), &self.arrays, self.clock()?, self.lifetimes)
    }

    /// What ends sockets whose backend is gone.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn sockets(&self) -> Result<Sockets, Error> {
        Ok(Sockets::new(self.loaded.clone_map(SOCK_PEER)?))
    }

    /// The clock that flows are stamped by.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn clock(&self) -> Result<Clock, Error> {
        Ok(Clock::new(self.loaded.clone_program("clock")?, self.hz))
    }

    /// The cgroups (by id, which is the inode number of their directory) whose sockets are left to the packet path, where
    /// [`shunt_common::feature::OPT_OUT`] is on.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn opt_out(&self) -> Result<Table<u64, u32>, Error> {
        Table::new(self.loaded.clone_map(OPT_OUT)?, OPT_OUT)
    }

    /// The sizes of the maps as they are, which pins may have decided.
    pub const fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// A reader of everything, as the command line uses it.
    ///
    /// # Errors
    /// As [`crate::dump::Reader::open`].
    pub fn reader(&self) -> Result<crate::dump::Reader, Error> {
        crate::dump::Reader::from_pins(self.pins.clone())
    }
}

/// Pins every program under its name, in the place of an earlier one.
fn pin_programs(loaded: &Loaded, pins: &Pins) -> Result<(), Error> {
    for name in loaded.program_names() {
        let path = pins.program(name);
        // bpffs allows no dot in names; a crash here leaves a name that the next start removes.
        let fresh = pins.program(&format!("{name}-new"));
        pins::remove(&fresh)?;
        sys::object::pin(loaded.program(name)?, &fresh)
            .map_err(Error::system(format!("pinning {}", path.display())))?;
        fs::rename(&fresh, &path).map_err(Error::system(format!("pinning {}", path.display())))?;
    }
    Ok(())
}

/// Removes links and programs of hooks that this version has not, left by another with the same maps.
fn drop_unknown(loaded: &Loaded, pins: &Pins) -> Result<(), Error> {
    for name in pins::names(&pins.links())? {
        let known = socket::HOOKS.iter().any(|(hook, _)| *hook == name) || tcx::parse_pin(&name).is_some();
        if !known && tcx::detach(&pins.links().join(&name))? {
            tracing::info!(link = name, "removed a link of another version");
        }
    }
    for name in pins::names(&pins.programs())? {
        if loaded.program(&name).is_err() {
            pins::remove(&pins.program(&name))?;
        }
    }
    Ok(())
}

/// The cookie of this thread's network namespace.
fn netns_cookie() -> Result<u64, Error> {
    let failed = || Error::system("reading the network namespace's cookie");
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(failed()(io::Error::last_os_error()));
    }
    // SAFETY: a fresh descriptor that nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let (mut cookie, mut len) = (0u64, size_of::<u64>() as libc::socklen_t);
    let (level, option) = (libc::SOL_SOCKET, libc::SO_NETNS_COOKIE);
    // SAFETY: the option's value is a u64 and both pointers outlive the call.
    let answer = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, option, std::ptr::from_mut(&mut cookie).cast(), &mut len)
    };
    if answer == 0 { Ok(cookie) } else { Err(failed()(io::Error::last_os_error())) }
}
