//! Frames of a VLAN on the interface below it: the kernel takes their tags off before our programs see them, and says so.

use crate::support::{Node, frontend, frontend_key, ifindex, refused, run, syn};
use shunt_common::{Device, Frontend, FrontendKind, frontend_flag};
use shunt_datapath::{Interface, Role};
use shunt_model::store::{FrontendRef, MapStore, Op};

/// Sends a frame out of an interface as it is.
fn send(ifindex: u32, frame: &[u8]) {
    // SAFETY: the address and the frame outlive the calls that read them; zeros are a valid sockaddr_ll.
    unsafe {
        let socket = libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0);
        assert!(socket >= 0, "{}", std::io::Error::last_os_error());
        let mut to: libc::sockaddr_ll = std::mem::zeroed();
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_ifindex = ifindex as i32;
        let len = size_of::<libc::sockaddr_ll>() as u32;
        let sent = libc::sendto(socket, frame.as_ptr().cast(), frame.len(), 0, (&raw const to).cast(), len);
        assert_eq!(sent, frame.len() as isize, "{}", std::io::Error::last_os_error());
        libc::close(socket);
    }
}

#[test]
fn tagged_frames_are_left_to_the_vlan_s_own_interface_and_mere_priorities_are_not() {
    let node = Node::new();
    let datapath = node.start();
    let flags = frontend_flag::EXTERNAL;
    let row = Frontend { flags, kind: FrontendKind::LoadBalancer as u8, ..frontend(1, 0, 0) };
    let key = FrontendRef::V4(frontend_key(1));
    datapath.store().unwrap().apply(&Op::PutFrontend { key, row }).unwrap();
    let dev = node.veth("dev0");
    run("ip", &["link", "set", "dev0", "address", "02:00:00:00:00:01"]);
    run("ip", &["link", "set", "dev0p", "up"]);
    datapath.set_interface(&Interface { ifindex: dev, role: Role::Device(Device::default()) }).unwrap();
    let peer = ifindex("dev0p");
    send(peer, &syn(&[]));
    assert_eq!(refused(&datapath, 1), 1, "without a tag");
    // A VLAN, a VLAN in a VLAN, and one within a priority.
    for tag in
        [&[0x81, 0, 0, 10][..], &[0x88, 0xa8, 0, 20, 0x81, 0, 0, 10], &[0x81, 0, 0xa0, 0, 0x81, 0, 0, 10]]
    {
        send(peer, &syn(tag));
    }
    // Frames come in order: when this one is counted those before it have been seen.
    send(peer, &syn(&[0x81, 0, 0xa0, 0]));
    assert_eq!(refused(&datapath, 2), 2, "with a priority alone, and nothing of a VLAN");
}
