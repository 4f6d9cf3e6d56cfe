//! Read-only configuration, constants to the verifier.

use aya_ebpf::Global;
use shunt_common::{Config, Ip4, Ip6, feature};

/// Overridden by user space before load; the defaults serve the packet tests.
#[unsafe(no_mangle)]
static CONFIG: Global<Config> = Global::new(Config {
    host_netns_cookie: 0,
    hz: 250,
    features: feature::IPV4 | feature::IPV6 | feature::BIND_PROTECTION | feature::DSR_OPT,
    node4: Ip4([0]),
    node6: Ip6([0; 4]),
    snat_min: 32768,
    snat_max: 65535,
    ring_size: shunt_common::maps::RING_SLOTS,
    maglev_size: shunt_common::maglev::DEFAULT_SIZE,
    maglev_seed: 0,
    pad: 0,
});

macro_rules! field {
    ($(#[$doc:meta])* $name:ident: $ty:ty) => {
        $(#[$doc])*
        #[inline(always)]
        pub fn $name() -> $ty {
            let config = (&raw const CONFIG).cast::<Config>();
            // SAFETY: CONFIG is a live static of exactly this layout; volatile because user space sets it at load.
            unsafe { (&raw const (*config).$name).read_volatile() }
        }
    };
}

field!(
    /// Cookie of the node's network namespace.
    host_netns_cookie: u64
);
field!(
    /// Ticks in a second.
    hz: u32
);
field!(
    /// Bits of [`feature`].
    features: u32
);
field!(
    /// Fallback SNAT source, IPv4.
    node4: Ip4
);
field!(
    /// Fallback SNAT source, IPv6.
    node6: Ip6
);
field!(
    /// First SNAT port.
    snat_min: u16
);
field!(
    /// Last SNAT port.
    snat_max: u16
);
field!(
    /// Slots of the unconfirmed ring on each CPU.
    ring_size: u32
);
field!(
    /// Values in a Maglev table.
    maglev_size: u32
);
field!(
    /// Seed of a flow's hash.
    maglev_seed: u32
);

/// Whether a feature bit is on.
#[inline(always)]
pub fn has(bit: u32) -> bool {
    features() & bit != 0
}
