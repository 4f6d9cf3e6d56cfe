//! Whether the network can carry direct server return, as far as the node itself can tell.
//!
//! What only the network knows, no look at the node answers: some routers and clouds drop packets with IP options, or with a
//! source address that is not the sender's. The log says so at start, and [`crate::check`] asks the network.

use crate::config::Config;
use crate::devices::{Classified, DeviceInfo};
use shunt_common::feature;
use std::fs;

/// What a device says of itself.
struct Facts {
    name: String,
    mtu: u32,
    /// Strict reverse path filtering (RFC 3704), for IPv4.
    strict: bool,
    default_route: bool,
}

/// Findings about the devices.
#[derive(Default, PartialEq, Eq, Debug)]
pub(crate) struct Findings {
    /// Remote backends are reached by SNAT from this node, since the smallest packets that must pass would not.
    pub(crate) by_snat: bool,
    /// What is wrong and what to do, one sentence each.
    pub(crate) degraded: Vec<String>,
}

/// Looks at the devices; finds nothing when neither the cluster's mode is DSR nor any service asks for it (`asked`).
pub(super) fn look(config: &Config, classified: &Classified, asked: bool) -> Findings {
    if config.resolved.text("loadBalancer.mode") == "snat" && !asked {
        return Findings::default();
    }
    judge_all(config, classified.devices.values())
}

/// The same for one device, whoever asks.
pub(crate) fn device(config: &Config, device: &DeviceInfo) -> Findings {
    judge_all(config, std::iter::once(device))
}

fn judge_all<'a>(config: &Config, devices: impl Iterator<Item = &'a DeviceInfo>) -> Findings {
    let facts = devices.map(Facts::of);
    judge(config.resolved.text("loadBalancer.dsrDispatch"), config.resolved.bool("ipv6.enabled"), facts)
}

impl Facts {
    fn of(device: &DeviceInfo) -> Self {
        let sysctl = |device: &str| {
            let path = format!("/proc/sys/net/ipv4/conf/{device}/rp_filter");
            fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u8>().ok()).unwrap_or(0)
        };
        Self {
            mtu: device.mtu,
            // The kernel takes the greater of the two; 1 is strict, 2 is loose.
            strict: sysctl("all").max(sysctl(&device.name)) == 1,
            default_route: device.default_route,
            name: device.name.clone(),
        }
    }
}

/// The smallest MTU that every link has (RFC 791 and RFC 8200 5), by family.
const LEAST: (u32, u32) = (576, 1280);
/// Bytes that a dispatch adds to a packet, IPv4 and IPv6.
pub(crate) const fn overhead(dispatch: &str) -> (u32, u32) {
    match dispatch.as_bytes() {
        b"ipip" => (20, 40),
        b"geneve" => (48, 80),
        _ => (8, 24),
    }
}

fn judge(dispatch: &str, v6: bool, facts: impl Iterator<Item = Facts>) -> Findings {
    let mut found = Findings::default();
    let (four, six) = overhead(dispatch);
    let least = if v6 { LEAST.1 + six } else { LEAST.0 + four };
    for device in facts {
        let name = &device.name;
        let mtu = device.mtu;
        if mtu < least {
            found.by_snat = true;
            found.degraded.push(format!(
                "device {name} has an MTU of {mtu}, and DSR by {dispatch} needs {least}: this node reaches remote backends by \
                 SNAT until the MTU is raised and the agent restarted"
            ));
        }
        if device.strict && !device.default_route {
            found.degraded.push(format!(
                "device {name} has net.ipv4.conf.*.rp_filter=1, which drops what clients outside send to pods here by DSR \
                 through it: set it to 2 (loose) for all and for {name}"
            ));
        }
    }
    found
}

/// The bit by which programs fall back.
pub(super) const fn features(found: &Findings) -> u32 {
    if found.by_snat { feature::DSR_BY_SNAT } else { 0 }
}

/// Tells the log, once, what no look at the node shows.
pub(super) fn tell(config: &Config, found: &Findings) {
    let (mode, dispatch) =
        (config.resolved.text("loadBalancer.mode"), config.resolved.text("loadBalancer.dsrDispatch"));
    if mode == "snat" {
        return;
    }
    let hint = match dispatch {
        "ipip" => "the network must pass IP in IP (protocols 4 and 41) between nodes and pods",
        "geneve" => {
            "the network must pass UDP to port 6081 from nodes to pods, over IPv6 without a checksum too"
        }
        _ => {
            "the network must pass IPv4 option 154 and IPv6 destination options; set loadBalancer.dsrDispatch=ipip or geneve where it \
             does not"
        }
    };
    tracing::info!(
        mode,
        dispatch,
        hint,
        "backends answer clients directly: the network must accept that from every node; `shunt check` asks it"
    );
    found.degraded.iter().for_each(|what| tracing::warn!("{what}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str, mtu: u32, strict: bool, default_route: bool) -> Facts {
        Facts { name: name.into(), mtu, strict, default_route }
    }

    #[test]
    fn a_device_that_cannot_carry_the_smallest_packets_means_snat_and_says_so() {
        for (dispatch, v6, least) in [
            ("opt", true, 1304),
            ("opt", false, 584),
            ("ipip", true, 1320),
            ("ipip", false, 596),
            ("geneve", true, 1360),
            ("geneve", false, 624),
        ] {
            let at = |mtu| judge(dispatch, v6, [device("eth0", mtu, false, true)].into_iter());
            assert_eq!(at(least), Findings::default());
            let found = at(least - 1);
            assert!(found.by_snat && features(&found) == feature::DSR_BY_SNAT);
            assert!(found.degraded[0].contains("eth0") && found.degraded[0].contains(&least.to_string()));
        }
    }

    #[test]
    fn strict_filtering_hurts_where_clients_are_not_routed() {
        let found = judge(
            "opt",
            true,
            [device("eth0", 1500, true, true), device("flannel.1", 1450, true, false)].into_iter(),
        );
        assert!(!found.by_snat);
        assert_eq!(found.degraded.len(), 1);
        assert!(found.degraded[0].contains("flannel.1") && found.degraded[0].contains("rp_filter"));
    }
}
