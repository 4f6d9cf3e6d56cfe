//! What a socket call that names a destination is made to mean: the decision of connect and sendmsg.

use crate::config;
use crate::hooks::socket::{Ctx, Mapped};
use crate::maps::OPT_OUT;
use crate::steps::{affinity, pick::Pick, start, vip};
use aya_ebpf::helpers::generated::{bpf_get_current_ancestor_cgroup_id, bpf_get_netns_cookie};
use shunt_common::{Frontend, FrontendKey, PortBe, Reason, Scope, SockPeer, feature, frontend_flag};

/// What becomes of a socket call that names a destination.
pub enum Choice {
    /// It goes to this backend; the socket remembers.
    Backend(SockPeer),
    /// No service, or one that the packet path serves: the kernel goes on untouched.
    Leave,
    /// The call fails.
    Refuse(Reason),
}

/// What becomes of a call that gets no backend.
pub enum Instead {
    /// As [`Choice::Leave`].
    Leave,
    /// As [`Choice::Refuse`].
    Refuse(Reason),
}

impl From<Instead> for Choice {
    #[inline(always)]
    fn from(instead: Instead) -> Self {
        match instead {
            Instead::Leave => Self::Leave,
            Instead::Refuse(reason) => Self::Refuse(reason),
        }
    }
}

/// Whether the calling socket is in the node's own network namespace, and its namespace's cookie.
#[inline(always)]
fn netns(ctx: Ctx) -> (bool, u64) {
    // SAFETY: a valid context.
    let cookie = unsafe { bpf_get_netns_cookie(ctx.cast()) };
    (cookie == config::host_netns_cookie(), cookie)
}

/// Levels of the cgroup tree, below the root, at which a pod may stand (kubelet's is the third or fourth).
const LEVELS: i32 = 8;

/// Whether a pod's sockets are to be left to the packet path (`socketLB.hostNamespaceOnly`, or the pod's own wish).
#[inline(always)]
fn opted_out() -> bool {
    if config::has(feature::HOST_NAMESPACE_ONLY) {
        return true;
    }
    if !config::has(feature::OPT_OUT) {
        return false;
    }
    let mut level = 1;
    while level < LEVELS {
        // SAFETY: no pointers.
        let cgroup = unsafe { bpf_get_current_ancestor_cgroup_id(level) };
        if cgroup == 0 {
            return false;
        }
        // SAFETY: the value is only held against null.
        if unsafe { OPT_OUT.get(&cgroup) }.is_some() {
            return true;
        }
        level += 1;
    }
    false
}

/// The frontend that a destination is.
#[inline(always)]
pub fn frontend<A: Mapped>(dst: A, port: PortBe, proto: u8) -> Option<&'static Frontend> {
    // SAFETY: a value of the frontend map; the kernel keeps it in place while the program runs.
    A::frontend(&FrontendKey::new(dst, port, proto)).map(|row| unsafe { &*row })
}

/// A destination that is no frontend: refused when its address is a service's.
#[inline(always)]
pub fn no_frontend<A: Mapped>(ctx: Ctx, dst: A) -> Choice {
    if vip::is_vip(dst, Scope::Internal) && (netns(ctx).0 || !opted_out()) {
        Choice::Refuse(Reason::SocketUnknownPort)
    } else {
        Choice::Leave
    }
}

/// Whether the socket path serves this socket at this frontend: the cookie of the socket's network namespace, or what
/// becomes of the call instead.
#[inline(always)]
pub fn entitled(ctx: Ctx, row: &Frontend) -> Result<u64, Instead> {
    let (host, cookie) = netns(ctx);
    let flags = row.flags;
    let hosts_own = flags & frontend_flag::HOST_ONLY != 0;
    if flags & frontend_flag::MARKER != 0 || (!host && (hosts_own || opted_out())) {
        return Err(Instead::Leave);
    }
    if flags & frontend_flag::SOURCE_RANGES != 0 {
        if !host {
            // A pod's socket has no address yet; its packets do.
            return Err(Instead::Leave);
        }
        if flags & frontend_flag::NODE_ALLOWED == 0 {
            return Err(Instead::Refuse(Reason::SocketSourceRange));
        }
    }
    Ok(cookie)
}

/// A backend for a socket in the network namespace with this cookie. `dst` and `port` are what it asked for.
#[inline(always)]
pub fn choose<A: Mapped>(row: &Frontend, cookie: u64, dst: A, port: PortBe) -> Choice {
    let client = [cookie as u32, (cookie >> 32) as u32];
    match affinity::choose::<A>(
        row,
        row.pool(Scope::Internal),
        &client,
        A::CLIENT.1,
        affinity::Basis { hashed: false, hash: 0 },
    ) {
        Ok(Pick { id, backend }) => Choice::Backend(SockPeer {
            backend: backend.addr.mapped(),
            frontend: dst.mapped(),
            backend_port: backend.port,
            frontend_port: port,
            backend_id: id,
            service: row.service,
        }),
        Err(Reason::NoBackend) if row.flags & start::drops(Scope::Internal) != 0 => {
            Choice::Refuse(Reason::SocketNoLocalBackend)
        }
        Err(_) => Choice::Refuse(Reason::SocketNoBackend),
    }
}
