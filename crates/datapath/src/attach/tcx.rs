//! TCX links on interfaces (Linux 6.6), and what they share with cgroup links: a pin that outlives the agent.

use super::{Hook, Side, xdp};
use crate::pins::{self, Pins};
use crate::sys::link::{self, LinkInfo};
use crate::{Error, sys};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `BPF_TCX_INGRESS` or `BPF_TCX_EGRESS`.
pub(crate) const fn attach_type(side: Side) -> u32 {
    match side {
        Side::Ingress => 46,
        Side::Egress => 47,
    }
}

/// The pin of a hook's link on one interface.
pub(crate) fn pin(pins: &Pins, ifindex: u32, hook: &Hook) -> PathBuf {
    pins.links().join(pin_name(ifindex, hook))
}

/// The name of that pin.
pub(crate) fn pin_name(ifindex: u32, hook: &Hook) -> String {
    format!("{ifindex}-{}", hook.program)
}

/// The interface and program that a pin's name tells.
pub(crate) fn parse_pin(name: &str) -> Option<(u32, &'static str)> {
    let (ifindex, program) = name.split_once('-')?;
    let programs = super::HOOKS.iter().map(|h| h.program).chain([xdp::PROGRAM]);
    Some((ifindex.parse().ok()?, programs.into_iter().find(|p| *p == program)?))
}

/// Puts `program` first at one side of an interface, or in the place of the one that an earlier agent put there.
pub(crate) fn attach(pins: &Pins, ifindex: u32, hook: &Hook, program: BorrowedFd<'_>) -> Result<(), Error> {
    let pin = pin(pins, ifindex, hook);
    let attach_type = attach_type(hook.side);
    // The kernel keeps the device, not its index: a pin of a device that is gone reads zero, and is made anew.
    let ours = |l: &LinkInfo| {
        l.link_type == link::TYPE_TCX && l.target == u64::from(ifindex) && l.attach_type == attach_type
    };
    if adopt(&pin, program, ours)? {
        return Ok(());
    }
    let link = create(program, ifindex, attach_type).map_err(|e| match e.raw_os_error() {
        Some(libc::ENODEV) => Error::NoInterface { ifindex },
        _ => Error::system(format!("attaching {} to interface {ifindex}", hook.program))(e),
    })?;
    sys::object::pin(link.as_fd(), &pin).map_err(Error::system(format!("pinning {}", pin.display())))
}

/// How often, and how long apart, a program is attached that is attached still.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// Attaches a program. A link whose pin somebody has removed ends a moment later, when the kernel gets to it; until then
/// the program counts as attached (`EEXIST`), and would be attached no more.
fn create(program: BorrowedFd<'_>, ifindex: u32, attach_type: u32) -> io::Result<OwnedFd> {
    let mut tries = 0;
    loop {
        match link::create(program, ifindex, attach_type, link::BEFORE) {
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) && tries < TRIES => {
                tries += 1;
                std::thread::sleep(PAUSE);
            }
            answer => return answer,
        }
    }
}

/// Detaches a pinned link and removes the pin; `false` when there is none.
pub(crate) fn detach(pin: &Path) -> Result<bool, Error> {
    if let Ok(link) = sys::object::get(pin) {
        // An error means that the device or cgroup is gone, and the attachment with it.
        let _ = link::detach(link.as_fd());
    }
    pins::remove(pin)
}

/// Replaces the program behind a pinned link without a gap. A pin that is not what `ours` wants is removed; `false`
/// says that a new link is needed.
pub(crate) fn adopt(
    pin: &Path,
    program: BorrowedFd<'_>,
    ours: impl Fn(&LinkInfo) -> bool,
) -> Result<bool, Error> {
    let link = match sys::object::get(pin) {
        Ok(link) => link,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(Error::system(format!("opening {}", pin.display()))(e)),
    };
    let info = link::info(link.as_fd()).map_err(Error::system(format!("reading {}", pin.display())))?;
    if ours(&info) {
        match link::update(link.as_fd(), program) {
            Ok(()) => return Ok(true),
            // The cgroup or device went away this moment.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOLINK | libc::ENODEV)) => {}
            Err(e) => return Err(Error::system(format!("replacing the program of {}", pin.display()))(e)),
        }
    }
    pins::remove(pin)?;
    Ok(false)
}
