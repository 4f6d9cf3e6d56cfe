//! Which sockets follow which backend: a walk over what the programs keep in sockets, of all network namespaces.
//!
//! sock_diag tells such values for TCP sockets only, so the kernel's iterator over socket storage (Linux 5.9) is asked. Its
//! program is written here, in the kernel's own terms: it has no types of ours, no map, and nothing to compile for.

use crate::Error;
use crate::sys::iter::{self, Instruction};
use aya_obj::btf::{Btf, BtfKind};
use shunt_common::SockPeer;
use std::io::Read;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;

/// What the iterator's type is called in the kernel's own types.
const TARGET: &str = "bpf_iter_bpf_sk_storage_map";
const COOKIE: usize = size_of::<u64>();
const RECORD: usize = COOKIE + size_of::<SockPeer>();

/// The walk, loaded when it is first needed: on most nodes that is a while after the start.
#[derive(Debug)]
pub(super) struct Walk {
    map: OwnedFd,
    program: OnceLock<OwnedFd>,
}

impl Walk {
    pub(super) const fn new(map: OwnedFd) -> Self {
        Self { map, program: OnceLock::new() }
    }

    /// The cookie and the translation of every socket that has one.
    pub(super) fn read(&self) -> Result<Vec<(u64, SockPeer)>, Error> {
        let program = match self.program.get() {
            Some(program) => program,
            None => {
                let loaded = load()?;
                self.program.get_or_init(|| loaded)
            }
        };
        let mut bytes = Vec::new();
        let walked = iter::over_map(program.as_fd(), self.map.as_fd());
        walked
            .and_then(|mut output| output.read_to_end(&mut bytes))
            .map_err(Error::system("walking over translated sockets"))?;
        Ok(bytes.chunks_exact(RECORD).map(record).collect())
    }
}

fn load() -> Result<OwnedFd, Error> {
    let unknown = |e| Error::system("reading the kernel's types")(std::io::Error::other(e));
    let target = Btf::from_sys_fs().and_then(|btf| btf.id_by_type_name_kind(TARGET, BtfKind::Func));
    iter::load(&PROGRAM, target.map_err(unknown)?).map_err(Error::system("loading the walk over sockets"))
}

fn record(bytes: &[u8]) -> (u64, SockPeer) {
    let (cookie, peer) = bytes.split_at(COOKIE);
    let cookie = u64::from_ne_bytes(cookie.try_into().expect("eight bytes"));
    // SAFETY: a record holds a whole `SockPeer`, which is made of integers: any bytes are one.
    (cookie, unsafe { peer.as_ptr().cast::<SockPeer>().read_unaligned() })
}

/// Where a translated socket really sends to, an IPv4 address as such.
pub(super) fn backend(peer: &SockPeer) -> (IpAddr, u16) {
    let mut octets = [0; 16];
    for (four, word) in octets.chunks_mut(4).zip(peer.backend) {
        four.copy_from_slice(&word.to_ne_bytes());
    }
    (IpAddr::V6(Ipv6Addr::from(octets)).to_canonical(), peer.backend_port.host())
}

/// Opcodes: load 8 bytes, store 8 bytes, copy and set a register, add to it, jump if equal, call, exit.
const LOAD: u8 = 0x79;
const STORE: u8 = 0x7b;
const COPY: u8 = 0xbf;
const SET: u8 = 0xb7;
const ADD: u8 = 0x07;
const JUMP_EQ: u8 = 0x15;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

/// Helpers.
const GET_SOCKET_COOKIE: i32 = 46;
const SEQ_WRITE: i32 = 127;

const fn op(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: to | from << 4, offset, immediate }
}

/// Writes the cookie and the value of one socket. Its argument is `struct bpf_iter__bpf_sk_storage_map`: meta, map, socket
/// and value, a pointer each; meta begins with the file to write to. Both pointers are null at the end of the walk.
///
/// These instructions are under GPL-2.0-only or BSD-2-Clause, as the other programs are: the kernel lends its file to
/// GPL-compatible ones alone.
const PROGRAM: [Instruction; 20] = [
    op(COPY, 6, 1, 0, 0),
    op(LOAD, 7, 6, 24, 0),
    op(JUMP_EQ, 7, 0, 15, 0),
    op(LOAD, 1, 6, 16, 0),
    op(JUMP_EQ, 1, 0, 13, 0),
    op(LOAD, 8, 6, 0, 0),
    op(LOAD, 8, 8, 0, 0),
    op(CALL, 0, 0, 0, GET_SOCKET_COOKIE),
    op(STORE, 10, 0, -8, 0),
    op(COPY, 1, 8, 0, 0),
    op(COPY, 2, 10, 0, 0),
    op(ADD, 2, 0, 0, -8),
    op(SET, 3, 0, 0, COOKIE as i32),
    op(CALL, 0, 0, 0, SEQ_WRITE),
    op(COPY, 1, 8, 0, 0),
    op(COPY, 2, 7, 0, 0),
    op(SET, 3, 0, 0, size_of::<SockPeer>() as i32),
    op(CALL, 0, 0, 0, SEQ_WRITE),
    op(SET, 0, 0, 0, 0),
    op(EXIT, 0, 0, 0, 0),
];
