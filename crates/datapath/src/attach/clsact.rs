//! Filters of the clsact qdisc: how programs sit on interfaces before TCX (Linux 6.6).
//!
//! A filter has no pin: it lives as long as the qdisc, and is known by its name. A directory `qdiscs/<ifindex>` says
//! that we have filters there, `qdiscs/<ifindex>-made` that the qdisc too is ours to remove.

use super::netlink::{self, Filter};
use super::{Hook, Side};
use crate::Error;
use crate::pins::{self, Pins};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::PathBuf;

/// Priorities to try: one that holds filters of another kind refuses ours.
const PRIORITIES: std::ops::RangeInclusive<u16> = 1..=8;

/// The name that our filters carry, and by which they are found again.
pub(crate) fn filter_name(hook: &Hook) -> String {
    format!("shunt:{}", hook.program)
}

/// Our filter for a hook, if it is there.
pub(crate) fn find(ifindex: u32, hook: &Hook) -> Result<Option<Filter>, Error> {
    let name = filter_name(hook);
    let filters = netlink::filters(ifindex, hook.side)
        .map_err(Error::system(format!("listing the filters of interface {ifindex}")))?;
    Ok(filters.into_iter().find(|f| f.name == name))
}

/// Puts a program on one side of an interface, or in the place of the one that an earlier agent put there.
pub(crate) fn attach(pins: &Pins, ifindex: u32, hook: &Hook, program: BorrowedFd<'_>) -> Result<(), Error> {
    let failed = |what: &str| Error::system(format!("{what} for {} on interface {ifindex}", hook.program));
    let made = match netlink::add_qdisc(ifindex) {
        Ok(made) => made,
        Err(e) if e.raw_os_error() == Some(libc::ENODEV) => return Err(Error::NoInterface { ifindex }),
        Err(e) => return Err(failed("adding a clsact qdisc")(e)),
    };
    mark(pins, ifindex, made)?;
    if let Some(old) = find(ifindex, hook)? {
        return netlink::put_filter(ifindex, hook.side, &old, program.as_raw_fd())
            .map_err(failed("replacing a filter"));
    }
    let mut last = io::Error::from(io::ErrorKind::InvalidInput);
    for priority in PRIORITIES {
        let filter = Filter { priority, handle: 0, name: filter_name(hook), program_id: 0 };
        match netlink::put_filter(ifindex, hook.side, &filter, program.as_raw_fd()) {
            Ok(()) => return Ok(()),
            Err(e) => last = e,
        }
    }
    Err(failed("adding a filter")(last))
}

/// Removes our filter for a hook; `false` when it was not there.
pub(crate) fn detach(ifindex: u32, hook: &Hook) -> Result<bool, Error> {
    let Some(filter) = find(ifindex, hook)? else { return Ok(false) };
    netlink::remove_filter(ifindex, hook.side, &filter)
        .map_err(Error::system(format!("removing the filter {} of interface {ifindex}", filter.name)))?;
    Ok(true)
}

/// Forgets an interface whose filters are gone, and removes its qdisc if we made it and nobody uses it. Answers
/// whether a qdisc was removed.
pub(crate) fn forget(pins: &Pins, ifindex: u32) -> Result<bool, Error> {
    let mut removed = false;
    if made_marker(pins, ifindex).exists() {
        let in_use = [Side::Ingress, Side::Egress]
            .into_iter()
            .any(|side| netlink::filters(ifindex, side).is_ok_and(|filters| !filters.is_empty()));
        let present = netlink::has_qdisc(ifindex).unwrap_or(false);
        if present && !in_use {
            netlink::remove_qdisc(ifindex)
                .map_err(Error::system(format!("removing the clsact qdisc of interface {ifindex}")))?;
            removed = true;
        }
    }
    for dir in [made_marker(pins, ifindex), marker(pins, ifindex)] {
        match fs::remove_dir(&dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(Error::system(format!("removing {}", dir.display()))(e));
            }
            _ => {}
        }
    }
    Ok(removed)
}

/// The interfaces that carry filters of ours.
pub(crate) fn marked(pins: &Pins) -> Result<Vec<u32>, Error> {
    Ok(pins::names(&pins.qdiscs())?.iter().filter_map(|name| name.parse().ok()).collect())
}

fn marker(pins: &Pins, ifindex: u32) -> PathBuf {
    pins.qdiscs().join(ifindex.to_string())
}

fn made_marker(pins: &Pins, ifindex: u32) -> PathBuf {
    pins.qdiscs().join(format!("{ifindex}-made"))
}

fn mark(pins: &Pins, ifindex: u32, made: bool) -> Result<(), Error> {
    let dirs = [Some(marker(pins, ifindex)), made.then(|| made_marker(pins, ifindex))];
    for dir in dirs.into_iter().flatten() {
        fs::create_dir_all(&dir).map_err(Error::system(format!("creating {}", dir.display())))?;
    }
    Ok(())
}
