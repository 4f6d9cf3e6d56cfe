//! cgroup post_bind4 and post_bind6: a process of the node cannot take a port that a service answers on
//! (`nodePort.bindProtection`); it would never hear anything.

use crate::config;
use crate::family::Family;
use crate::hooks::socket::{ALLOW, REFUSE, read};
use crate::outcome::count;
use aya_ebpf::bindings::bpf_sock;
use aya_ebpf::helpers::generated::bpf_get_netns_cookie;
use shunt_common::{Addr, Direction, FrontendKey, FrontendKind, Ip4, Ip6, PortBe, Reason, feature};

type Ctx = *mut bpf_sock;

#[unsafe(no_mangle)]
#[unsafe(link_section = "cgroup/post_bind4")]
extern "C" fn post_bind4(ctx: Ctx) -> i32 {
    verdict(ctx, || answers(ctx, Ip4([read!(ctx, src_ip4)])))
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "cgroup/post_bind6")]
extern "C" fn post_bind6(ctx: Ctx) -> i32 {
    verdict(ctx, || {
        let addr = Ip6([
            read!(ctx, src_ip6[0]),
            read!(ctx, src_ip6[1]),
            read!(ctx, src_ip6[2]),
            read!(ctx, src_ip6[3]),
        ]);
        // A socket bound to [::] takes the port on IPv4 as well.
        answers(ctx, addr) || (addr == Ip6::ZERO && answers(ctx, Ip4::ZERO))
    })
}

/// EPERM for the node's own sockets on a service's port; pods may bind what they like.
#[inline(always)]
fn verdict(ctx: Ctx, answers: impl FnOnce() -> bool) -> i32 {
    if !config::has(feature::BIND_PROTECTION) {
        return ALLOW;
    }
    // SAFETY: a valid context.
    let netns = unsafe { bpf_get_netns_cookie(ctx.cast()) };
    if netns != config::host_netns_cookie() || !answers() {
        return ALLOW;
    }
    count(Reason::BindProtected, Direction::Ingress, 0);
    REFUSE
}

/// Whether a service answers at this address, or, at the unspecified address, on this port.
#[inline(always)]
fn answers<A: Family>(ctx: Ctx, addr: A) -> bool {
    let port = PortBe::new(read!(ctx, src_port) as u16);
    match A::frontend(&FrontendKey::new(addr, port, read!(ctx, protocol) as u8)) {
        // A ClusterIP is no address of the node, unless somebody made it one to listen there (a node-local DNS cache).
        // SAFETY: a value of the frontend map; the kernel keeps it in place while the program runs.
        Some(row) => unsafe { (*row).kind != FrontendKind::ClusterIp as u8 },
        None => false,
    }
}
