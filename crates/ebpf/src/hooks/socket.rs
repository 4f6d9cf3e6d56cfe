//! What the socket hooks share: a socket's destination is translated once, where the program names it.

use crate::family::Family;
use crate::hooks::translate::Choice;
use crate::maps::{SOCK_PEER, SOCK_PEERS};
use crate::outcome::count;
use crate::steps::affinity;
use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::generated::bpf_set_retval;
use aya_ebpf::programs::SockAddrContext;
use shunt_common::{
    BackendState, Direction, Ip4, Ip6, Pool, PortBe, Proto, Reason, SOCK_PEERS as PEERS, SockPeer, SockPeers,
};

/// The kernel goes on with the (translated) address.
pub const ALLOW: i32 = 1;
/// The system call fails with the error set.
pub const REFUSE: i32 = 0;

/// A context of a socket hook.
pub type Ctx = *mut bpf_sock_addr;

macro_rules! read {
    ($ctx:expr, $($field:tt)+) => {
        // SAFETY: the kernel hands a valid context to the program; volatile keeps LLVM from merging context reads.
        unsafe { (&raw const (*$ctx).$($field)+).read_volatile() }
    };
}
pub(super) use read;

/// An address as the sockets' maps keep it: IPv4 as IPv4-mapped.
pub trait Mapped: Family {
    /// IPv4-mapped for IPv4, itself for IPv6.
    fn mapped(self) -> [u32; 4];
    /// Back; meaningless when `mapped` came from the other family.
    fn unmapped(mapped: &[u32; 4]) -> Self;
    /// Writes the address that the socket call names.
    fn write(self, ctx: Ctx);
}

/// Third word of an IPv4-mapped address, `::ffff:0:0/96`.
pub const MAPPED_PREFIX: u32 = 0xffffu32.to_be();

impl Mapped for Ip4 {
    #[inline(always)]
    fn mapped(self) -> [u32; 4] {
        [0, 0, MAPPED_PREFIX, self.0[0]]
    }
    #[inline(always)]
    fn unmapped(mapped: &[u32; 4]) -> Self {
        Self([mapped[3]])
    }
    #[inline(always)]
    fn write(self, ctx: Ctx) {
        // SAFETY: a valid context; the kernel lets this field be written.
        unsafe { (&raw mut (*ctx).user_ip4).write_volatile(self.0[0]) };
    }
}

impl Mapped for Ip6 {
    #[inline(always)]
    fn mapped(self) -> [u32; 4] {
        self.0
    }
    #[inline(always)]
    fn unmapped(mapped: &[u32; 4]) -> Self {
        Self(*mapped)
    }
    #[inline(always)]
    fn write(self, ctx: Ctx) {
        // SAFETY: a valid context; the kernel lets these words be written one by one.
        unsafe {
            (&raw mut (*ctx).user_ip6[0]).write_volatile(self.0[0]);
            (&raw mut (*ctx).user_ip6[1]).write_volatile(self.0[1]);
            (&raw mut (*ctx).user_ip6[2]).write_volatile(self.0[2]);
            (&raw mut (*ctx).user_ip6[3]).write_volatile(self.0[3]);
        }
    }
}

/// The IPv6 address that the socket call names.
#[inline(always)]
pub fn user_ip6(ctx: Ctx) -> [u32; 4] {
    [read!(ctx, user_ip6[0]), read!(ctx, user_ip6[1]), read!(ctx, user_ip6[2]), read!(ctx, user_ip6[3])]
}

/// Whether an IPv6 address is an IPv4-mapped one.
#[inline(always)]
pub fn is_mapped(addr: &[u32; 4]) -> bool {
    addr[0] == 0 && addr[1] == 0 && addr[2] == MAPPED_PREFIX
}

/// The port that the socket call names.
#[inline(always)]
pub fn user_port(ctx: Ctx) -> PortBe {
    PortBe(read!(ctx, user_port) as u16)
}

/// Writes the port.
#[inline(always)]
pub fn write_port(ctx: Ctx, port: PortBe) {
    // SAFETY: a valid context; the kernel lets this field be written.
    unsafe { (&raw mut (*ctx).user_port).write_volatile(u32::from(port.0)) };
}

/// The protocol, when it is one that the socket path serves.
#[inline(always)]
pub fn protocol(ctx: Ctx) -> Option<u8> {
    match read!(ctx, protocol) as u8 {
        p if p == Proto::Tcp as u8 || p == Proto::Udp as u8 => Some(p),
        _ => None,
    }
}

/// ECONNREFUSED: what a client sees where nobody listens.
const ECONNREFUSED: i32 = 111;
/// EHOSTUNREACH: the endpoints are on other nodes, and the traffic policy is Local. A packet would be dropped silently.
const EHOSTUNREACH: i32 = 113;
/// EPERM: what netfilter makes a program see whose packets it drops.
const EPERM: i32 = 1;
/// ENOMEM.
const ENOMEM: i32 = 12;

/// Fails the system call.
#[inline(always)]
fn refuse(reason: Reason) -> i32 {
    let errno = match reason {
        Reason::SocketNoLocalBackend => EHOSTUNREACH,
        Reason::SocketSourceRange => EPERM,
        Reason::SocketStorage => ENOMEM,
        _ => ECONNREFUSED,
    };
    count(reason, Direction::Egress, 0);
    // SAFETY: no pointers.
    unsafe { bpf_set_retval(-errno) };
    REFUSE
}

/// Whether a remembered translation may be used again: its backend still takes new flows of the service.
#[inline(always)]
pub fn still_good<A: Mapped>(peer: &SockPeer, pool: Pool) -> bool {
    if !affinity::contains(pool, peer.backend_id) {
        return false;
    }
    match A::backend(peer.backend_id) {
        // SAFETY: a row of an array map lives as long as the program.
        Some(row) => unsafe {
            (*row).state == BackendState::Active as u8
                && (*row).addr == A::unmapped(&peer.backend)
                && (*row).port == peer.backend_port
        },
        None => false,
    }
}

/// Carries a choice out on a socket of family `A`: an IPv6 socket is given an IPv4 backend's address IPv4-mapped, as it
/// named the frontend.
#[inline(always)]
pub fn carry_out<A: Mapped>(ctx: Ctx, choice: Choice) -> i32 {
    match choice {
        Choice::Backend(peer) => redirect::<A>(ctx, &peer),
        Choice::Leave => ALLOW,
        Choice::Refuse(reason) => refuse(reason),
    }
}

/// Makes the socket call go to the backend.
#[inline(always)]
fn redirect<A: Mapped>(ctx: Ctx, peer: &SockPeer) -> i32 {
    A::unmapped(&peer.backend).write(ctx);
    write_port(ctx, peer.backend_port);
    count(Reason::SocketForwarded, Direction::Egress, 0);
    ALLOW
}

/// The translation of a connected socket, if it has one.
#[inline(always)]
pub fn connected(ctx: Ctx) -> Option<*mut SockPeer> {
    // SAFETY: the storage helper checks the socket of the context.
    let peer = unsafe { SOCK_PEER.get_ptr_mut(&SockAddrContext::new(ctx)) };
    if peer.is_null() { None } else { Some(peer) }
}

/// The frontend that a backend's address stands for on this socket.
#[inline(always)]
pub fn frontend_of(ctx: Ctx, addr: &[u32; 4], port: PortBe) -> Option<([u32; 4], PortBe)> {
    if let Some(peer) = connected(ctx) {
        // SAFETY: socket storage lives as long as the socket, which the kernel holds here.
        let peer = unsafe { &*peer };
        if peer.frontend_port.0 != 0 && peer.backend == *addr && peer.backend_port == port {
            return Some((peer.frontend, peer.frontend_port));
        }
    }
    // SAFETY: the storage helper checks the socket of the context.
    let peers = unsafe { SOCK_PEERS.get_ptr_mut(&SockAddrContext::new(ctx)) };
    if peers.is_null() {
        return None;
    }
    // SAFETY: as above.
    let peers: &SockPeers = unsafe { &*peers };
    let mut i = 0;
    while i < PEERS {
        let peer = &peers.peers[i];
        if peer.frontend_port.0 != 0 && peer.backend == *addr && peer.backend_port == port {
            return Some((peer.frontend, peer.frontend_port));
        }
        i += 1;
    }
    None
}
