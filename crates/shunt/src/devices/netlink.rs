//! Links, addresses and default routes from the kernel, and news of them.

use super::{Address, Link, LinkKind, LinkLayer, NetState};
use futures::{StreamExt, TryStreamExt};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVlan, LinkAttribute, LinkInfo, LinkLayerType, LinkMessage, VlanFlags,
};
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteType};
use rtnetlink::{Handle, MulticastGroup, RouteMessageBuilder};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// A change comes as several messages (link, addresses, routes).
const SETTLE: Duration = Duration::from_millis(20);
const RESCAN: Duration = Duration::from_secs(30);
/// Before a connection that ended is made anew.
const REMAKE: Duration = Duration::from_secs(1);

/// The network namespace's state, read when asked and whenever the kernel tells of a change.
#[derive(Debug)]
pub struct Monitor {
    handle: Handle,
    /// The task that talks to the kernel; when it ends, so does every answer.
    connection: AbortHandle,
    hints: mpsc::Receiver<()>,
}

/// Starts listening. Call it within a Tokio runtime, on a thread in the node's network namespace.
///
/// # Errors
/// When the kernel gives no netlink socket.
pub fn monitor() -> Result<Monitor, String> {
    let groups = [
        MulticastGroup::Link,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv6Ifaddr,
        MulticastGroup::Ipv4Route,
        MulticastGroup::Ipv6Route,
    ];
    let (connection, handle, mut messages) =
        rtnetlink::new_multicast_connection(&groups).map_err(|e| format!("netlink: {e}"))?;
    let connection = tokio::spawn(connection).abort_handle();
    let (hint, hints) = mpsc::channel(1);
    tokio::spawn(async move {
        while messages.next().await.is_some() {
            // A full channel has a hint in it already.
            if matches!(hint.try_send(()), Err(mpsc::error::TrySendError::Closed(()))) {
                return;
            }
        }
    });
    Ok(Monitor { handle, connection, hints })
}

impl Monitor {
    /// Reads again whenever something changed, and now and then, since the kernel drops news that it cannot deliver.
    /// Answers every state that differs from `last`, errors, and the state after an error. A connection that ended is made anew.
    #[must_use]
    pub fn follow(mut self, mut last: NetState) -> mpsc::Receiver<Result<NetState, String>> {
        let (sender, states) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut failed = false;
            loop {
                match tokio::time::timeout(RESCAN, self.hints.recv()).await {
                    Ok(Some(())) => tokio::time::sleep(SETTLE).await,
                    Ok(None) => tokio::time::sleep(REMAKE).await,
                    Err(_) => {}
                }
                _ = self.hints.try_recv();
                let state = self.read_or_remake().await;
                match &state {
                    Ok(state) if *state == last && !failed => continue,
                    Ok(state) => last.clone_from(state),
                    Err(_) => {}
                }
                failed = state.is_err();
                if sender.send(state).await.is_err() {
                    return;
                }
            }
        });
        states
    }

    async fn read_or_remake(&mut self) -> Result<NetState, String> {
        if self.connection.is_finished() {
            *self = monitor()?;
        }
        self.read().await
    }

    /// Reads everything.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn read(&self) -> Result<NetState, String> {
        let failed = |e: rtnetlink::Error| format!("netlink: {e}");
        let mut state = NetState::default();
        let mut links = self.handle.link().get().execute();
        while let Some(message) = links.try_next().await.map_err(failed)? {
            state.links.insert(message.header.index, link(&message));
        }
        let mut addresses = self.handle.address().get().execute();
        while let Some(message) = addresses.try_next().await.map_err(failed)? {
            if let Some(found) = address(&message) {
                state.addresses.entry(message.header.index).or_default().push(found);
            }
        }
        for filter in
            [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()]
        {
            let mut routes = self.handle.route().get(filter).execute();
            while let Some(message) = routes.try_next().await.map_err(failed)? {
                state.default_routes.extend(default_route(&message));
            }
        }
        Ok(state)
    }
}

fn link(message: &LinkMessage) -> Link {
    let mut link = Link {
        name: String::new(),
        kind: LinkKind::Plain,
        layer: LinkLayer::Other,
        controller: None,
        over: None,
        mtu: 0,
    };
    let (mut info, mut away, mut tagged) = (None, false, false);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Controller(index) => link.controller = Some(*index),
            LinkAttribute::Link(index) => link.over = Some(*index),
            LinkAttribute::LinkNetNsId(_) => away = true,
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::LinkInfo(all) => {
                info = all.iter().find_map(|i| if let LinkInfo::Kind(k) = i { Some(k) } else { None });
                tagged = all.iter().any(keeps_tags);
            }
            _ => {}
        }
    }
    let layer = message.header.link_layer_type;
    link.layer = if tagged { LinkLayer::Other } else { link_layer(layer) };
    link.kind = match info {
        _ if layer == LinkLayerType::Loopback => LinkKind::Loopback,
        Some(InfoKind::Veth) => LinkKind::Veth(away),
        Some(InfoKind::Bridge) => LinkKind::Bridge,
        Some(InfoKind::Vrf) => LinkKind::Vrf,
        Some(InfoKind::Dummy | InfoKind::Ifb | InfoKind::Nlmon) => LinkKind::Dummy,
        // A tap is a virtual machine's, not a tunnel.
        Some(InfoKind::Tun) if link.layer == LinkLayer::Ethernet => LinkKind::Plain,
        Some(kind) if is_overlay(kind) => LinkKind::Overlay,
        // A default tunnel device (`tunl0`, `sit0`) of the kernel's own making has a kind too.
        _ => LinkKind::Plain,
    };
    // An index of another namespace, or the other end, is none of ours.
    link.over = link.over.filter(|_| !away && !matches!(link.kind, LinkKind::Veth(_)));
    link
}

/// Whether this is a VLAN that hands packets on with their tags (`reorder_hdr off`).
fn keeps_tags(info: &LinkInfo) -> bool {
    let LinkInfo::Data(InfoData::Vlan(all)) = info else { return false };
    all.iter().any(|i| matches!(i, InfoVlan::Flags((flags, _)) if !flags.contains(VlanFlags::ReorderHdr)))
}

/// The kernel's own list of types without a header of the link layer (`dev_is_mac_header_xmit`, include/linux/if_arp.h), but
/// for PPP, which is not on that of older kernels.
fn link_layer(layer: LinkLayerType) -> LinkLayer {
    match layer {
        LinkLayerType::Ether | LinkLayerType::Loopback => LinkLayer::Ethernet,
        LinkLayerType::None
        | LinkLayerType::Rawip
        | LinkLayerType::Tunnel
        | LinkLayerType::Tunnel6
        | LinkLayerType::Sit
        | LinkLayerType::Ipgre
        | LinkLayerType::Ip6gre => LinkLayer::None,
        _ => LinkLayer::Other,
    }
}

fn is_overlay(kind: &InfoKind) -> bool {
    let name = kind.to_string().to_lowercase();
    [
        "vxlan",
        "geneve",
        "ipip",
        "sit",
        "gre",
        "gretap",
        "ip6tnl",
        "ip6gre",
        "ip6gretap",
        "wireguard",
        "tun",
        "xfrm",
    ]
    .contains(&name.as_str())
}

fn address(message: &AddressMessage) -> Option<Address> {
    let mut flags = AddressFlags::empty();
    let (mut local, mut peer) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point link the address is the other end's.
            AddressAttribute::Local(addr) => local = Some(*addr),
            AddressAttribute::Address(addr) => peer = Some(*addr),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    let addr: IpAddr = local.or(peer)?;
    let secondary = flags.contains(AddressFlags::Secondary);
    // The flag means "temporary" for IPv6: it goes away by itself.
    let unfit = flags.contains(AddressFlags::Dadfailed) || (secondary && addr.is_ipv6());
    let global = message.header.scope == AddressScope::Universe && !unfit;
    Some(Address { addr, prefix: message.header.prefix_len, global, secondary })
}

/// Metric and link of each way of a default route.
fn default_route(message: &RouteMessage) -> Vec<(u32, u32)> {
    let header = &message.header;
    let ip = matches!(header.address_family, AddressFamily::Inet | AddressFamily::Inet6);
    if !ip || header.destination_prefix_length != 0 || header.kind != RouteType::Unicast {
        return Vec::new();
    }
    let (mut metric, mut links) = (0, Vec::new());
    let mut table = u32::from(header.table);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Oif(index) => links.push(*index),
            RouteAttribute::MultiPath(hops) => links.extend(hops.iter().map(|h| h.interface_index)),
            _ => {}
        }
    }
    // The tables of VPNs, CNIs and VRFs have default routes of their own, for some packets only.
    if table != u32::from(RouteHeader::RT_TABLE_MAIN) {
        return Vec::new();
    }
    links.into_iter().map(|link| (metric, link)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_default_routes_of_the_main_table_count() {
        let route = |table, wide: Option<u32>| {
            let mut message = RouteMessageBuilder::<Ipv4Addr>::new().output_interface(7).priority(10).build();
            message.header.table = table;
            message.header.kind = RouteType::Unicast;
            message.attributes.retain(|a| !matches!(a, RouteAttribute::Table(_)));
            message.attributes.extend(wide.map(RouteAttribute::Table));
            default_route(&message)
        };
        assert_eq!(route(254, None), [(10, 7)]);
        assert_eq!(route(254, Some(254)), [(10, 7)]);
        // Numbers that do not fit into the header stand in the attribute.
        assert_eq!([route(100, None), route(252, Some(2005)), route(0, Some(51820))].concat(), []);
    }

    #[test]
    fn what_a_vlan_leaves_behind_its_tag_is_not_read() {
        let vlan = |flags| {
            let mut message = LinkMessage::default();
            message.header.link_layer_type = LinkLayerType::Ether;
            let data = InfoData::Vlan(vec![InfoVlan::Id(10), InfoVlan::Flags((flags, VlanFlags::all()))]);
            message.attributes =
                vec![LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(data)])];
            link(&message).layer
        };
        assert_eq!(vlan(VlanFlags::ReorderHdr), LinkLayer::Ethernet);
        assert_eq!(vlan(VlanFlags::ReorderHdr | VlanFlags::Gvrp), LinkLayer::Ethernet);
        assert_eq!(vlan(VlanFlags::Gvrp), LinkLayer::Other);
    }

    #[tokio::test]
    async fn a_connection_that_ends_is_made_anew() {
        let monitor = monitor().unwrap();
        let first = monitor.read().await.unwrap();
        monitor.connection.abort();
        let mut states = monitor.follow(NetState::default());
        let next = tokio::time::timeout(Duration::from_secs(20), states.recv()).await.unwrap().unwrap();
        assert_eq!(next.unwrap().links.keys().next(), first.links.keys().next());
    }
}
