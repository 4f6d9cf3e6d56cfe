//! cgroup sendmsg4 and sendmsg6: each datagram of an unconnected UDP socket goes to the backend that the socket has for
//! that service, as long as it takes new flows.

use crate::config;
use crate::family::Family;
use crate::hooks::socket::{
    Ctx, Mapped, carry_out, is_mapped, protocol, read, still_good, user_ip6, user_port,
};
use crate::hooks::translate::{self, Choice};
use crate::maps::SOCK_PEERS;
use aya_ebpf::programs::SockAddrContext;
use shunt_common::{Ip4, Ip6, PortBe, Reason, SOCK_PEERS as PEERS, Scope, SockPeer};

#[unsafe(no_mangle)]
#[unsafe(link_section = "cgroup/sendmsg4")]
extern "C" fn sendmsg4(ctx: Ctx) -> i32 {
    carry_out::<Ip4>(ctx, choose(ctx, Ip4([read!(ctx, user_ip4)])))
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "cgroup/sendmsg6")]
extern "C" fn sendmsg6(ctx: Ctx) -> i32 {
    let addr = user_ip6(ctx);
    let choice = if is_mapped(&addr) { choose(ctx, Ip4([addr[3]])) } else { choose(ctx, Ip6(addr)) };
    carry_out::<Ip6>(ctx, choice)
}

#[inline(always)]
fn choose<A: Mapped + Family>(ctx: Ctx, dst: A) -> Choice {
    let Some(proto) = protocol(ctx) else { return Choice::Leave };
    let port = user_port(ctx);
    if !config::has(A::FEATURE) {
        return Choice::Leave;
    }
    let Some(row) = translate::frontend(dst, port, proto) else {
        return translate::no_frontend(ctx, dst);
    };
    let cookie = match translate::entitled(ctx, row) {
        Ok(cookie) => cookie,
        Err(instead) => return instead.into(),
    };
    // SAFETY: the storage helper checks the socket of the context; the pointer is checked for null.
    let peers = unsafe { SOCK_PEERS.get_or_insert_ptr_mut(&SockAddrContext::new(ctx), None) };
    if peers.is_null() {
        return Choice::Refuse(Reason::SocketStorage);
    }
    // SAFETY: socket storage lives as long as the socket, which the kernel holds here.
    let peers = unsafe { &mut *peers };
    let frontend = dst.mapped();
    let place = place(&peers.peers, &frontend, port);
    if let Some(known) = place.and_then(|i| peers.peers.get(i)) {
        if still_good::<A>(known, row.pool(Scope::Internal)) {
            return Choice::Backend(*known);
        }
    }
    let peer = match translate::choose(row, cookie, dst, port) {
        Choice::Backend(peer) => peer,
        // Not bound as a whole: copied, its unused part would be read, which kernels before 6.3 refuse.
        Choice::Leave => return Choice::Leave,
        Choice::Refuse(reason) => return Choice::Refuse(reason),
    };
    let at = place.unwrap_or_else(|| {
        peers.next = peers.next.wrapping_add(1);
        peers.next as usize
    });
    write(&mut peers.peers, at, peer);
    Choice::Backend(peer)
}

/// Where the socket keeps its translation of a frontend.
#[inline(always)]
fn place(peers: &[SockPeer; PEERS], frontend: &[u32; 4], port: PortBe) -> Option<usize> {
    let mut i = 0;
    while i < PEERS {
        if peers[i].frontend_port == port && peers[i].frontend == *frontend {
            return Some(i);
        }
        i += 1;
    }
    None
}

/// Writes a slot, with an index that the verifier can bound.
#[inline(always)]
fn write(peers: &mut [SockPeer; PEERS], at: usize, peer: SockPeer) {
    let mut at = at;
    // SAFETY: a register move; it keeps LLVM from dropping the mask that the verifier needs.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) at, options(pure, nomem, nostack, preserves_flags)) };
    at &= PEERS - 1;
    // SAFETY: `at` is below PEERS.
    unsafe { *peers.as_mut_ptr().add(at) = peer };
}
