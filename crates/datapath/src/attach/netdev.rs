//! What a device's driver says of XDP, without attaching anything: the kernel's `netdev` family of generic netlink.

use super::netlink::find;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};
use std::io;

/// `GENL_ID_CTRL`, `CTRL_CMD_GETFAMILY`, `CTRL_ATTR_FAMILY_ID`, `CTRL_ATTR_FAMILY_NAME`.
const CONTROL: (u16, u8) = (16, 3);
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// `NETDEV_CMD_DEV_GET`, `NETDEV_A_DEV_IFINDEX`, `NETDEV_A_DEV_XDP_FEATURES`.
const DEV_GET: u8 = 1;
const IFINDEX: u16 = 1;
const XDP_FEATURES: u16 = 3;
/// `NETDEV_XDP_ACT_BASIC`: it takes a program, and the verdicts of old.
const BASIC: u64 = 1;
/// `nlmsghdr` and `genlmsghdr`.
const HEADERS: usize = 20;
const BUFFER: usize = 16 << 10;

/// Whether the driver takes an XDP program; `None` from kernels before 6.3, which cannot tell.
pub(crate) fn takes_xdp(ifindex: u32) -> io::Result<Option<bool>> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let family = match ask(&socket, CONTROL, FAMILY_NAME, b"netdev\0") {
        Ok(attributes) => {
            find(&attributes, FAMILY_ID).and_then(|id| Some(u16::from_ne_bytes(id.try_into().ok()?)))
        }
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
        Err(error) => return Err(error),
    };
    let family = family.ok_or_else(|| io::Error::other("the netdev family has no id"))?;
    let attributes = ask(&socket, (family, DEV_GET), IFINDEX, &ifindex.to_ne_bytes())?;
    let features = find(&attributes, XDP_FEATURES).and_then(|f| Some(u64::from_ne_bytes(f.try_into().ok()?)));
    Ok(features.map(|features| features & BASIC != 0))
}

/// Sends a request with one attribute; the attributes of the answer.
fn ask(socket: &Socket, (family, command): (u16, u8), attribute: u16, value: &[u8]) -> io::Result<Vec<u8>> {
    socket.send(&request(family, command, attribute, value), 0)?;
    let mut answer = Vec::with_capacity(BUFFER);
    socket.recv(&mut answer, 0)?;
    let (Some(kind), Some(code)) = (answer.get(4..6), answer.get(16..20)) else {
        return Err(io::Error::other("a netlink answer is cut short"));
    };
    if i32::from(u16::from_ne_bytes([kind[0], kind[1]])) == libc::NLMSG_ERROR {
        let code = i32::from_ne_bytes([code[0], code[1], code[2], code[3]]);
        return Err(io::Error::from_raw_os_error(-code));
    }
    Ok(answer.split_off(HEADERS))
}

fn request(family: u16, command: u8, attribute: u16, value: &[u8]) -> Vec<u8> {
    let padded = value.len().next_multiple_of(4);
    let mut bytes = Vec::new();
    bytes.extend(((HEADERS + 4 + padded) as u32).to_ne_bytes());
    bytes.extend(family.to_ne_bytes());
    bytes.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    // Sequence 1, port chosen by the kernel; then the command, version 1, and two bytes of nothing.
    bytes.extend([1u32, 0].into_iter().flat_map(u32::to_ne_bytes));
    bytes.extend([command, 1, 0, 0]);
    bytes.extend((4 + value.len() as u16).to_ne_bytes());
    bytes.extend(attribute.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(HEADERS + 4 + padded, 0);
    bytes
}
