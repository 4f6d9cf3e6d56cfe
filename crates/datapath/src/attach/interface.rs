//! Attaching to interfaces: which hooks a role needs, by TCX or clsact.

use super::{
    HOOKS, Hook, Interface, Role, clsact, l3_egress, l3_ingress, pod_egress, pod_ingress, status, tc_egress,
    tc_ingress, tcx, xdp,
};
use crate::load::Loaded;
use crate::pins::{self, Pins};
use crate::{Error, sys};
use shunt_common::device_flag;
use std::collections::BTreeSet;
use std::ffi::CStr;
use std::os::fd::AsFd;

/// Attaches to interfaces and remembers in pins what it attached to.
#[derive(Clone, Debug)]
pub(crate) struct Attacher {
    pins: Pins,
    /// clsact filters instead of TCX links.
    clsact: bool,
}

/// The hooks of a role; what restores replies first, so that nothing is translated one way only.
const fn hooks_of(role: &Role) -> [&'static Hook; 2] {
    match role {
        Role::Device(row) if row.flags & device_flag::NO_ETHERNET != 0 => {
            [&l3_egress::HOOK, &l3_ingress::HOOK]
        }
        Role::Device(_) => [&tc_egress::HOOK, &tc_ingress::HOOK],
        Role::Pod => [&pod_egress::HOOK, &pod_ingress::HOOK],
    }
}

/// An interface's name; `None` when there is none with this index in this network namespace.
pub(crate) fn name_of(ifindex: u32) -> Option<String> {
    let mut name = [0; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the room that if_indextoname(3) asks for.
    if unsafe { libc::if_indextoname(ifindex, name.as_mut_ptr()) }.is_null() {
        return None;
    }
    // SAFETY: if_indextoname wrote a C string.
    Some(unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned())
}

impl Attacher {
    pub(crate) const fn new(pins: Pins, clsact: bool) -> Self {
        Self { pins, clsact }
    }

    /// Attaches what the interface's role needs and removes what another role left there.
    pub(crate) fn set(&self, loaded: &Loaded, interface: &Interface) -> Result<(), Error> {
        let Interface { ifindex, role } = *interface;
        let wanted = hooks_of(&role);
        for hook in wanted {
            let program = loaded.program(hook.program)?;
            if self.clsact {
                clsact::attach(&self.pins, ifindex, hook, program)?;
                tcx::detach(&tcx::pin(&self.pins, ifindex, hook))?;
            } else {
                tcx::attach(&self.pins, ifindex, hook, program)?;
            }
        }
        let keep: BTreeSet<&str> = wanted.iter().map(|h| h.program).collect();
        for hook in HOOKS.iter().filter(|h| !keep.contains(h.program)) {
            tcx::detach(&tcx::pin(&self.pins, ifindex, hook))?;
        }
        if clsact::marked(&self.pins)?.contains(&ifindex) {
            let stale = HOOKS.iter().filter(|h| !self.clsact || !keep.contains(h.program));
            for hook in stale {
                clsact::detach(ifindex, hook)?;
            }
            if !self.clsact {
                clsact::forget(&self.pins, ifindex)?;
            }
        }
        Ok(())
    }

    /// Whether the very programs that the interface's role needs are attached to it.
    pub(crate) fn is_set(&self, loaded: &Loaded, interface: &Interface) -> Result<bool, Error> {
        let Interface { ifindex, role } = *interface;
        for hook in hooks_of(&role) {
            let ours = sys::program::id(loaded.program(hook.program)?)
                .map_err(Error::system(format!("reading program {}", hook.program)))?;
            let there = match self.clsact {
                true => clsact::find(ifindex, hook)?.map(|filter| filter.program_id),
                false => status::program_of(&self.pins, &tcx::pin_name(ifindex, hook))?,
            };
            if there != Some(ours) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes everything of ours from an interface, or what remembers it when the interface is gone. Answers what
    /// was removed.
    pub(crate) fn remove(&self, ifindex: u32) -> Result<Vec<String>, Error> {
        let mut removed = Vec::new();
        let hooks = HOOKS.iter().map(|hook| tcx::pin(&self.pins, ifindex, hook));
        // What relies on the others first.
        for pin in [xdp::pin(&self.pins, ifindex)].into_iter().chain(hooks) {
            if tcx::detach(&pin)? {
                removed.push(format!("link {}", pin.display()));
            }
        }
        if clsact::marked(&self.pins)?.contains(&ifindex) {
            let name = name_of(ifindex);
            for hook in HOOKS.iter().filter(|_| name.is_some()) {
                if clsact::detach(ifindex, hook)? {
                    removed.push(format!("filter {} on interface {ifindex}", clsact::filter_name(hook)));
                }
            }
            if clsact::forget(&self.pins, ifindex)? {
                removed.push(format!("clsact qdisc on interface {ifindex}"));
            }
        }
        Ok(removed)
    }

    /// The interfaces that anything of ours is attached to, or was when they went away.
    pub(crate) fn attached(&self) -> Result<BTreeSet<u32>, Error> {
        let names = pins::names(&self.pins.links())?;
        let mut all: BTreeSet<u32> = names.iter().filter_map(|n| tcx::parse_pin(n)).map(|(i, _)| i).collect();
        all.extend(clsact::marked(&self.pins)?);
        Ok(all)
    }

    /// Removes what remembers interfaces that are gone. Answers their indexes.
    pub(crate) fn reap(&self) -> Result<Vec<u32>, Error> {
        let mut gone = Vec::new();
        for ifindex in self.attached()? {
            if name_of(ifindex).is_none() || self.is_stale(ifindex) {
                self.remove(ifindex)?;
                gone.push(ifindex);
            }
        }
        Ok(gone)
    }

    /// Whether a link under this index belonged to a device that is gone: the index may be another's by now.
    fn is_stale(&self, ifindex: u32) -> bool {
        let hooks = HOOKS.iter().map(|hook| tcx::pin(&self.pins, ifindex, hook));
        hooks.chain([xdp::pin(&self.pins, ifindex)]).any(|pin| {
            let link = sys::object::get(&pin);
            link.and_then(|link| sys::link::info(link.as_fd())).is_ok_and(|info| info.target == 0)
        })
    }
}
