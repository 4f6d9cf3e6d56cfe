//! What to load with: the configuration of the programs and the sizes of the maps.

use crate::pins::Pins;
use crate::{Error, MapSpec, Settings, Sizes, maps};
use shunt_common::{Config, Ip4, Ip6};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The read-only configuration that settings and facts of the node ask for; `kernel` has the [`shunt_common::feature`] bits
/// of what the kernel can do.
pub(crate) fn config(
    settings: &Settings,
    sizes: &Sizes,
    host_netns_cookie: u64,
    hz: u32,
    kernel: u32,
) -> Config {
    Config {
        host_netns_cookie,
        hz,
        features: settings.features | kernel,
        node4: Ip4::from(settings.node4.unwrap_or(Ipv4Addr::UNSPECIFIED)),
        node6: Ip6::from(settings.node6.unwrap_or(Ipv6Addr::UNSPECIFIED)),
        snat_min: *settings.snat_ports.start(),
        snat_max: *settings.snat_ports.end(),
        ring_size: sizes.ring_slots,
        maglev_size: settings.maglev.size,
        maglev_seed: settings.maglev.flow_seed(),
        pad: 0,
    }
}

/// Holds every pinned map against its spec and answers the sizes to load with: those of the pins, where there are
/// pins. `differs` hears of each that is not as wanted.
pub(crate) fn adopt_sizes(
    pins: &Pins,
    wanted: &Sizes,
    differs: impl Fn(&MapSpec, u32),
) -> Result<Sizes, Error> {
    let mut sizes = *wanted;
    for spec in maps::specs(wanted) {
        let Some(found) = maps::check(pins, &spec)? else { continue };
        if found != spec.max_entries {
            differs(&spec, found);
            sizes.adopt(spec.name, found);
        }
    }
    Ok(sizes)
}

/// Tells the operator that a changed size has no effect yet.
pub(crate) fn warn_of_size(spec: &MapSpec, pinned: u32) {
    let MapSpec { name: map, key, max_entries: wanted, .. } = *spec;
    tracing::warn!(
        map,
        key,
        pinned,
        wanted,
        "the pinned map keeps its size; run `shunt cleanup` on this node to make it anew"
    );
}
