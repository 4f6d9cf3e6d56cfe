//! Names and default sizes of the maps. Sizes are overridden at load from the configuration.

/// `FrontendKey<Ip4>` -> `Frontend`: HASH, read-only to programs.
pub const FRONTENDS4: &str = "frontends4";
/// `FrontendKey<Ip6>` -> `Frontend`: HASH, read-only to programs.
pub const FRONTENDS6: &str = "frontends6";
/// backend id -> `Backend<Ip4>`: ARRAY that user space maps and writes.
pub const BACKENDS4: &str = "backends4";
/// backend id -> `Backend<Ip6>`: ARRAY that user space maps and writes.
pub const BACKENDS6: &str = "backends6";
/// slot / [`POOL_LANES`] -> `[u32; POOL_LANES]` backend ids: ARRAY that user space maps and writes. Both families.
pub const POOL: &str = "pool";
/// `FlowKey<Ip4>` -> `Flow<Ip4>`: HASH.
pub const FLOWS4: &str = "flows4";
/// `FlowKey<Ip6>` -> `Flow<Ip6>`: HASH.
pub const FLOWS6: &str = "flows6";
/// slot -> `FlowKey<Ip4>`: PERCPU_ARRAY, the bounded set of unconfirmed flows.
pub const RING4: &str = "ring4";
/// slot -> `FlowKey<Ip6>`: PERCPU_ARRAY, the bounded set of unconfirmed flows.
pub const RING6: &str = "ring6";
/// [`crate::Addr`] family index (0 for IPv4, 1 for IPv6) -> next slot of the ring, u32: PERCPU_ARRAY.
pub const RING_HEAD: &str = "ring_head";
/// ifindex -> `Device`: HASH, read-only to programs.
pub const DEVICES: &str = "devices";
/// `Reason` * 2 + `Direction` -> `Counter`: PERCPU_ARRAY.
pub const COUNTERS: &str = "counters";
/// socket -> `SockPeer`: SK_STORAGE, connected sockets.
pub const SOCK_PEER: &str = "sock_peer";
/// socket -> `SockPeers`: SK_STORAGE, unconnected UDP sockets.
pub const SOCK_PEERS_MAP: &str = "sock_peers";
/// `AffinityKey` -> `AffinityRow`: LRU_HASH, both families.
pub const AFFINITY: &str = "affinity";
/// `RangeKey<Ip4>` -> u32 (1): LPM_TRIE, read-only to programs.
pub const SOURCE_RANGES4: &str = "source_ranges4";
/// `RangeKey<Ip6>` -> u32 (1): LPM_TRIE, read-only to programs.
pub const SOURCE_RANGES6: &str = "source_ranges6";
/// cgroup id (u64) -> u32 (1): HASH, read-only to programs; pods whose sockets are left to the packet path.
pub const OPT_OUT: &str = "opt_out";
/// 0 -> `ServiceCidrs`: ARRAY, read-only to programs.
pub const SERVICE_CIDRS: &str = "service_cidrs";
/// 0 -> `u64` tokens (high half jiffies stamp, low half tokens): PERCPU_ARRAY, rate of packets we generate.
pub const REPLY_TOKENS: &str = "reply_tokens";
/// chunk -> ARRAY of `u64`, [`crate::maglev::CHUNK_UNITS`] of them, that user space maps and writes: ARRAY_OF_MAPS. Maglev
/// tables, see [`crate::maglev::TableRef`]. An array is made when its first table is.
pub const MAGLEV: &str = "maglev";
/// `FragmentKey<Ip4>` -> `Fragment<Ip4>`: LRU_HASH. Not pinned: it holds what is on its way right now.
pub const FRAGMENTS4: &str = "fragments4";
/// `FragmentKey<Ip6>` -> `Fragment<Ip6>`: LRU_HASH, as [`FRAGMENTS4`].
pub const FRAGMENTS6: &str = "fragments6";
/// [`crate::XdpDevice::slot`] -> `XdpDevice`: ARRAY, read-only to programs.
pub const XDP_DEVICES: &str = "xdp_devices";
/// The programs' read-only configuration, a `Config`.
pub const CONFIG: &str = "CONFIG";

/// Every map that is pinned, in no order.
pub const PINNED: [&str; 22] = [
    FRONTENDS4,
    FRONTENDS6,
    BACKENDS4,
    BACKENDS6,
    POOL,
    FLOWS4,
    FLOWS6,
    RING4,
    RING6,
    RING_HEAD,
    DEVICES,
    COUNTERS,
    SOCK_PEER,
    SOCK_PEERS_MAP,
    AFFINITY,
    SOURCE_RANGES4,
    SOURCE_RANGES6,
    OPT_OUT,
    SERVICE_CIDRS,
    REPLY_TOKENS,
    MAGLEV,
    XDP_DEVICES,
];

/// Backend ids in one element of the `pool` array: elements are padded to 8 bytes, so single ids would waste half.
pub const POOL_LANES: usize = 8;

/// Default of `bpf.lbMapMax`: frontends of each family.
pub const LB_MAP_MAX: u32 = 65_536;
/// Backends of each family for each frontend row.
pub const BACKENDS_PER_FRONTEND: u32 = 2;
/// Pool slots for each frontend row.
pub const SLOTS_PER_FRONTEND: u32 = 8;
/// Default number of flow rows of each family; a flow has two.
pub const FLOW_ROWS: u32 = 524_288;
/// Default of `bpf.lbAffinityMapMax`: clients that session affinity remembers.
pub const AFFINITY_ROWS: u32 = 65_536;
/// Default of `bpf.lbSourceRangeMapMax`: source ranges of each family.
pub const SOURCE_RANGES: u32 = 65_536;
/// Datagrams in fragments, of each family, whose fragments are known to belong together at once.
pub const FRAGMENT_ROWS: u32 = 8_192;
/// Pods that may opt out of the socket path on one node.
pub const OPT_OUTS: u32 = 4_096;
/// Default number of unconfirmed flows of each family on each CPU; a power of two.
pub const RING_SLOTS: u32 = 8_192;
