//! What each pinned map must be. aya adopts whatever is pinned under a map's name, so every pin is held against
//! this table first.

use crate::pins::Pins;
use crate::{Error, Sizes, sys};
use shunt_common::{
    AffinityKey, AffinityRow, Backend, Counter, Device, Flow, FlowKey, Frontend, FrontendKey, Ip4, Ip6,
    RangeKey, Reason, ServiceCidrs, SockPeer, SockPeers, XdpDevice, maps,
};
use std::io;
use std::os::fd::AsFd;

/// `BPF_F_NO_PREALLOC`.
const NO_PREALLOC: u32 = 1 << 0;
/// `BPF_F_RDONLY_PROG`: programs only read, the agent writes.
const RDONLY_PROG: u32 = 1 << 7;
/// `BPF_F_MMAPABLE`; together with [`RDONLY_PROG`] the kernel would allow no writable mapping.
pub(crate) const MMAPABLE: u32 = 1 << 10;

const HASH: u32 = 1;
pub(crate) const ARRAY: u32 = 2;
const PERCPU_ARRAY: u32 = 6;
const LRU_HASH: u32 = 9;
const LPM_TRIE: u32 = 11;
const ARRAY_OF_MAPS: u32 = 12;
const SK_STORAGE: u32 = 24;

/// The shape of one map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapSpec {
    /// Its name, and its pin's.
    pub name: &'static str,
    /// `enum bpf_map_type`.
    pub map_type: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value (on each CPU).
    pub value_size: u32,
    /// Entries.
    pub max_entries: u32,
    /// `BPF_F_*` bits.
    pub flags: u32,
    /// The configuration key that sizes it; empty when nothing does.
    pub key: &'static str,
}

impl MapSpec {
    /// The type's name as bpftool prints it.
    pub const fn type_name(&self) -> &'static str {
        match self.map_type {
            HASH => "hash",
            ARRAY => "array",
            PERCPU_ARRAY => "percpu_array",
            LRU_HASH => "lru_hash",
            LPM_TRIE => "lpm_trie",
            ARRAY_OF_MAPS => "array_of_maps",
            SK_STORAGE => "sk_storage",
            _ => "other",
        }
    }
}

/// The configuration key of frontends, backends and pool slots.
pub(crate) const LB_MAP_MAX: &str = "bpf.lbMapMax";
/// The configuration key of session affinity.
pub(crate) const AFFINITY_MAX: &str = "bpf.lbAffinityMapMax";
/// The configuration key of source ranges.
pub(crate) const RANGE_MAX: &str = "bpf.lbSourceRangeMapMax";

const fn spec<K, V>(
    name: &'static str,
    map_type: u32,
    max_entries: u32,
    flags: u32,
    key: &'static str,
) -> MapSpec {
    let (key_size, value_size) = (size_of::<K>() as u32, size_of::<V>() as u32);
    MapSpec { name, map_type, key_size, value_size, max_entries, flags, key }
}

/// Every pinned map, for these sizes.
pub(crate) fn specs(sizes: &Sizes) -> [MapSpec; maps::PINNED.len()] {
    let Sizes { frontends, backends, slots, flow_rows, ring_slots, .. } = *sizes;
    let elements = slots / maps::POOL_LANES as u32;
    let (agent, mapped) = (RDONLY_PROG | NO_PREALLOC, MMAPABLE);
    let lb = LB_MAP_MAX;
    let flows = "bpf.ctTcpMax";
    [
        spec::<FrontendKey<Ip4>, Frontend>(maps::FRONTENDS4, HASH, frontends, agent, lb),
        spec::<FrontendKey<Ip6>, Frontend>(maps::FRONTENDS6, HASH, frontends, agent, lb),
        spec::<u32, Backend<Ip4>>(maps::BACKENDS4, ARRAY, backends, mapped, lb),
        spec::<u32, Backend<Ip6>>(maps::BACKENDS6, ARRAY, backends, mapped, lb),
        spec::<u32, [u32; maps::POOL_LANES]>(maps::POOL, ARRAY, elements, mapped, lb),
        spec::<FlowKey<Ip4>, Flow<Ip4>>(maps::FLOWS4, HASH, flow_rows, NO_PREALLOC, flows),
        spec::<FlowKey<Ip6>, Flow<Ip6>>(maps::FLOWS6, HASH, flow_rows, NO_PREALLOC, flows),
        spec::<u32, FlowKey<Ip4>>(maps::RING4, PERCPU_ARRAY, ring_slots, 0, ""),
        spec::<u32, FlowKey<Ip6>>(maps::RING6, PERCPU_ARRAY, ring_slots, 0, ""),
        spec::<u32, u32>(maps::RING_HEAD, PERCPU_ARRAY, 2, 0, ""),
        spec::<u32, Device>(maps::DEVICES, HASH, 4096, agent, ""),
        spec::<u32, Counter>(maps::COUNTERS, PERCPU_ARRAY, Reason::COUNTERS, 0, ""),
        spec::<u32, SockPeer>(maps::SOCK_PEER, SK_STORAGE, 0, NO_PREALLOC, ""),
        spec::<u32, SockPeers>(maps::SOCK_PEERS_MAP, SK_STORAGE, 0, NO_PREALLOC, ""),
        spec::<AffinityKey, AffinityRow>(maps::AFFINITY, LRU_HASH, sizes.affinity, 0, AFFINITY_MAX),
        spec::<RangeKey<Ip4>, u32>(maps::SOURCE_RANGES4, LPM_TRIE, sizes.source_ranges, agent, RANGE_MAX),
        spec::<RangeKey<Ip6>, u32>(maps::SOURCE_RANGES6, LPM_TRIE, sizes.source_ranges, agent, RANGE_MAX),
        spec::<u64, u32>(maps::OPT_OUT, HASH, maps::OPT_OUTS, agent, ""),
        spec::<u32, ServiceCidrs>(maps::SERVICE_CIDRS, ARRAY, 1, RDONLY_PROG, ""),
        spec::<u32, u64>(maps::REPLY_TOKENS, PERCPU_ARRAY, 1, 0, ""),
        spec::<u32, u32>(maps::MAGLEV, ARRAY_OF_MAPS, shunt_common::maglev::CHUNKS, 0, ""),
        spec::<u32, XdpDevice>(maps::XDP_DEVICES, ARRAY, XdpDevice::SLOTS, RDONLY_PROG, ""),
    ]
}

/// Holds one pin against its spec. Answers the size that is pinned, or `None` when there is no pin.
///
/// # Errors
/// [`Error::IncompatiblePin`] for another type, key, value or flags. Another size is not an error: the pin keeps it.
pub(crate) fn check(pins: &Pins, spec: &MapSpec) -> Result<Option<u32>, Error> {
    let path = pins.map(spec.name);
    let fd = match sys::object::get(&path) {
        Ok(fd) => fd,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::system(format!("opening {}", path.display()))(e)),
    };
    let info = sys::map::info(fd.as_fd()).map_err(Error::system(format!("reading {}", path.display())))?;
    let properties = [
        ("type", info.map_type, spec.map_type),
        ("key size", info.key_size, spec.key_size),
        ("value size", info.value_size, spec.value_size),
        ("flags", info.flags, spec.flags),
    ];
    for (what, found, wanted) in properties {
        if found != wanted {
            return Err(Error::IncompatiblePin { path, what, found, wanted });
        }
    }
    Ok(Some(info.max_entries))
}
