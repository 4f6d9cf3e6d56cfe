//! Attaching to devices and pod interfaces as they come and go.

use super::{Agent, never};
use crate::devices::classify;
use shunt_datapath::{Acceleration, Error, Interface, Role, Xdp};
use shunt_model::Problem;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

const RETRY: Duration = Duration::from_secs(5);

/// What is attached, and what could not be.
pub(super) struct Interfaces {
    attached: BTreeMap<u32, (String, Role)>,
    /// Name and error of each that could not be attached.
    pub(super) failed: BTreeMap<u32, (String, String)>,
    /// When those are tried again.
    pub(super) retry_at: Instant,
    missing: Vec<String>,
    /// Why they cannot be read.
    pub(super) unread: Option<String>,
}

impl Default for Interfaces {
    fn default() -> Self {
        let (attached, failed) = (BTreeMap::new(), BTreeMap::new());
        Self { attached, failed, retry_at: never(), missing: Vec::new(), unread: None }
    }
}

impl Agent {
    /// Looks again at what the interfaces are, after a change of them or of the node's addresses.
    pub(super) fn reclassify(&mut self) {
        self.classified = classify(&self.net, &self.patterns, &self.node_ips);
        self.update_addresses();
        self.apply_interfaces();
    }

    /// Tells the model where NodePorts answer.
    pub(super) fn update_addresses(&mut self) {
        let config = &self.config;
        let handled = |all: &[IpAddr]| all.iter().copied().filter(|a| config.handles(*a)).collect::<Vec<_>>();
        let asked = config.node_port_addresses();
        // No Node object tells them, or not all of them are handled: else the model knows the primary ones itself.
        let primary = match handled(&self.node_ips) {
            _ if self.node_ips.is_empty() => Some(handled(&self.classified.primary)),
            some if some.len() < self.node_ips.len() || config.node_address().is_some() => {
                Some(first_of_each(&some))
            }
            _ => None,
        };
        let addresses = if asked.only_primary() {
            primary
        } else {
            let primary = primary.unwrap_or_else(|| first_of_each(&self.node_ips));
            Some(asked.select(&handled(&self.classified.addresses), &primary))
        };
        let localhost = asked.localhost;
        self.model.set_node_port_addresses(addresses);
        self.model.set_node_port_loopback(localhost);
    }

    /// Attaches what is not, and detaches what is no longer asked for.
    ///
    /// Before the first sync only interfaces that an earlier agent had attached are touched: their maps are filled.
    pub(super) fn apply_interfaces(&mut self) {
        self.interfaces.retry_at = never();
        let had = match self.reap().and_then(|()| self.datapath.interfaces()) {
            Ok(had) => had,
            Err(error) => return self.interfaces_failed(&error),
        };
        let synced = self.progress.synced;
        let wanted = self.wanted();
        self.interfaces.attached.retain(|index, (name, _)| {
            had.contains(index) && wanted.get(index).is_some_and(|(n, _)| n == name)
        });
        self.interfaces.failed.retain(|index, _| wanted.contains_key(index));
        for (index, (name, role)) in &wanted {
            let known = self.interfaces.attached.get(index).is_some_and(|(_, had)| had == role);
            if !known && (synced || had.contains(index)) {
                self.attach(*index, name, *role);
            }
        }
        if synced {
            let surplus: BTreeSet<u32> = had.into_iter().filter(|i| !wanted.contains_key(i)).collect();
            surplus.into_iter().for_each(|index| self.detach(index));
        }
        self.tell_missing();
    }

    /// Forgets what is no longer attached as we left it, so that the next round attaches it again; answers what could not
    /// be looked at. What is as it was is not touched.
    pub(super) fn check_interfaces(&mut self) -> Option<String> {
        let mut wrong = None;
        let datapath = &self.datapath;
        self.interfaces.attached.retain(|ifindex, (name, role)| {
            match datapath.is_set(&Interface { ifindex: *ifindex, role: *role }) {
                Ok(true) => return true,
                Ok(false) => {
                    tracing::warn!(interface = %name, "somebody else had changed what is attached; attaching again");
                }
                Err(error) => _ = wrong.get_or_insert_with(|| format!("cannot check {name}: {error}")),
            }
            false
        });
        wrong
    }

    /// Forgets interfaces that are gone.
    fn reap(&mut self) -> Result<(), Error> {
        for ifindex in self.datapath.reap_interfaces()? {
            match self.interfaces.attached.remove(&ifindex) {
                Some((interface, role)) => tracing::info!(interface, "a {} is gone", word(role)),
                None => tracing::info!(ifindex, "an interface is gone"),
            }
        }
        Ok(())
    }

    fn wanted(&self) -> BTreeMap<u32, (String, Role)> {
        let devices = self.classified.devices.iter();
        let mut wanted: BTreeMap<_, _> =
            devices.map(|(i, d)| (*i, (d.name.clone(), Role::Device(d.row())))).collect();
        let pods = self.classified.pods.iter();
        wanted.extend(pods.map(|(index, name)| (*index, (name.clone(), Role::Pod))));
        wanted
    }

    fn attach(&mut self, ifindex: u32, name: &str, role: Role) {
        let had = self.interfaces.attached.contains_key(&ifindex);
        match self.datapath.set_interface(&Interface { ifindex, role }) {
            Ok(()) => {
                self.interfaces.failed.remove(&ifindex);
                let what = word(role);
                match self.datapath.xdp(ifindex) {
                    Xdp::Tc(why) => tracing::warn!(interface = name, why, "not accelerated: served by tc"),
                    Xdp::NoDriver(why) if !had => tracing::info!(interface = name, why, "served by tc"),
                    Xdp::Native | Xdp::Generic if !had => tracing::info!(interface = name, "runs XDP"),
                    _ => {}
                }
                if had {
                    tracing::info!(interface = name, "addresses of a {what} changed");
                } else {
                    tracing::info!(interface = name, "attached to a {what}");
                }
                self.interfaces.attached.insert(ifindex, (name.into(), role));
            }
            // Netlink will tell the same in a moment.
            Err(Error::NoInterface { .. }) => {
                tracing::info!(interface = name, "gone before it was attached to")
            }
            Err(error) => {
                let error = error.to_string();
                let said = self.interfaces.failed.insert(ifindex, (name.into(), error.clone()));
                if said.is_none_or(|(_, old)| old != error) {
                    tracing::error!(interface = name, %error, "cannot attach; will be tried again");
                }
                self.interfaces.retry_at = Instant::now() + RETRY;
            }
        }
    }

    /// With `native`, the devices that came later and cannot run XDP.
    pub(super) fn xdp_problems(&self) -> Vec<Problem> {
        if self.config.acceleration() != Acceleration::Native {
            return Vec::new();
        }
        let attached = self.interfaces.attached.iter();
        let refused = attached.filter_map(|(index, (name, _))| match self.datapath.xdp(*index) {
            Xdp::Tc(why) => Some((name, why)),
            _ => None,
        });
        refused
            .map(|(name, why)| Problem {
                object: format!("Device {name}"),
                what: format!("loadBalancer.acceleration is native, and it is served by tc: {why}"),
                todo: "take it off `devices`, or set loadBalancer.acceleration to best-effort".into(),
            })
            .collect()
    }

    fn detach(&mut self, ifindex: u32) {
        let gone = !self.net.links.contains_key(&ifindex);
        let name = self.net.links.get(&ifindex).map_or("", |l| l.name.as_str());
        match self.datapath.remove_interface(ifindex) {
            Ok(()) if gone => tracing::info!(ifindex, "an interface is gone"),
            Ok(()) => tracing::info!(interface = name, "detached; neither device nor pod interface any more"),
            Err(error) => self.interfaces_failed(&error),
        }
    }

    fn interfaces_failed(&mut self, error: &Error) {
        tracing::error!(%error, "cannot read or detach interfaces; will be tried again");
        self.interfaces.retry_at = Instant::now() + RETRY;
    }

    /// Devices that the configuration lists and that are not there.
    fn tell_missing(&mut self) {
        let listed = &self.classified.missing;
        for name in listed.iter().filter(|name| !self.interfaces.missing.contains(name)) {
            tracing::warn!(device = %name, "{}", missing(name));
        }
        self.interfaces.missing.clone_from(listed);
    }
}

/// What an interface is to us.
const fn word(role: Role) -> &'static str {
    match role {
        Role::Device(_) => "device",
        Role::Pod => "pod interface",
    }
}

/// What is said of a device that the configuration lists and that is not there.
pub(super) fn missing(name: &str) -> String {
    format!(
        "{name} is listed in `devices` and is not there: bring it up, or take it off the list; the others are served"
    )
}

/// The first of each family.
fn first_of_each(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let first = |v4| addresses.iter().find(|a| a.is_ipv4() == v4).copied();
    first(true).into_iter().chain(first(false)).collect()
}
