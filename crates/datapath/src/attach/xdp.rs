//! XDP on devices: flows to remote backends stay in the driver.
//!
//! A device has room for one XDP program. Another's is never evicted: the device is then served by tc alone, as is one whose
//! driver takes no program.

use super::links::{self, LinkState, XdpMode};
use super::tcx;
use crate::load::Loaded;
use crate::pins::Pins;
use crate::sys::link::{self, LinkInfo};
use crate::{Acceleration, Error, Table, Xdp, sys};
use shunt_common::{Config, Mark, XdpDevice, feature};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// The program's name, and the hook's in pins and listings.
pub(crate) const PROGRAM: &str = "xdp";

/// `BPF_XDP`.
const ATTACH_TYPE: u32 = 37;
/// `XDP_PASS`.
const PASS: u32 = 2;

/// Why a device does not run XDP.
enum Refusal {
    /// What `native` must refuse.
    Cannot(String),
    /// What has no driver at all, so that nobody can have meant it.
    Pointless(String),
    /// It is gone.
    Gone,
}

/// Attaches to devices as the configuration asks, and knows what came of it.
#[derive(Debug)]
pub(crate) struct Driver {
    pins: Pins,
    wanted: Acceleration,
    config: Config,
    rows: Table<u32, XdpDevice>,
    states: Mutex<BTreeMap<u32, Xdp>>,
}

/// The pin of a device's link.
pub(crate) fn pin(pins: &Pins, ifindex: u32) -> PathBuf {
    pins.links().join(pin_name(ifindex))
}

/// Its name among the pins of links.
pub(crate) fn pin_name(ifindex: u32) -> String {
    format!("{ifindex}-{PROGRAM}")
}

/// Why nobody can have meant an interface to run XDP in its driver.
pub(crate) fn pointless(link: &LinkState) -> Option<&'static str> {
    match (link.tunnel, link.mac) {
        (true, _) => Some("a tunnel has no driver; what it carries comes in by the device below"),
        (_, None) => Some("its frames have no Ethernet header"),
        _ => None,
    }
}

/// What is said of a device whose driver has no XDP.
pub(crate) const NO_PROGRAM: &str = "its driver takes no XDP program";

/// What is said of a device that runs a program of somebody else's.
pub(crate) fn taken(id: u32) -> String {
    format!("another XDP program (id {id}) is there, and is not evicted: take it off first")
}

impl Driver {
    pub(crate) fn new(pins: Pins, wanted: Acceleration, config: Config, rows: Table<u32, XdpDevice>) -> Self {
        Self { pins, wanted, config, rows, states: Mutex::default() }
    }

    /// Attaches to a device, or takes what an earlier agent attached off again where nobody wants it any more.
    pub(crate) fn set(&self, loaded: &Loaded, ifindex: u32, is_device: bool) -> Result<(), Error> {
        let state = if is_device && self.wanted != Acceleration::Disabled {
            match self.attach(loaded, ifindex)? {
                Ok(()) if self.wanted == Acceleration::Generic => Xdp::Generic,
                Ok(()) => Xdp::Native,
                Err(Refusal::Cannot(why)) => {
                    self.detach(ifindex)?;
                    Xdp::Tc(why)
                }
                Err(Refusal::Pointless(why)) => {
                    self.detach(ifindex)?;
                    Xdp::NoDriver(why)
                }
                Err(Refusal::Gone) => return Err(Error::NoInterface { ifindex }),
            }
        } else {
            self.detach(ifindex)?;
            Xdp::Off
        };
        self.states().insert(ifindex, state);
        Ok(())
    }

    /// With `native`: every one of these devices must run XDP. Otherwise nothing stays changed.
    pub(crate) fn require(&self, loaded: &Loaded, devices: &[u32]) -> Result<(), Error> {
        if self.wanted != Acceleration::Native {
            return Ok(());
        }
        let mut made = Vec::new();
        for &ifindex in devices {
            if !pin(&self.pins, ifindex).exists() {
                made.push(ifindex);
            }
            if let Err(Refusal::Cannot(why)) = self.attach(loaded, ifindex)? {
                for ifindex in made {
                    self.detach(ifindex)?;
                }
                let interface = super::name_of(ifindex).unwrap_or_else(|| ifindex.to_string());
                return Err(Error::Xdp { interface, why });
            }
        }
        Ok(())
    }

    /// What became of a device.
    pub(crate) fn state(&self, ifindex: u32) -> Xdp {
        self.states().get(&ifindex).cloned().unwrap_or_default()
    }

    /// Whether a device is as [`Self::set`] left it, by what the kernel says.
    pub(crate) fn is_set(&self, loaded: &Loaded, ifindex: u32, is_device: bool) -> Result<bool, Error> {
        let mode = match self.states().get(&ifindex) {
            None => return Ok(!is_device || self.wanted == Acceleration::Disabled),
            Some(Xdp::Off | Xdp::Tc(_) | Xdp::NoDriver(_)) => return Ok(!pin(&self.pins, ifindex).exists()),
            Some(Xdp::Native) => XdpMode::Native,
            Some(Xdp::Generic) => XdpMode::Generic,
        };
        let ours = program_id(loaded)?;
        let link = read(ifindex)?;
        let row =
            self.rows.get(&XdpDevice::slot(ifindex)).map_err(Error::system("reading map xdp_devices"))?;
        let same = row.is_some_and(|row| row.ifindex == ifindex && Some(row.mac) == link.mac);
        Ok(is_device && same && link.xdp == Some((mode, ours)) && pin(&self.pins, ifindex).exists())
    }

    /// Forgets a device, and detaches from it; `false` when nothing was attached.
    pub(crate) fn remove(&self, ifindex: u32) -> Result<bool, Error> {
        self.states().remove(&ifindex);
        self.detach(ifindex)
    }

    fn states(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, Xdp>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn detach(&self, ifindex: u32) -> Result<bool, Error> {
        if self.row(ifindex)?.is_some_and(|row| row.ifindex == ifindex) {
            self.write(ifindex, &XdpDevice::default())?;
        }
        tcx::detach(&pin(&self.pins, ifindex))
    }

    fn row(&self, ifindex: u32) -> Result<Option<XdpDevice>, Error> {
        self.rows.get(&XdpDevice::slot(ifindex)).map_err(Error::system("reading map xdp_devices"))
    }

    fn write(&self, ifindex: u32, row: &XdpDevice) -> Result<(), Error> {
        self.rows.set(&XdpDevice::slot(ifindex), row).map_err(Error::system("writing map xdp_devices"))
    }

    /// Attaches, and makes sure of it.
    fn attach(&self, loaded: &Loaded, ifindex: u32) -> Result<Result<(), Refusal>, Error> {
        let Ok(link) = links::read(ifindex) else { return Ok(Err(Refusal::Gone)) };
        let mac = match (pointless(&link), link.mac) {
            (None, Some(mac)) => mac,
            (why, _) => return Ok(Err(Refusal::Pointless(why.unwrap_or_default().into()))),
        };
        let other = self.row(ifindex)?.map_or(0, |row| row.ifindex);
        if other != 0 && other != ifindex && super::name_of(other).is_some() {
            let other = super::name_of(other).unwrap_or_default();
            let why = format!("{other} has its row of the map xdp_devices: make the interface anew");
            return Ok(Err(Refusal::Cannot(why)));
        }
        if let Err(refusal) = self.attach_link(loaded.program(PROGRAM)?, ifindex, &link)? {
            return Ok(Err(refusal));
        }
        self.write(ifindex, &XdpDevice { ifindex, mac, ..XdpDevice::default() })?;
        let sure = self.verify(loaded, ifindex, mac)?;
        Ok(sure.map_err(Refusal::Cannot))
    }

    /// Adopts the link of an earlier agent, or makes one.
    fn attach_link(
        &self,
        program: BorrowedFd<'_>,
        ifindex: u32,
        before: &LinkState,
    ) -> Result<Result<(), Refusal>, Error> {
        let pin = pin(&self.pins, ifindex);
        let (flag, mode) = self.mode();
        let ours = |l: &LinkInfo| {
            let same_mode = before.xdp.is_some_and(|(there, _)| there == mode);
            l.link_type == link::TYPE_XDP && l.target == u64::from(ifindex) && same_mode
        };
        if tcx::adopt(&pin, program, ours)? {
            return Ok(Ok(()));
        }
        match link::create(program, ifindex, ATTACH_TYPE, flag) {
            Ok(link) => {
                sys::object::pin(link.as_fd(), &pin)
                    .map_err(Error::system(format!("pinning {}", pin.display())))?;
                Ok(Ok(()))
            }
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(Err(Refusal::Gone)),
            Err(error) => Ok(Err(Refusal::Cannot(why(&error, ifindex)))),
        }
    }

    /// `XDP_FLAGS_*` and what the kernel then says.
    const fn mode(&self) -> (u32, XdpMode) {
        match self.wanted {
            Acceleration::Generic => (1 << 1, XdpMode::Generic),
            _ => (1 << 2, XdpMode::Native),
        }
    }

    /// The kernel must name our program, in the mode that was asked for, and a packet that the program gets on this very
    /// device must come back as only our program, with this device's row, would leave it.
    fn verify(&self, loaded: &Loaded, ifindex: u32, mac: [u8; 6]) -> Result<Result<(), String>, Error> {
        let (_, mode) = self.mode();
        let there = read(ifindex)?.xdp;
        if there != Some((mode, program_id(loaded)?)) {
            return Ok(Err(format!("the kernel took the program and now names another: {there:?}")));
        }
        let mut out = [0; 256];
        let frame = probe(mac, self.config.features & feature::IPV4 != 0);
        let mark = Mark::new(self.config.host_netns_cookie, ifindex).bytes();
        match sys::program::test_run_xdp(loaded.program(PROGRAM)?, &frame, ifindex, 0, &mut out, 1) {
            Ok(ran) => {
                let expected = [&mark[..], &frame].concat();
                let good = ran.verdict == PASS && out[..ran.len] == expected;
                Ok(good
                    .then_some(())
                    .ok_or_else(|| "a probe packet did not come through as it should".into()))
            }
            Err(error) => Ok(Err(format!("a probe packet could not be run: {error}"))),
        }
    }
}

/// A datagram from nowhere to nowhere: to no frontend, and of no flow, so that the program passes it with its mark.
fn probe(mac: [u8; 6], ipv4: bool) -> [u8; 64] {
    let mut frame = [0; 64];
    frame[..6].copy_from_slice(&mac);
    if ipv4 {
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        // A header of 20 bytes, 50 in all, UDP.
        frame[14] = 0x45;
        frame[17] = 50;
        frame[23] = 17;
    } else {
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        // 10 bytes of UDP.
        frame[14] = 0x60;
        frame[19] = 10;
        frame[20] = 17;
    }
    frame
}

fn program_id(loaded: &Loaded) -> Result<u32, Error> {
    sys::program::id(loaded.program(PROGRAM)?).map_err(Error::system("reading program xdp"))
}

fn read(ifindex: u32) -> Result<LinkState, Error> {
    links::read(ifindex).map_err(|error| match error.raw_os_error() {
        Some(libc::ENODEV) => Error::NoInterface { ifindex },
        _ => Error::system(format!("reading interface {ifindex}"))(error),
    })
}

/// Why the kernel did not attach our program.
fn why(error: &io::Error, ifindex: u32) -> String {
    let other = links::read(ifindex).ok().and_then(|link| link.xdp);
    match (error.raw_os_error(), other) {
        (Some(libc::EBUSY | libc::EEXIST), Some((_, id))) => taken(id),
        (Some(libc::EOPNOTSUPP), _) => NO_PROGRAM.into(),
        _ => format!("the kernel refuses ({error}): look at its MTU, at LRO and at the number of its queues"),
    }
}

/// Whether a device runs its XDP program in the stack, in place of its driver.
pub(crate) fn is_generic(ifindex: u32) -> bool {
    links::read(ifindex).is_ok_and(|link| link.xdp.is_some_and(|(mode, _)| mode == XdpMode::Generic))
}
