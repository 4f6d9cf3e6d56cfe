//! cgroup getpeername4 and getpeername6: a connected socket is told the service that it connected to.

use crate::hooks::recvmsg::{show4, show6};
use crate::hooks::socket::Ctx;

#[unsafe(no_mangle)]
#[unsafe(link_section = "cgroup/getpeername4")]
extern "C" fn getpeername4(ctx: Ctx) -> i32 {
    show4(ctx)
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "cgroup/getpeername6")]
extern "C" fn getpeername6(ctx: Ctx) -> i32 {
    show6(ctx)
}
