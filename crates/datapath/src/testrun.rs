//! Single programs on single packets: what packet tests, the benchmark and `explain` run.

use crate::attach::xdp;
pub use crate::load::Cost;
use crate::load::{self, OnDemand};
use crate::mapped::Arrays;
use crate::{
    Clock, Error, Expirer, KernelStore, Lifetimes, Settings, Sizes, Sockets, Table, clock, maps, preflight,
    sys,
};
use aya::Pod;
use shunt_common::maps::{
    AFFINITY, COUNTERS, DEVICES, FLOWS4, FLOWS6, FRONTENDS4, FRONTENDS6, SOCK_PEER, SOURCE_RANGES4,
    SOURCE_RANGES6, XDP_DEVICES,
};
use shunt_common::{
    AffinityKey, AffinityRow, Config, Counter, Device, Direction, Flow, FlowKey, Frontend, FrontendKey, Ip4,
    Ip6, RangeKey, Reason, XdpDevice,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// The object, without pins and attached nowhere. A program is verified when it first runs.
#[derive(Debug)]
pub struct TestRun {
    loaded: OnDemand,
    arrays: Arrays,
    hz: u32,
}

/// What the kernel knows of a packet beside its bytes. Zeros are its own choice.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct About {
    /// The interface whose hook runs.
    pub ifindex: u32,
    /// The interface by which the packet came to this node; zero for one that a socket of the node sends.
    pub came_by: u32,
    /// Its mark.
    pub mark: u32,
    /// At tc: payload of each of the segments that it will be cut into (`gso_size`); zero for a packet that stays whole. The
    /// kernel is not told what kind of segments they are, so it refuses to make such a packet longer or shorter.
    pub segment: u32,
    /// At XDP: so many bytes at the front of it are metadata, for which the driver has less room in front. A multiple of four, up
    /// to 32, since kernel 6.9 up to 216.
    pub metadata: u32,
}

/// What a program did to a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// What the program returned: `TC_ACT_*`, -1 (`TC_ACT_UNSPEC`, `TCX_NEXT`) for "next program"; at XDP `XDP_*`.
    pub verdict: i32,
    /// The packet afterwards, from its Ethernet header on.
    pub packet: Vec<u8>,
    /// The packet's mark afterwards (`SO_MARK`, netfilter's `meta mark`), by which policy engines know it.
    pub mark: u32,
    /// Metadata that an XDP program gave the packet.
    pub metadata: Vec<u8>,
    /// Time of one run; the mean when repeated.
    pub time: Duration,
}

/// Room for a packet that a program makes longer (generated answers, encapsulation).
const HEADROOM: usize = 512;

/// Length of the kernel's `struct __sk_buff`, and where in it `mark`, `ingress_ifindex`, `ifindex` and `gso_size` lie.
const CONTEXT: usize = 192;
const CONTEXT_MARK: usize = 8;
const CONTEXT_INGRESS_IFINDEX: usize = 36;
const CONTEXT_IFINDEX: usize = 40;
const CONTEXT_GSO_SIZE: usize = 176;

impl TestRun {
    /// Makes the maps, for programs with this configuration. `config.ring_size` is set from `sizes`; zero `hz` means the
    /// kernel's.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn load(config: &Config, sizes: &Sizes) -> Result<Self, Error> {
        let hz = clock::hz()?;
        let mut config = *config;
        config.ring_size = sizes.ring_slots;
        if config.hz == 0 {
            config.hz = hz;
        }
        let loaded = OnDemand::open(&config, &maps::specs(sizes))?;
        let arrays = Arrays::new(|name| loaded.clone_map(name), true)?;
        Ok(Self { loaded, arrays, hz })
    }

    /// The configuration that an agent with these settings would load, but for the network namespace's cookie and for what
    /// depends on the kernel ([`Self::kernel_features`]).
    pub fn config(settings: &Settings) -> Config {
        load::config(settings, &settings.sizes, 0, 0, 0)
    }

    /// The [`shunt_common::feature`] bits of what the running kernel can do.
    ///
    /// # Errors
    /// When the kernel does not tell its release, or it is too old.
    pub fn kernel_features() -> Result<u32, Error> {
        preflight::running()
    }

    /// Runs a tc or XDP program `repeat` times on a packet that came in on (or is about to leave by) an interface of this
    /// network namespace; zero leaves the kernel's choice, the loopback.
    ///
    /// The packet is not set back between repeats: the second run sees what the first one made of it.
    ///
    /// # Errors
    /// [`Error::Object`] for an unknown program, [`Error::Verifier`] when the kernel refuses it, with the verifier's words in
    /// its source, else what the kernel says: `ENODEV` for an unknown interface.
    pub fn run(&self, program: &str, packet: &[u8], ifindex: u32, repeat: u32) -> Result<Outcome, Error> {
        self.run_with(program, packet, About { ifindex, ..About::default() }, repeat)
    }

    /// The same for a packet that came by another interface, or that somebody has marked.
    ///
    /// # Errors
    /// As above.
    pub fn run_with(
        &self,
        program: &str,
        packet: &[u8],
        about: About,
        repeat: u32,
    ) -> Result<Outcome, Error> {
        let mut context = [0u8; CONTEXT];
        for (at, value) in [
            (CONTEXT_MARK, about.mark),
            (CONTEXT_INGRESS_IFINDEX, about.came_by),
            (CONTEXT_IFINDEX, about.ifindex),
            (CONTEXT_GSO_SIZE, about.segment),
        ] {
            context[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        let mut out = vec![0; packet.len() + HEADROOM];
        let fd = self.loaded.program(program)?;
        let ran = match program {
            xdp::PROGRAM => {
                sys::program::test_run_xdp(fd, packet, about.ifindex, about.metadata, &mut out, repeat)
            }
            _ => sys::program::test_run(fd, packet, &mut context, &mut out, repeat),
        };
        let ran = ran.map_err(Error::system(format!("running program {program}")))?;
        out.truncate(ran.len);
        let packet = out.split_off(ran.metadata.min(out.len()));
        let time = Duration::from_nanos(u64::from(ran.ns));
        let mut mark = [0; 4];
        mark.copy_from_slice(&context[CONTEXT_MARK..CONTEXT_MARK + 4]);
        Ok(Outcome {
            verdict: ran.verdict as i32,
            packet,
            metadata: out,
            mark: u32::from_ne_bytes(mark),
            time,
        })
    }

    /// A store on this object's maps.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn store(&self) -> Result<KernelStore, Error> {
        KernelStore::new(|name| self.loaded.clone_map(name), self.arrays.clone())
    }

    /// An expirer on this object's maps.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn expirer(&self, lifetimes: Lifetimes) -> Result<Expirer, Error> {
        Expirer::new(|name| self.loaded.clone_map(name), &self.arrays, self.clock()?, lifetimes)
    }

    /// What ends sockets, on this object's maps.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn sockets(&self) -> Result<Sockets, Error> {
        Ok(Sockets::new(self.loaded.clone_map(SOCK_PEER)?))
    }

    /// The clock of stamps.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn clock(&self) -> Result<Clock, Error> {
        Ok(Clock::new(self.loaded.clone_program("clock")?, self.hz))
    }

    fn table<K: Pod, V: Pod>(&self, name: &'static str) -> Result<Table<K, V>, Error> {
        Table::new(self.loaded.clone_map(name)?, name)
    }

    /// IPv4 frontends.
    ///
    /// # Errors
    /// When the process has no descriptor left; so for all below.
    pub fn frontends4(&self) -> Result<Table<FrontendKey<Ip4>, Frontend>, Error> {
        self.table(FRONTENDS4)
    }

    /// IPv6 frontends.
    ///
    /// # Errors
    /// As above.
    pub fn frontends6(&self) -> Result<Table<FrontendKey<Ip6>, Frontend>, Error> {
        self.table(FRONTENDS6)
    }

    /// IPv4 flow rows.
    ///
    /// # Errors
    /// As above.
    pub fn flows4(&self) -> Result<Table<FlowKey<Ip4>, Flow<Ip4>>, Error> {
        self.table(FLOWS4)
    }

    /// IPv6 flow rows.
    ///
    /// # Errors
    /// As above.
    pub fn flows6(&self) -> Result<Table<FlowKey<Ip6>, Flow<Ip6>>, Error> {
        self.table(FLOWS6)
    }

    /// Source ranges of IPv4.
    ///
    /// # Errors
    /// As above.
    pub fn source_ranges4(&self) -> Result<Table<RangeKey<Ip4>, u32>, Error> {
        self.table(SOURCE_RANGES4)
    }

    /// Source ranges of IPv6.
    ///
    /// # Errors
    /// As above.
    pub fn source_ranges6(&self) -> Result<Table<RangeKey<Ip6>, u32>, Error> {
        self.table(SOURCE_RANGES6)
    }

    /// What session affinity remembers.
    ///
    /// # Errors
    /// As above.
    pub fn affinity(&self) -> Result<Table<AffinityKey, AffinityRow>, Error> {
        self.table(AFFINITY)
    }

    /// The devices that run XDP, by [`XdpDevice::slot`].
    ///
    /// # Errors
    /// As above.
    pub fn xdp_devices(&self) -> Result<Table<u32, XdpDevice>, Error> {
        self.table(XDP_DEVICES)
    }

    /// Device rows, by ifindex.
    ///
    /// # Errors
    /// As above.
    pub fn devices(&self) -> Result<Table<u32, Device>, Error> {
        self.table(DEVICES)
    }

    /// One counter, summed over CPUs.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn counter(&self, reason: Reason, direction: Direction) -> Result<Counter, Error> {
        let table: Table<u32, Counter> = self.table(COUNTERS)?;
        let each =
            table.get_each_cpu(&reason.index(direction)).map_err(Error::system("reading map counters"))?;
        Ok(each.iter().fold(Counter::default(), |sum, c| Counter {
            packets: sum.packets + c.packets,
            bytes: sum.bytes + c.bytes,
        }))
    }

    /// Has every program verified; what each takes of what the verifier allows: the budget of `cargo xtask test-kernels`.
    ///
    /// # Errors
    /// [`Error::Verifier`] when the kernel refuses one.
    pub fn verified(&self) -> Result<BTreeMap<String, Cost>, Error> {
        self.loaded.costs()
    }
}
