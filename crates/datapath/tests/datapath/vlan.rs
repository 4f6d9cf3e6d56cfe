//! Frames of a VLAN on the interface below it: the kernel takes their tags off before our programs see them, and says so.

use crate::support::{Node, frontend, frontend_key, ifindex, run};
use etherparse::PacketBuilder;
use shunt_common::{Device, Frontend, FrontendKind, Reason, frontend_flag};
use shunt_datapath::{Datapath, Interface, Role};
use shunt_model::store::{FrontendRef, MapStore, Op};
use std::time::{Duration, Instant};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// A SYN to a frontend without backends, which is answered with a reset, and so counted.
fn syn(tag: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], MAC)
        .ipv4([192, 0, 2, 9], [10, 96, 0, 1], 64)
        .tcp(40_000, 80, 1, 4096)
        .syn();
    let mut frame = Vec::new();
    builder.write(&mut frame, &[]).unwrap();
    frame.splice(12..12, tag.iter().copied());
    frame
}

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

/// Refusals until now: at least `least`, for which it waits.
fn refused(datapath: &Datapath, least: u64) -> u64 {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let counters = datapath.reader().unwrap().counters().unwrap();
        let count =
            |c: &(Reason, _, shunt_common::Counter)| if c.0 == Reason::NoBackend { c.2.packets } else { 0 };
        let now = counters.iter().map(count).sum();
        if now >= least {
            return now;
        }
        assert!(Instant::now() < end, "{now} refusals, {least} wanted");
        std::thread::sleep(Duration::from_millis(10));
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
