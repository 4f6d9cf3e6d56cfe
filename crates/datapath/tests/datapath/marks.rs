//! What XDP tells tc in front of a packet, and what others put there.

use crate::support::{Node, frontend, frontend_key, refused, run, syn, words};
use shunt_common::{Device, Frontend, FrontendKind, Mark, feature, frontend_flag};
use shunt_datapath::{Acceleration, Datapath, Interface, Role};
use shunt_model::store::{FrontendRef, MapStore, Op};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `BPF_PROG_LOAD` and `BPF_PROG_TEST_RUN`.
const LOAD: i32 = 5;
const TEST_RUN: i32 = 10;
/// `BPF_PROG_TYPE_XDP`.
const XDP: u32 = 6;
/// `BPF_F_TEST_XDP_LIVE_FRAMES`: what the program passes goes up from the device. Linux 5.18.
const LIVE: u32 = 1 << 1;
/// `r0 = XDP_PASS; exit`.
const PASS: [u64; 2] = [0x0000_0002_0000_00b7, 0x95];

fn bpf(command: i32, attr: &mut [u32; 32]) -> i32 {
    // SAFETY: what the attribute points to outlives the call, by its lengths.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_mut_ptr(), size_of_val(attr)) };
    assert!(answer >= 0, "{}", io::Error::last_os_error());
    answer as i32
}

/// A program that passes every packet as it is.
fn pass() -> OwnedFd {
    let license = c"GPL";
    let mut attr = [0u32; 32];
    (attr[0], attr[1]) = (XDP, PASS.len() as u32);
    attr[2..4].copy_from_slice(&words(PASS.as_ptr() as u64));
    attr[4..6].copy_from_slice(&words(license.as_ptr() as u64));
    // SAFETY: a fresh descriptor that nobody else owns.
    unsafe { OwnedFd::from_raw_fd(bpf(LOAD, &mut attr)) }
}

/// A packet comes in by a device, with this in front of it, past the device's own program.
fn come_in(program: &OwnedFd, ifindex: u32, metadata: &[u8], frame: &[u8]) {
    let packet = [metadata, frame].concat();
    // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let context = [metadata.len() as u32, packet.len() as u32, 0, ifindex, 0, 0];
    let mut attr = [0u32; 32];
    attr[0] = program.as_raw_fd() as u32;
    attr[2] = packet.len() as u32;
    attr[4..6].copy_from_slice(&words(packet.as_ptr() as u64));
    attr[8] = 1;
    attr[10] = size_of_val(&context) as u32;
    attr[12..14].copy_from_slice(&words(context.as_ptr() as u64));
    attr[16] = LIVE;
    bpf(TEST_RUN, &mut attr);
}

/// Of the test's network namespace.
fn netns_cookie() -> u64 {
    const SO_NETNS_COOKIE: i32 = 71;
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let (mut cookie, mut len) = (0u64, size_of::<u64>() as u32);
    // SAFETY: room for as many bytes as it says.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut len,
        )
    };
    assert_eq!(answer, 0, "{}", io::Error::last_os_error());
    cookie
}

/// A node with a frontend without backends, which refuses what tc looks at.
fn start(node: &Node, acceleration: Acceleration) -> Datapath {
    let mut settings = node.settings();
    settings.acceleration = acceleration;
    if acceleration != Acceleration::Disabled {
        settings.features |= feature::XDP;
    }
    let datapath = Datapath::start(&settings).unwrap();
    let kind = FrontendKind::LoadBalancer as u8;
    let row = Frontend { flags: frontend_flag::EXTERNAL, kind, ..frontend(1, 0, 0) };
    let key = FrontendRef::V4(frontend_key(1));
    datapath.store().unwrap().apply(&Op::PutFrontend { key, row }).unwrap();
    datapath
}

fn device(node: &Node, datapath: &Datapath, name: &str) -> u32 {
    let ifindex = node.veth(name);
    run("ip", &["link", "set", name, "address", "02:00:00:00:00:01"]);
    datapath.set_interface(&Interface { ifindex, role: Role::Device(Device::default()) }).unwrap();
    ifindex
}

#[test]
fn tc_believes_the_mark_of_its_own_node_and_device_and_no_other() {
    let node = Node::new();
    let datapath = start(&node, Acceleration::Native);
    let dev = device(&node, &datapath, "dev0");
    let (program, cookie) = (pass(), netns_cookie());
    let mark = Mark::new(cookie, dev).bytes();
    come_in(&program, dev, &[], &syn(&[]));
    assert_eq!(refused(&datapath, 1), 1, "without a mark");
    come_in(&program, dev, &mark, &syn(&[]));

    let mut magic = mark;
    magic[0] ^= 1;
    let others = [
        ("another node's", Mark::new(cookie + 1, dev).bytes().to_vec()),
        ("another device's", Mark::new(cookie, dev + 1).bytes().to_vec()),
        ("no magic", magic.to_vec()),
        ("zeros", vec![0; 12]),
        ("a part", mark[..8].to_vec()),
        ("behind something else", [&[0; 4][..], &mark].concat()),
    ];
    for (i, (what, metadata)) in others.iter().enumerate() {
        come_in(&program, dev, metadata, &syn(&[]));
        let so_far = 2 + i as u64;
        assert_eq!(refused(&datapath, so_far), so_far, "{what}; the believed one is not among them");
    }
}

#[test]
fn without_acceleration_nothing_in_front_of_a_packet_is_believed() {
    let node = Node::new();
    let datapath = start(&node, Acceleration::Disabled);
    let dev = device(&node, &datapath, "dev0");
    come_in(&pass(), dev, &Mark::new(netns_cookie(), dev).bytes(), &syn(&[]));
    assert_eq!(refused(&datapath, 1), 1);
}
