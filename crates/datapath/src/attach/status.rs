//! What is attached, read back from the kernel.

use super::{Attachment, HOOKS, Mode, clsact, name_of, socket, tcx, xdp};
use crate::pins::{self, Pins};
use crate::{Error, sys};
use std::os::fd::AsFd;

/// Every program of ours that is attached, socket hooks first.
pub(crate) fn attachments(pins: &Pins) -> Result<Vec<Attachment>, Error> {
    let mut all = Vec::new();
    for (hook, _) in socket::HOOKS {
        if let Some(program_id) = program_of(pins, hook)? {
            all.push(Attachment {
                hook,
                ifindex: 0,
                interface: String::new(),
                mode: Mode::Cgroup,
                program_id,
            });
        }
    }
    for name in pins::names(&pins.links())? {
        let Some((ifindex, hook)) = tcx::parse_pin(&name) else { continue };
        let (Some(program_id), Some(interface)) = (program_of(pins, &name)?, name_of(ifindex)) else {
            continue;
        };
        let mode = match hook {
            xdp::PROGRAM if xdp::is_generic(ifindex) => Mode::XdpGeneric,
            xdp::PROGRAM => Mode::XdpNative,
            _ => Mode::Tcx,
        };
        all.push(Attachment { hook, ifindex, interface, mode, program_id });
    }
    for ifindex in clsact::marked(pins)? {
        let Some(interface) = name_of(ifindex) else { continue };
        for hook in &HOOKS {
            if let Some(filter) = clsact::find(ifindex, hook)? {
                let (interface, program_id) = (interface.clone(), filter.program_id);
                all.push(Attachment {
                    hook: hook.program,
                    ifindex,
                    interface,
                    mode: Mode::Clsact,
                    program_id,
                });
            }
        }
    }
    Ok(all)
}

/// The program behind a pinned link; `None` when there is no pin or its device or cgroup is gone.
pub(crate) fn program_of(pins: &Pins, name: &str) -> Result<Option<u32>, Error> {
    let path = pins.links().join(name);
    let link = match sys::object::get(&path) {
        Ok(link) => link,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::system(format!("opening {}", path.display()))(e)),
    };
    let info = sys::link::info(link.as_fd()).map_err(Error::system(format!("reading {}", path.display())))?;
    Ok((info.target != 0).then_some(info.program_id))
}
