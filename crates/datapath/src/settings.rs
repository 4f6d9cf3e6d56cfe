//! What the agent's configuration says to the datapath.

use crate::expire::Lifetimes;
use crate::{Acceleration, Error};
use shunt_common::{feature, maps};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// How to start the datapath.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Directory on a bpffs; made when missing, with everything below it.
    pub bpf_root: PathBuf,
    /// The cgroup v2 directory whose sockets are translated.
    pub cgroup_root: PathBuf,
    /// Sizes of the maps. Maps that are pinned already keep theirs.
    pub sizes: Sizes,
    /// SNAT source where a device has no IPv4 address of its own.
    pub node4: Option<Ipv4Addr>,
    /// SNAT source where a device has no IPv6 address of its own.
    pub node6: Option<Ipv6Addr>,
    /// Ports that SNAT may use, host order.
    pub snat_ports: RangeInclusive<u16>,
    /// Bits of [`shunt_common::feature`] that the configuration asks for. What depends on the kernel
    /// ([`feature::CSUM_IPV6`], [`feature::FIB_SOURCE`]) is added by itself.
    pub features: u32,
    /// How long silent flows are remembered.
    pub lifetimes: Lifetimes,
    /// Maglev tables; the model's must be the same.
    pub maglev: shunt_model::maglev::Settings,
    /// Whether devices run XDP. Anything but [`Acceleration::Disabled`] needs [`feature::XDP`] among the features.
    pub acceleration: Acceleration,
    /// Attach to devices by clsact filters even where the kernel has TCX; for tests.
    pub force_clsact: bool,
}

/// Entries in each map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Frontends of each family.
    pub frontends: u32,
    /// Backends of each family; ids run from 1 to one less.
    pub backends: u32,
    /// Pool slots, both families together; a multiple of [`maps::POOL_LANES`].
    pub slots: u32,
    /// Flow rows of each family; a flow has two.
    pub flow_rows: u32,
    /// Unconfirmed flows of each family on each CPU; a power of two.
    pub ring_slots: u32,
    /// Clients that session affinity remembers, both families together.
    pub affinity: u32,
    /// Source ranges of each family.
    pub source_ranges: u32,
}

impl Sizes {
    /// The sizes that `bpf.lbMapMax` (frontends of each family) and the number of flow rows of each family ask for.
    pub const fn new(lb_map_max: u32, flow_rows: u32) -> Self {
        Self {
            frontends: lb_map_max,
            backends: lb_map_max.saturating_mul(maps::BACKENDS_PER_FRONTEND),
            slots: lb_map_max.saturating_mul(maps::SLOTS_PER_FRONTEND),
            flow_rows,
            ring_slots: maps::RING_SLOTS,
            affinity: maps::AFFINITY_ROWS,
            source_ranges: maps::SOURCE_RANGES,
        }
    }

    /// Takes over the size of a pinned map.
    pub(crate) fn adopt(&mut self, map: &str, entries: u32) {
        match map {
            maps::FRONTENDS4 | maps::FRONTENDS6 => self.frontends = entries,
            maps::BACKENDS4 | maps::BACKENDS6 => self.backends = entries,
            maps::POOL => self.slots = entries.saturating_mul(maps::POOL_LANES as u32),
            maps::FLOWS4 | maps::FLOWS6 => self.flow_rows = entries,
            maps::RING4 | maps::RING6 => self.ring_slots = entries,
            maps::AFFINITY => self.affinity = entries,
            maps::SOURCE_RANGES4 | maps::SOURCE_RANGES6 => self.source_ranges = entries,
            _ => {}
        }
    }
}

impl Default for Sizes {
    fn default() -> Self {
        Self::new(maps::LB_MAP_MAX, maps::FLOW_ROWS)
    }
}

impl Settings {
    /// Settings with every default: both families, SNAT ports above the NodePort range.
    pub fn new(bpf_root: impl Into<PathBuf>, cgroup_root: impl Into<PathBuf>) -> Self {
        Self {
            bpf_root: bpf_root.into(),
            cgroup_root: cgroup_root.into(),
            sizes: Sizes::default(),
            node4: None,
            node6: None,
            snat_ports: 32768..=65535,
            features: feature::IPV4 | feature::IPV6 | feature::BIND_PROTECTION | feature::DSR_OPT,
            lifetimes: Lifetimes::default(),
            maglev: shunt_model::maglev::Settings::default(),
            acceleration: Acceleration::Disabled,
            force_clsact: false,
        }
    }

    /// Checks what the maps and programs take for granted.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the key and what is allowed.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |key, problem: &str| Err(Error::Setting { key, problem: problem.into() });
        let Sizes { frontends, backends, slots, flow_rows, ring_slots, affinity, source_ranges } = self.sizes;
        if frontends == 0 || backends < 2 || slots == 0 || !slots.is_multiple_of(maps::POOL_LANES as u32) {
            return wrong("bpf.lbMapMax", "must be at least 1 and at most 16777216");
        }
        if flow_rows < 2 {
            return wrong("bpf.ctTcpMax", "must be at least 2");
        }
        if affinity == 0 {
            return wrong("bpf.lbAffinityMapMax", "must be at least 1");
        }
        if source_ranges == 0 {
            return wrong("bpf.lbSourceRangeMapMax", "must be at least 1");
        }
        if !ring_slots.is_power_of_two() {
            return wrong("bpf.ringSlots", "must be a power of two");
        }
        let (min, max) = (*self.snat_ports.start(), *self.snat_ports.end());
        // Each of a flow's tries must be another port.
        if u32::from(max) < u32::from(min) + shunt_common::snat::TRIES {
            return wrong("nodePort.range", "leaves fewer than 17 ports for SNAT: end it at 65518 or before");
        }
        Ok(())
    }
}
