//! cgroup recvmsg4 and recvmsg6: a reply is shown to come from the service that was asked.

use crate::hooks::socket::{ALLOW, Ctx, Mapped, frontend_of, read, user_ip6, user_port, write_port};
use shunt_common::{Ip4, Ip6};

#[unsafe(no_mangle)]
#[unsafe(link_section = "cgroup/recvmsg4")]
extern "C" fn recvmsg4(ctx: Ctx) -> i32 {
    show4(ctx)
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "cgroup/recvmsg6")]
extern "C" fn recvmsg6(ctx: Ctx) -> i32 {
    show6(ctx)
}

/// Shows the frontend in place of the backend, IPv4.
#[inline(always)]
pub fn show4(ctx: Ctx) -> i32 {
    let addr = Ip4([read!(ctx, user_ip4)]).mapped();
    if let Some((frontend, port)) = frontend_of(ctx, &addr, user_port(ctx)) {
        Ip4::unmapped(&frontend).write(ctx);
        write_port(ctx, port);
    }
    ALLOW
}

/// Shows the frontend in place of the backend, IPv6 and IPv4-mapped.
#[inline(always)]
pub fn show6(ctx: Ctx) -> i32 {
    let addr = user_ip6(ctx);
    if let Some((frontend, port)) = frontend_of(ctx, &addr, user_port(ctx)) {
        Ip6(frontend).write(ctx);
        write_port(ctx, port);
    }
    ALLOW
}
