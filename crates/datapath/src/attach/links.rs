//! What the kernel says of one interface: its name, MAC address, kind, and the XDP program on it.

use netlink_packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage, LinkXdp, XdpAttached};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;

/// An answer fits (the kernel's NLMSG_GOODSIZE, and the many attributes of interfaces with virtual functions).
const BUFFER: usize = 64 << 10;

/// An interface, as far as it matters to XDP.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct LinkState {
    /// Its name.
    pub(crate) name: String,
    /// Its MAC address; `None` when its frames have no Ethernet header.
    pub(crate) mac: Option<[u8; 6]>,
    /// It carries other packets inside of packets of another device: it has no driver.
    pub(crate) tunnel: bool,
    /// How an XDP program is attached, and its id.
    pub(crate) xdp: Option<(XdpMode, u32)>,
}

/// How an XDP program is attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum XdpMode {
    /// In the driver.
    Native,
    /// In the stack, before tc.
    Generic,
    /// In the NIC, or in several ways at once: never ours.
    Other,
}

/// Asks for one interface of this network namespace.
pub(crate) fn read(ifindex: u32) -> io::Result<LinkState> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut link = LinkMessage::default();
    link.header.index = ifindex;
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetLink(link));
    request.header.flags = NLM_F_REQUEST;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut answer = Vec::with_capacity(BUFFER);
    socket.recv(&mut answer, 0)?;
    let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
    match message.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => Ok(state(&link)),
        NetlinkPayload::Error(error) => Err(error.to_io()),
        other => Err(io::Error::other(format!("the kernel answers {other:?}"))),
    }
}

fn state(link: &LinkMessage) -> LinkState {
    let mut state = LinkState::default();
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => state.name.clone_from(name),
            LinkAttribute::Address(mac) => state.mac = <[u8; 6]>::try_from(mac.as_slice()).ok(),
            LinkAttribute::LinkInfo(all) => state.tunnel = all.iter().any(is_tunnel),
            LinkAttribute::Xdp(all) => state.xdp = xdp(all),
            _ => {}
        }
    }
    state
}

fn is_tunnel(info: &LinkInfo) -> bool {
    use InfoKind::{Geneve, GreTap, GreTap6, Vxlan};
    matches!(info, LinkInfo::Kind(Vxlan | Geneve | GreTap | GreTap6))
}

fn xdp(all: &[LinkXdp]) -> Option<(XdpMode, u32)> {
    let mode = all.iter().find_map(|a| match a {
        LinkXdp::Attached(XdpAttached::None) => None,
        LinkXdp::Attached(XdpAttached::Driver) => Some(XdpMode::Native),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(XdpMode::Generic),
        LinkXdp::Attached(_) => Some(XdpMode::Other),
        _ => None,
    })?;
    let id = all.iter().find_map(|a| match a {
        LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) => Some(*id),
        _ => None,
    });
    Some((mode, id.unwrap_or(0)))
}
