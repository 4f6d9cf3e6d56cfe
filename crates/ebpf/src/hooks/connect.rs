//! cgroup connect4 and connect6: TCP and connected UDP go straight to a backend; no packet is touched later.

use crate::config;
use crate::family::Family;
use crate::hooks::socket::{
    Ctx, Mapped, carry_out, connected, is_mapped, protocol, read, user_ip6, user_port,
};
use crate::hooks::translate::{self, Choice};
use crate::maps::SOCK_PEER;
use aya_ebpf::programs::SockAddrContext;
use shunt_common::{Ip4, Ip6, Proto, Reason, SockPeer};

#[unsafe(no_mangle)]
#[unsafe(link_section = "cgroup/connect4")]
extern "C" fn connect4(ctx: Ctx) -> i32 {
    carry_out::<Ip4>(ctx, choose(ctx, Ip4([read!(ctx, user_ip4)])))
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "cgroup/connect6")]
extern "C" fn connect6(ctx: Ctx) -> i32 {
    let addr = user_ip6(ctx);
    let choice = if is_mapped(&addr) { choose(ctx, Ip4([addr[3]])) } else { choose(ctx, Ip6(addr)) };
    carry_out::<Ip6>(ctx, choice)
}

#[inline(always)]
fn choose<A: Mapped + Family>(ctx: Ctx, dst: A) -> Choice {
    let Some(proto) = protocol(ctx) else { return Choice::Leave };
    if !config::has(A::FEATURE) {
        return Choice::Leave;
    }
    let mut peer = match translated(ctx, dst, proto) {
        Choice::Backend(peer) => peer,
        Choice::Leave => {
            forget(ctx);
            return Choice::Leave;
        }
        // The call fails, and the socket stays connected to what it was.
        Choice::Refuse(reason) => return Choice::Refuse(reason),
    };
    // SAFETY: the storage helper checks the socket of the context; the pointer is checked for null.
    unsafe {
        let stored = SOCK_PEER.get_or_insert_ptr_mut(&SockAddrContext::new(ctx), Some(&mut peer));
        if stored.is_null() {
            return Choice::Refuse(Reason::SocketStorage);
        }
        *stored = peer;
    }
    Choice::Backend(peer)
}

/// What the destination stands for.
#[inline(always)]
fn translated<A: Mapped>(ctx: Ctx, dst: A, proto: u8) -> Choice {
    let port = user_port(ctx);
    let Some(row) = translate::frontend(dst, port, proto) else {
        // Resolvers connect UDP sockets to any port, only to see which way a packet would go.
        return if proto == Proto::Udp as u8 { Choice::Leave } else { translate::no_frontend(ctx, dst) };
    };
    match translate::entitled(ctx, row) {
        Ok(cookie) => translate::choose(row, cookie, dst, port),
        Err(instead) => instead.into(),
    }
}

/// A UDP socket may connect again, to something that is no service: its old translation must not show any more.
#[inline(always)]
fn forget(ctx: Ctx) {
    if let Some(peer) = connected(ctx) {
        // SAFETY: socket storage lives as long as the socket, which the kernel holds here.
        unsafe { *peer = SockPeer::default() };
    }
}
