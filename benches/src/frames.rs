//! Frames without a stack that makes them: sent out of one end of a link by the kernel's own test run, and swallowed and
//! counted where they come back (`BPF_F_TEST_XDP_LIVE_FRAMES`, Linux 5.18). What is measured in between is then most of it.

use anyhow::{Context, Result};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Commands of bpf(2).
const MAP_CREATE: i32 = 0;
const MAP_LOOKUP: i32 = 1;
const PROG_LOAD: i32 = 5;
const TEST_RUN: i32 = 10;
const LINK_CREATE: i32 = 28;

/// `BPF_MAP_TYPE_ARRAY`, `BPF_PROG_TYPE_XDP`, `BPF_XDP`, `XDP_FLAGS_DRV_MODE`, `BPF_F_TEST_XDP_LIVE_FRAMES`.
const ARRAY: u32 = 2;
const XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
const DRIVER: u32 = 1 << 2;
const LIVE: u32 = 1 << 1;
/// Frames that the kernel hands over at once: a quarter of what a veth takes before it drops.
const BATCH: u32 = 64;

/// An instruction: `struct bpf_insn`.
const fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> u64 {
    code as u64
        | (dst as u64) << 8
        | (src as u64) << 12
        | (off as u16 as u64) << 16
        | (imm as u32 as u64) << 32
}

/// `XDP_DROP`, `XDP_PASS`, `XDP_TX`.
const DROP: i32 = 1;
const PASS: i32 = 2;
const TX: i32 = 3;

/// Ends with a verdict.
const fn end(verdict: i32) -> [u64; 2] {
    [insn(0xb7, 0, 0, 0, verdict), insn(0x95, 0, 0, 0, 0)]
}

/// Does this with frames that have so many bytes at least, and another thing with others. r2 is where the frame begins.
fn with_bytes(len: i32, these: &[u64], others: &[u64]) -> Vec<u64> {
    let mut code = vec![
        insn(0x61, 2, 1, 0, 0),
        insn(0x61, 3, 1, 4, 0),
        insn(0xbf, 4, 2, 0, 0),
        insn(0x07, 4, 0, 0, len),
        insn(0x2d, 4, 3, these.len() as i16, 0),
    ];
    code.extend(these);
    code.extend(others);
    code
}

/// Does this with IPv4 packets. All else passes, so that neighbours stay known.
fn with_ipv4(these: &[u64]) -> Vec<u64> {
    // EtherType 0x0800, as it lies in memory.
    let is_other = [insn(0x69, 5, 2, 12, 0), insn(0x55, 5, 0, these.len() as i16, 0x0008)];
    with_bytes(14, &[&is_other, these].concat(), &end(PASS))
}

/// Words of a frame that a way may change: Ethernet, IPv4 and TCP headers.
const HEADERS: usize = 14;

/// Sends a frame out of the device that it is said to have come in by, with these headers: the kernel uses the pages of frames
/// again, with what has become of them on their way.
fn send_as(frame: &[u8]) -> Vec<u64> {
    let words = frame.chunks_exact(4).take(HEADERS).map(|w| i32::from_le_bytes([w[0], w[1], w[2], w[3]]));
    let stores: Vec<u64> = words.enumerate().map(|(i, word)| insn(0x62, 2, 0, i as i16 * 4, word)).collect();
    with_bytes(stores.len() as i32 * 4, &[&stores[..], &end(TX)].concat(), &end(DROP))
}

/// Counts IPv4 packets in the only element of a map, and drops them.
fn swallow(map: i32) -> Vec<u64> {
    let count = [
        // r0 = lookup(map, &0)
        insn(0x62, 10, 0, -4, 0),
        insn(0x18, 1, 1, 0, map),
        insn(0, 0, 0, 0, 0),
        insn(0xbf, 2, 10, 0, 0),
        insn(0x07, 2, 0, 0, -4),
        insn(0x85, 0, 0, 0, 1),
        insn(0x15, 0, 0, 2, 0),
        // lock *r0 += 1
        insn(0xb7, 1, 0, 0, 1),
        insn(0xdb, 0, 1, 0, 0),
    ];
    with_ipv4(&[&count[..], &end(DROP)].concat())
}

/// bpf(2) with an attribute of words.
fn bpf(command: i32, attr: &mut [u32; 32]) -> io::Result<i32> {
    // SAFETY: what the attribute points to outlives the call, by the lengths that it gives.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_mut_ptr(), size_of_val(attr)) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as i32) }
}

/// The same for what answers a descriptor.
fn made(command: i32, attr: &mut [u32; 32]) -> io::Result<OwnedFd> {
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(bpf(command, attr)?) })
}

fn put(attr: &mut [u32; 32], at: usize, pointer: u64) {
    (attr[at], attr[at + 1]) = (pointer as u32, (pointer >> 32) as u32);
}

fn load(code: &[u64]) -> io::Result<OwnedFd> {
    let license = c"GPL";
    let mut attr = [0; 32];
    (attr[0], attr[1]) = (XDP, code.len() as u32);
    put(&mut attr, 2, code.as_ptr() as u64);
    put(&mut attr, 4, license.as_ptr() as u64);
    made(PROG_LOAD, &mut attr)
}

/// Attaches a program to a device's driver.
fn attach(ifindex: u32, code: &[u64]) -> Result<OwnedFd> {
    let program = load(code).context("loading a program for a device")?;
    let mut attr = [0; 32];
    (attr[0], attr[1], attr[2], attr[3]) = (program.as_raw_fd() as u32, ifindex, ATTACH_XDP, DRIVER);
    made(LINK_CREATE, &mut attr).context("attaching to a device")
}

/// A device whose driver does not hand up IPv4 packets, for as long as this lives.
pub struct Device {
    count: Option<OwnedFd>,
    _link: OwnedFd,
}

impl Device {
    /// Swallows and counts them; a device of the calling thread's network namespace.
    pub fn sink(ifindex: u32) -> Result<Self> {
        let mut attr = [0; 32];
        (attr[0], attr[1], attr[2], attr[3]) = (ARRAY, 4, 8, 1);
        let count = made(MAP_CREATE, &mut attr).context("a map that counts")?;
        let link = attach(ifindex, &swallow(count.as_raw_fd()))?;
        Ok(Self { count: Some(count), _link: link })
    }

    /// Sends them back as they came.
    pub fn mirror(ifindex: u32) -> Result<Self> {
        Ok(Self { count: None, _link: attach(ifindex, &with_ipv4(&end(TX)))? })
    }

    /// IPv4 packets so far.
    pub fn count(&self) -> Result<u64> {
        let Some(count) = &self.count else { return Ok(0) };
        let (key, mut value) = (0u32, 0u64);
        let mut attr = [0; 32];
        attr[0] = count.as_raw_fd() as u32;
        put(&mut attr, 2, &raw const key as u64);
        put(&mut attr, 4, &raw mut value as u64);
        bpf(MAP_LOOKUP, &mut attr).context("reading the count")?;
        Ok(value)
    }
}

/// Sends a frame so many times out of a device of the calling thread's network namespace.
pub fn send(ifindex: u32, frame: &[u8], count: u32) -> Result<()> {
    let program = load(&send_as(frame)).context("a program that sends")?;
    // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let context = [0, frame.len() as u32, 0, ifindex, 0, 0];
    let mut attr = [0; 32];
    (attr[0], attr[2], attr[8]) = (program.as_raw_fd() as u32, frame.len() as u32, count);
    put(&mut attr, 4, frame.as_ptr() as u64);
    attr[10] = size_of_val(&context) as u32;
    put(&mut attr, 12, context.as_ptr() as u64);
    (attr[16], attr[18]) = (LIVE, BATCH);
    bpf(TEST_RUN, &mut attr).context("sending frames")?;
    Ok(())
}
