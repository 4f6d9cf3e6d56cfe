//! The maps. Names and layouts are `shunt_common`'s; sizes are overridden at load.

use crate::packet::Fib;
use crate::steps::parse::Parsed;
use crate::steps::reserve::Wanted;
use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_F_RDONLY_PROG};
use aya_ebpf::btf_maps::{Array, ArrayOfMaps, HashMap, LpmTrie, LruHashMap, PerCpuArray, SkStorage};
use aya_ebpf::macros::btf_map;
use shunt_common::{
    AffinityKey, AffinityRow, Backend, Counter, Device, Flow, FlowKey, Fragment, FragmentKey, Frontend,
    FrontendKey, Ip4, Ip6, PortBe, Reason, ServiceCidrs, SockPeer, SockPeers, XdpDevice, maglev,
    maps::{
        AFFINITY_ROWS, FLOW_ROWS, FRAGMENT_ROWS, LB_MAP_MAX, OPT_OUTS, POOL_LANES, RING_SLOTS, SOURCE_RANGES,
    },
};

/// Room for a flow in the making. The 512 bytes of stack serve a whole chain of calls, and two IPv6 rows would take
/// half of them.
#[repr(C)]
pub struct Scratch<A> {
    /// The row that is written: first the reply's, then the forward one.
    pub row: Flow<A>,
    /// The reply's tuple.
    pub reply: FlowKey<A>,
    /// The flow that is wanted.
    pub wanted: Wanted<A>,
    /// The service that the header of a tunnel has named.
    pub told: (A, PortBe),
    /// What an ICMP error quotes.
    pub quoted: Parsed<A>,
    /// Question to the FIB, and its answer.
    pub fib: Fib,
    /// An answer in the making, from the IP header on: at most IPv6, ICMPv6, 48 bytes that it quotes, and a word behind.
    pub answer: [u32; 25],
}

/// Only the agent writes; allocated as it fills.
const AGENT: usize = (BPF_F_RDONLY_PROG | BPF_F_NO_PREALLOC) as usize;
/// As [`AGENT`], where the kernel allocates all at once.
const AGENT_ARRAY: usize = BPF_F_RDONLY_PROG as usize;
/// Only the agent writes, word by word through a mapping. The kernel refuses a writable mapping of a map that is
/// read-only to programs, so these are not marked as such; no program here writes them.
const MAPPED: usize = BPF_F_MMAPABLE as usize;
/// Programs write; allocated as it fills.
const GROWING: usize = BPF_F_NO_PREALLOC as usize;

const FRONTENDS: usize = LB_MAP_MAX as usize;
const BACKENDS: usize = 2 * FRONTENDS;
const FLOWS: usize = FLOW_ROWS as usize;
const RING: usize = RING_SLOTS as usize;
const AFFINITIES: usize = AFFINITY_ROWS as usize;
const FRAGMENTS: usize = FRAGMENT_ROWS as usize;
const RANGES: usize = SOURCE_RANGES as usize;
const OPTED: usize = OPT_OUTS as usize;
const CHUNK: usize = maglev::CHUNK_UNITS as usize;
const TABLES: usize = maglev::CHUNKS as usize;
const XDP_ROWS: usize = XdpDevice::SLOTS as usize;
const COUNTERS: usize = Reason::COUNTERS as usize;

#[btf_map(name = "frontends4")]
pub static FRONTENDS4: HashMap<FrontendKey<Ip4>, Frontend, FRONTENDS, AGENT> = HashMap::new();
#[btf_map(name = "frontends6")]
pub static FRONTENDS6: HashMap<FrontendKey<Ip6>, Frontend, FRONTENDS, AGENT> = HashMap::new();
#[btf_map(name = "backends4")]
pub static BACKENDS4: Array<Backend<Ip4>, BACKENDS, MAPPED> = Array::new();
#[btf_map(name = "backends6")]
pub static BACKENDS6: Array<Backend<Ip6>, BACKENDS, MAPPED> = Array::new();
#[btf_map(name = "pool")]
pub static POOL: Array<[u32; POOL_LANES], FRONTENDS, MAPPED> = Array::new();
#[btf_map(name = "flows4")]
pub static FLOWS4: HashMap<FlowKey<Ip4>, Flow<Ip4>, FLOWS, GROWING> = HashMap::new();
#[btf_map(name = "flows6")]
pub static FLOWS6: HashMap<FlowKey<Ip6>, Flow<Ip6>, FLOWS, GROWING> = HashMap::new();
#[btf_map(name = "ring4")]
pub static RING4: PerCpuArray<FlowKey<Ip4>, RING> = PerCpuArray::new();
#[btf_map(name = "ring6")]
pub static RING6: PerCpuArray<FlowKey<Ip6>, RING> = PerCpuArray::new();
#[btf_map(name = "ring_head")]
pub static RING_HEAD: PerCpuArray<u32, 2> = PerCpuArray::new();
#[btf_map(name = "devices")]
pub static DEVICES: HashMap<u32, Device, 4096, AGENT> = HashMap::new();
#[btf_map(name = "counters")]
pub static COUNTER: PerCpuArray<Counter, COUNTERS> = PerCpuArray::new();
#[btf_map(name = "sock_peer")]
pub static SOCK_PEER: SkStorage<SockPeer> = SkStorage::new();
#[btf_map(name = "sock_peers")]
pub static SOCK_PEERS: SkStorage<SockPeers> = SkStorage::new();
#[btf_map(name = "scratch4")]
pub static SCRATCH4: PerCpuArray<Scratch<Ip4>, 1> = PerCpuArray::new();
#[btf_map(name = "scratch6")]
pub static SCRATCH6: PerCpuArray<Scratch<Ip6>, 1> = PerCpuArray::new();
#[btf_map(name = "parsed4")]
pub static PARSED4: PerCpuArray<Parsed<Ip4>, 1> = PerCpuArray::new();
#[btf_map(name = "parsed6")]
pub static PARSED6: PerCpuArray<Parsed<Ip6>, 1> = PerCpuArray::new();
#[btf_map(name = "fragments4")]
pub static FRAGMENTS4: LruHashMap<FragmentKey<Ip4>, Fragment<Ip4>, FRAGMENTS> = LruHashMap::new();
#[btf_map(name = "fragments6")]
pub static FRAGMENTS6: LruHashMap<FragmentKey<Ip6>, Fragment<Ip6>, FRAGMENTS> = LruHashMap::new();
#[btf_map(name = "affinity")]
pub static AFFINITY: LruHashMap<AffinityKey, AffinityRow, AFFINITIES> = LruHashMap::new();
/// Keyed by `RangeKey` without its prefix length, which aya adds.
#[btf_map(name = "source_ranges4")]
pub static SOURCE_RANGES4: LpmTrie<[u32; 2], u32, RANGES, AGENT> = LpmTrie::new();
/// As [`SOURCE_RANGES4`].
#[btf_map(name = "source_ranges6")]
pub static SOURCE_RANGES6: LpmTrie<[u32; 5], u32, RANGES, AGENT> = LpmTrie::new();
#[btf_map(name = "opt_out")]
pub static OPT_OUT: HashMap<u64, u32, OPTED, AGENT> = HashMap::new();
#[btf_map(name = "service_cidrs")]
pub static SERVICE_CIDRS: Array<ServiceCidrs, 1, AGENT_ARRAY> = Array::new();
#[btf_map(name = "reply_tokens")]
pub static REPLY_TOKENS: PerCpuArray<u64, 1> = PerCpuArray::new();
/// Values are `u64`, as the layout of tables counts by them.
#[btf_map(name = "maglev")]
pub static MAGLEV: ArrayOfMaps<Array<u64, CHUNK, MAPPED>, TABLES> = ArrayOfMaps::new();
/// Slots by [`XdpDevice::slot`].
#[btf_map(name = "xdp_devices")]
pub static XDP_DEVICES: Array<XdpDevice, XDP_ROWS, AGENT_ARRAY> = Array::new();
