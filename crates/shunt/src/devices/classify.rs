//! From links, addresses and routes to devices and pod interfaces: pure.

use super::{Address, Link, LinkKind, LinkLayer, NetState, Patterns};
use serde::{Deserialize, Serialize};
use shunt_common::{Device, device_flag};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceInfo {
    /// Name.
    pub name: String,
    /// Its primary IPv4 address.
    pub addr4: Option<Ipv4Addr>,
    /// Its primary IPv6 address.
    pub addr6: Option<Ipv6Addr>,
    /// Whether its packets begin with an Ethernet header.
    pub ethernet: bool,
    /// Whether a default route leads out of it.
    pub default_route: bool,
    /// The longest IP packet that it sends, in bytes.
    pub mtu: u32,
}

impl DeviceInfo {
    /// Its row for the programs.
    #[must_use]
    pub fn row(&self) -> Device {
        Device {
            addr4: self.addr4.unwrap_or(Ipv4Addr::UNSPECIFIED).into(),
            addr6: self.addr6.unwrap_or(Ipv6Addr::UNSPECIFIED).into(),
            flags: if self.ethernet { 0 } else { device_flag::NO_ETHERNET },
        }
    }
}

/// What the interfaces are to Shunt.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Classified {
    /// Devices by index.
    pub devices: BTreeMap<u32, DeviceInfo>,
    /// Pod interfaces: index and name.
    pub pods: BTreeMap<u32, String>,
    /// This node's primary addresses, of the device with the preferred default route, one a family.
    pub primary: Vec<IpAddr>,
    /// Every global address of the node.
    pub addresses: Vec<IpAddr>,
    /// Devices that are listed by name and are not there.
    pub missing: Vec<String>,
    /// Ways into the cluster's network that would be devices if the programs could read what their packets begin with.
    pub unsupported: Vec<String>,
}

/// Where kube-proxy, in its IPVS mode, puts every service's address; what it left there is nobody's own address.
const IPVS: &str = "kube-ipvs0";

/// Finds devices and pod interfaces; `node` are the addresses that the Node object names, if there is one.
#[must_use]
pub fn classify(state: &NetState, patterns: &Patterns, node: &[IpAddr]) -> Classified {
    let mut found = Classified::default();
    // An uplink whose address is on a VLAN or macvlan of it.
    let carriers: BTreeSet<u32> = state.links.values().filter_map(|l| l.over).collect();
    for (index, link) in &state.links {
        let addresses = state.addresses.get(index).map_or(&[][..], Vec::as_slice);
        let globals = addresses.iter().filter(|a| a.global && link.name != IPVS);
        found.addresses.extend(globals.map(|a| a.addr));
        let view = View { link, addresses, default_route: has_default_route(state, *index), node };
        if link.kind != LinkKind::Loopback
            && patterns.says(&link.name).unwrap_or_else(|| view.is_device(state))
        {
            if link.layer != LinkLayer::Other {
                found.devices.insert(*index, view.device());
            } else if view.is_cluster_s() {
                // A private network beside the cluster's is nobody's loss.
                found.unsupported.push(link.name.clone());
            }
        } else if view.is_pod(state) && !carriers.contains(index) && !patterns.excludes(&link.name) {
            found.pods.insert(*index, link.name.clone());
        }
    }
    found.primary = primary(state, &found.devices);
    let known = |name: &str| state.links.values().any(|l| l.name == name);
    found.missing = patterns.exact().filter(|name| !known(name)).map(String::from).collect();
    found
}

struct View<'a> {
    link: &'a Link,
    addresses: &'a [Address],
    default_route: bool,
    node: &'a [IpAddr],
}

impl View<'_> {
    fn is_device(&self, state: &NetState) -> bool {
        // What is part of a bridge or bond hands its packets to it; a VRF is only a choice of routes.
        let vrf = |index| state.links.get(&index).is_some_and(|l| l.kind == LinkKind::Vrf);
        if self.link.controller.is_some_and(|index| !vrf(index)) || self.link.kind == LinkKind::Vrf {
            return false;
        }
        if self.default_route || self.addresses.iter().any(|a| self.node.contains(&a.addr)) {
            return true;
        }
        let has_subnet = self.addresses.iter().any(|a| a.global && !single(a));
        match self.link.kind {
            LinkKind::Overlay => true,
            LinkKind::Plain => self.addresses.iter().any(|a| a.global),
            // Some CNIs put the pods' gateway on each veth, as a single address.
            LinkKind::Veth(_) => has_subnet,
            // A CNI's or container engine's bridge carries the pods' gateway.
            LinkKind::Bridge | LinkKind::Dummy | LinkKind::Vrf | LinkKind::Loopback => false,
        }
    }

    /// Whether clients from outside or other nodes' pods are likely to be behind it.
    fn is_cluster_s(&self) -> bool {
        let node_s = self.addresses.iter().any(|a| self.node.contains(&a.addr));
        self.default_route || node_s || self.link.kind == LinkKind::Overlay
    }

    fn is_pod(&self, state: &NetState) -> bool {
        let LinkKind::Veth(away) = self.link.kind else { return false };
        let bridge = |index: u32| state.links.get(&index).is_some_and(|l| l.kind == LinkKind::Bridge);
        away && self.link.controller.is_none_or(bridge)
    }

    fn device(&self) -> DeviceInfo {
        let address = |v4: bool| {
            let family = || self.addresses.iter().filter(|a| a.addr.is_ipv4() == v4 && a.global);
            // The Node's own address, else the first that is no alias.
            let named = family().find(|a| self.node.contains(&a.addr));
            named.or_else(|| family().find(|a| !a.secondary)).or_else(|| family().next()).map(|a| a.addr)
        };
        DeviceInfo {
            name: self.link.name.clone(),
            addr4: address(true).and_then(|a| if let IpAddr::V4(a) = a { Some(a) } else { None }),
            addr6: address(false).and_then(|a| if let IpAddr::V6(a) = a { Some(a) } else { None }),
            ethernet: self.link.layer == LinkLayer::Ethernet,
            default_route: self.default_route,
            mtu: self.link.mtu,
        }
    }
}

/// A /32 or /128.
fn single(address: &Address) -> bool {
    address.prefix == if address.addr.is_ipv4() { 32 } else { 128 }
}

fn has_default_route(state: &NetState, index: u32) -> bool {
    state.default_routes.iter().any(|(_, link)| *link == index)
}

/// Of the preferred default route's device that has one; else of the first device that has one.
fn primary(state: &NetState, devices: &BTreeMap<u32, DeviceInfo>) -> Vec<IpAddr> {
    let routed = state.default_routes.iter().filter_map(|(_, index)| devices.get(index));
    let overlay = |i: &u32| state.links.get(i).is_some_and(|l| l.kind == LinkKind::Overlay);
    let plain = devices.iter().filter(|(i, _)| !overlay(i)).map(|(_, d)| d);
    let order: Vec<&DeviceInfo> = routed.chain(plain).collect();
    let v4 = order.iter().find_map(|d| d.addr4).map(IpAddr::V4);
    let v6 = order.iter().find_map(|d| d.addr6).map(IpAddr::V6);
    v4.into_iter().chain(v6).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Index, name, kind, controller, addresses.
    type Row<'a> = (u32, &'a str, LinkKind, Option<u32>, &'a [&'a str]);

    fn state(rows: &[Row<'_>], default_routes: &[(u32, u32)]) -> NetState {
        let mut state =
            NetState { default_routes: default_routes.iter().copied().collect(), ..Default::default() };
        for (index, name, kind, controller, addresses) in rows {
            let link = Link {
                name: (*name).into(),
                kind: *kind,
                layer: LinkLayer::Ethernet,
                controller: *controller,
                over: None,
                mtu: 1500,
            };
            state.links.insert(*index, link);
            let address = |text: &&str| {
                let net: ipnet::IpNet = text.parse().unwrap();
                let global = !text.starts_with("fe80") && !text.starts_with("169.254");
                Address { addr: net.addr(), prefix: net.prefix_len(), global, secondary: false }
            };
            state.addresses.insert(*index, addresses.iter().map(address).collect());
        }
        state
    }

    fn names(found: &Classified) -> (Vec<&str>, Vec<&str>) {
        let devices = found.devices.values().map(|d| d.name.as_str()).collect();
        (devices, found.pods.values().map(String::as_str).collect())
    }

    const LO: Row<'_> = (1, "lo", LinkKind::Loopback, None, &["127.0.0.1/8", "10.9.9.9/32"]);

    #[test]
    fn routed_veths_without_addresses_lead_to_pods_and_the_uplink_is_a_device() {
        let found = classify(
            &state(
                &[
                    LO,
                    (
                        2,
                        "eth0",
                        LinkKind::Veth(true),
                        None,
                        &["192.0.2.1/24", "2001:db8::1/64", "fe80::1/64"],
                    ),
                    (3, "lxc1", LinkKind::Veth(true), None, &["fe80::2/64"]),
                    (4, "lxc2", LinkKind::Veth(true), None, &["10.244.1.1/32"]),
                    (5, "eth1", LinkKind::Veth(true), None, &["198.51.100.1/24"]),
                    (6, "vethx", LinkKind::Veth(false), None, &[]),
                ],
                &[(0, 2)],
            ),
            &Patterns::default(),
            &[],
        );
        assert_eq!(names(&found), (vec!["eth0", "eth1"], vec!["lxc1", "lxc2"]));
        let primary: Vec<String> = found.primary.iter().map(ToString::to_string).collect();
        assert_eq!(primary, ["192.0.2.1", "2001:db8::1"]);
    }

    #[test]
    fn an_uplink_that_carries_others_and_one_that_is_excluded_lead_to_no_pod() {
        let rows = [
            (2, "eth0", LinkKind::Veth(true), None, &[][..]),
            (3, "mac0", LinkKind::Plain, None, &["192.0.2.1/24"][..]),
            (4, "ext0", LinkKind::Veth(true), None, &[][..]),
            (5, "lxc1", LinkKind::Veth(true), None, &[][..]),
        ];
        let mut state = state(&rows, &[(0, 3)]);
        state.links.get_mut(&3).unwrap().over = Some(2);
        let found = classify(&state, &Patterns::new(&["!ext+".into()]), &[]);
        assert_eq!(names(&found), (vec!["mac0"], vec!["lxc1"]));
    }

    #[test]
    fn bridge_ports_lead_to_pods_and_the_bridge_is_neither() {
        let rows = [
            (2, "eth0", LinkKind::Plain, None, &["192.0.2.1/24"][..]),
            (3, "cni0", LinkKind::Bridge, None, &["10.244.1.1/24"][..]),
            (4, "veth1", LinkKind::Veth(true), Some(3), &[][..]),
            (5, "docker0", LinkKind::Bridge, None, &["172.17.0.1/16"][..]),
        ];
        let found = classify(&state(&rows, &[(100, 2)]), &Patterns::default(), &[]);
        assert_eq!(names(&found), (vec!["eth0"], vec!["veth1"]));
    }

    #[test]
    fn a_bridge_with_the_default_route_is_the_device_and_its_port_is_not() {
        let rows = [
            (2, "eth0", LinkKind::Plain, Some(3), &[][..]),
            (3, "br0", LinkKind::Bridge, None, &["192.0.2.1/24"][..]),
        ];
        let found = classify(&state(&rows, &[(0, 3)]), &Patterns::default(), &[]);
        assert_eq!(names(&found), (vec!["br0"], vec![]));
    }

    #[test]
    fn a_nic_in_a_vrf_is_a_device_and_the_vrf_is_none() {
        let rows = [
            (2, "eth0", LinkKind::Plain, None, &["192.0.2.1/24"][..]),
            (3, "storage", LinkKind::Vrf, None, &["198.51.100.9/32"][..]),
            (4, "eth1", LinkKind::Plain, Some(3), &["198.51.100.1/24"][..]),
            (5, "bond0", LinkKind::Plain, None, &[][..]),
            (6, "eth2", LinkKind::Plain, Some(5), &["203.0.113.1/24"][..]),
        ];
        let found = classify(&state(&rows, &[(0, 2)]), &Patterns::default(), &[]);
        assert_eq!(names(&found), (vec!["eth0", "eth1"], vec![]));
    }

    #[test]
    fn addresses_of_services_that_kube_proxy_left_behind_are_not_the_nodes() {
        let rows = [
            LO,
            (2, "eth0", LinkKind::Plain, None, &["192.0.2.1/24"][..]),
            (3, "kube-ipvs0", LinkKind::Dummy, None, &["10.96.0.1/32", "198.51.100.80/32"][..]),
            (4, "dummy0", LinkKind::Dummy, None, &["192.0.2.53/32"][..]),
        ];
        let found = classify(&state(&rows, &[(0, 2)]), &Patterns::default(), &[]);
        let all: Vec<String> = found.addresses.iter().map(ToString::to_string).collect();
        assert!(!all.contains(&"10.96.0.1".into()) && !all.contains(&"198.51.100.80".into()), "{all:?}");
        assert!(all.contains(&"192.0.2.1".into()) && all.contains(&"192.0.2.53".into()), "{all:?}");
    }

    #[test]
    fn overlays_are_devices_and_never_the_primary_address() {
        let rows = [
            (2, "flannel.1", LinkKind::Overlay, None, &["10.244.1.0/32"][..]),
            (3, "eth0", LinkKind::Plain, None, &["192.0.2.1/24"][..]),
        ];
        let found = classify(&state(&rows, &[]), &Patterns::default(), &[]);
        assert_eq!(names(&found), (vec!["flannel.1", "eth0"], vec![]));
        assert_eq!(found.primary, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn devices_without_ethernet_are_told_apart_and_only_unreadable_ones_of_the_cluster_are_named() {
        let mut state = state(
            &[
                (2, "tunl0", LinkKind::Overlay, None, &["10.244.1.0/32"]),
                (3, "eth0", LinkKind::Plain, None, &["192.0.2.1/24"]),
                (4, "wg0", LinkKind::Overlay, None, &["10.7.0.1/24"]),
                (5, "ppp0", LinkKind::Plain, None, &["192.0.2.9/32"]),
                (6, "ib0", LinkKind::Plain, None, &["10.8.0.1/24"]),
            ],
            &[(0, 3), (1, 5)],
        );
        for (index, layer) in
            [(2, LinkLayer::None), (4, LinkLayer::None), (5, LinkLayer::Other), (6, LinkLayer::Other)]
        {
            state.links.get_mut(&index).unwrap().layer = layer;
        }
        let found = classify(&state, &Patterns::default(), &[]);
        assert_eq!(names(&found), (vec!["tunl0", "eth0", "wg0"], vec![]));
        let flags: Vec<u32> = found.devices.values().map(|device| device.row().flags).collect();
        assert_eq!(flags, [device_flag::NO_ETHERNET, 0, device_flag::NO_ETHERNET]);
        assert_eq!(found.unsupported, ["ppp0"]);
    }

    #[test]
    fn the_nodes_own_address_makes_a_device_of_a_bridge_and_is_its_source() {
        let rows = [
            (2, "eth0", LinkKind::Plain, None, &["203.0.113.1/24", "192.0.2.1/24"][..]),
            (3, "br-int", LinkKind::Bridge, None, &["192.0.2.7/24"][..]),
        ];
        let node = ["192.0.2.1".parse().unwrap(), "192.0.2.7".parse().unwrap()];
        let found = classify(&state(&rows, &[(0, 2)]), &Patterns::default(), &node);
        assert_eq!(names(&found), (vec!["eth0", "br-int"], vec![]));
        assert_eq!(found.devices[&2].addr4, Some("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn a_list_overrules_detection_and_tells_what_is_missing() {
        let rows = [
            LO,
            (2, "eth0", LinkKind::Plain, None, &["192.0.2.1/24"][..]),
            (3, "eth1", LinkKind::Plain, None, &["198.51.100.1/24"][..]),
        ];
        let patterns = Patterns::new(&["eth1".into(), "ens9".into(), "lo".into()]);
        let found = classify(&state(&rows, &[(0, 2)]), &patterns, &[]);
        assert_eq!(names(&found), (vec!["eth1"], vec![]));
        assert_eq!(found.missing, ["ens9"]);
    }
}
