//! The contract between Shunt's eBPF programs and its user space.
//!
//! Every map key and value is declared here, once, with its byte order and its exact layout; so is the pure
//! arithmetic that both sides run (checksums, TCP states, port choice). Nothing here does I/O.
//!
//! Byte order: addresses and ports are kept as they stand in a packet (network order) behind [`Ip4`], [`Ip6`]
//! and [`PortBe`]; every other integer is in host order.
//!
//! **Zero is a safe default in every value**: a zeroed backend has no state and is never chosen, a zeroed pool is
//! empty, a zeroed frontend has no backends and no permissions.
#![cfg_attr(not(any(test, feature = "user")), no_std)]

mod addr;
mod affinity;
mod backend;
mod config;
pub mod crc32c;
pub mod csum;
mod device;
mod flow;
mod fragment;
mod frontend;
pub mod maglev;
pub mod maps;
mod reason;
mod service_cidr;
pub mod snat;
mod sock;
mod source_range;
pub mod tcp;
mod xdp;

pub use addr::{Addr, Ip4, Ip6, PortBe, Proto};
pub use affinity::{AffinityKey, AffinityRow, client};
pub use backend::{Backend, BackendState};
pub use config::{Config, feature};
pub use device::{Device, device_flag};
pub use flow::{Egress, Flow, FlowKey, flow_flag, seen};
pub use fragment::{FRAGMENT_SECONDS, Fragment, FragmentKey};
pub use frontend::{FRONTEND_SCOPES, Frontend, FrontendKey, FrontendKind, Pool, Scope, frontend_flag};
pub use reason::{Counter, Direction, Reason};
pub use service_cidr::{Cidr, SERVICE_CIDRS, ServiceCidrs};
pub use sock::{SOCK_PEERS, SockPeer, SockPeers};
pub use source_range::RangeKey;
pub use xdp::{Mark, XdpDevice};

/// Version of every layout in this crate. It names the pin directory, so that an agent never adopts maps whose rows
/// mean something else; raise it whenever a key, a value or a map's type changes.
pub const ABI_VERSION: u32 = 1;

/// Declares that user space may copy this type to and from a map as bytes.
macro_rules! pod {
    ($($ty:ty),+ $(,)?) => {$(
        // SAFETY: repr(C), made of integers only, no padding (asserted beside each type), any bit pattern is valid.
        #[cfg(feature = "aya")]
        unsafe impl aya::Pod for $ty {}
    )+};
}
pub(crate) use pod;
