//! What becomes of a new flow: the decision of the eBPF programs over the contents of the maps, as a plain function.
//!
//! [`fate`] asks what the rows of [`Actual`] say to the first packet (or the connect) of a client: "from X to Y, expect
//! Z". It decides by the flags of `shunt_common`'s rows in the order in which the programs look at them, and by nothing
//! else: not by what a Service was meant to say. So it serves as
//!
//! - the model's own check that the rows say what kube-proxy's rules do (`tests/flows.rs`);
//! - one side of a differential test against kube-proxy's nftables rules, or against the lab's real packets.
//!
//! It knows no flows: whoever has one already keeps its backend. Nor does it pick: it tells the set that a pick is made
//! from; session affinity narrows it for a client that was there before ([`affinity`]).

use crate::store::{Actual, BackendRow, Family, FrontendRef};
use ipnet::IpNet;
use shunt_common::{Frontend, Proto, Reason, Scope, frontend_flag};
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Client {
    /// Somebody outside the cluster, whose packets come in by a device.
    Outside(IpAddr),
    /// A pod on this node, by its sockets or by its packets: they come to the same.
    Pod(IpAddr),
    /// A process of the node itself.
    Node,
}

impl Client {
    /// The pool that the client picks from.
    #[must_use]
    pub const fn scope(self) -> Scope {
        match self {
            Self::Outside(_) => Scope::External,
            Self::Pod(_) | Self::Node => Scope::Internal,
        }
    }
}

/// A backend that a pick may give.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct To {
    /// Where the flow goes.
    pub addr: SocketAddr,
    /// On this node: the client's address is kept.
    pub local: bool,
}

/// What becomes of a new flow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It goes to one of these. Never empty.
    Backends(BTreeSet<To>),
    /// The client is told at once: by a reset, an ICMP error or ECONNREFUSED.
    Reject(Reason),
    /// Silence; a socket's call fails.
    Drop(Reason),
    /// None of our business: the stack does with it what it would without us.
    Pass,
}

/// What becomes of a new flow from `from` to `to`.
#[must_use]
pub fn fate(actual: &Actual, from: Client, to: SocketAddr, proto: Proto) -> Fate {
    let key = FrontendRef::new(to.ip(), to.port(), proto);
    let Some(row) = actual.frontends.get(&key).filter(|row| visible(row, from)) else {
        return match whose(actual, from, to.ip()) {
            Whose::Vip => Fate::Reject(Reason::UnknownPort),
            Whose::Unallocated => Fate::Drop(Reason::Unallocated),
            Whose::Nobodys => Fate::Pass,
        };
    };
    if !reachable(row, from) {
        return Fate::Pass;
    }
    if !admitted(actual, row, from, key.family()) {
        return Fate::Drop(Reason::SourceRange);
    }
    let backends = backends(actual, key.family(), row, from.scope());
    if !backends.is_empty() {
        return Fate::Backends(backends);
    }
    let drops = match from.scope() {
        Scope::External => frontend_flag::DROP_EXTERNAL,
        Scope::Internal => frontend_flag::DROP_INTERNAL,
    };
    match row.flags & drops {
        0 => Fate::Reject(Reason::NoBackend),
        _ => Fate::Drop(Reason::NoLocalBackend),
    }
}

/// Whether a ping of an address is answered by us.
#[must_use]
pub fn echo(actual: &Actual, from: Client, addr: IpAddr) -> bool {
    matches!(whose(actual, from, addr), Whose::Vip)
}

/// For how many seconds a client is given the same backend again; `None` where there is no affinity or no frontend.
#[must_use]
pub fn affinity(actual: &Actual, to: SocketAddr, proto: Proto) -> Option<u32> {
    let row = actual.frontends.get(&FrontendRef::new(to.ip(), to.port(), proto))?;
    Some(row.affinity_timeout).filter(|seconds| *seconds != 0)
}

/// Whether the row is there for this client: a loopback NodePort is so for the node's sockets alone (CVE-2020-8558), and
/// one that only marks a port for nobody.
fn visible(row: &Frontend, from: Client) -> bool {
    row.flags & frontend_flag::MARKER == 0
        && (row.flags & frontend_flag::HOST_ONLY == 0 || from == Client::Node)
}

/// Whether traffic from there may use the row at all.
fn reachable(row: &Frontend, from: Client) -> bool {
    from.scope() == Scope::Internal || row.flags & frontend_flag::EXTERNAL != 0
}

/// What an address is to the programs.
enum Whose {
    Vip,
    Unallocated,
    Nobodys,
}

fn whose(actual: &Actual, from: Client, addr: IpAddr) -> Whose {
    match actual.frontends.get(&FrontendRef::wildcard(addr)) {
        Some(row) if row.flags & frontend_flag::WILDCARD != 0 && reachable(row, from) => Whose::Vip,
        None if actual.service_cidrs.iter().any(|net| net.contains(&addr)) => Whose::Unallocated,
        _ => Whose::Nobodys,
    }
}

/// Source ranges hold in both scopes; the node's own sockets, which have no address yet, are let in by a flag.
fn admitted(actual: &Actual, row: &Frontend, from: Client, family: Family) -> bool {
    if row.flags & frontend_flag::SOURCE_RANGES == 0 {
        return true;
    }
    let (Client::Outside(addr) | Client::Pod(addr)) = from else {
        return row.flags & frontend_flag::NODE_ALLOWED != 0;
    };
    let holds = |net: &IpNet| Family::of(net.addr()) == family && net.contains(&addr);
    let found = actual.ranges.iter().any(|r| r.service == row.service && holds(&r.net));
    found != (row.flags & frontend_flag::SOURCE_DENY != 0)
}

/// A slot that names a backend without a row gives nothing, as it would to a packet.
fn backends(actual: &Actual, family: Family, row: &Frontend, scope: Scope) -> BTreeSet<To> {
    let pool = row.pool(scope);
    let ids = (pool.offset..pool.offset.saturating_add(pool.len)).filter_map(|slot| actual.slots.get(&slot));
    let rows = ids.filter_map(|id| match family {
        Family::V4 => actual.backends4.get(id).copied().map(BackendRow::V4),
        Family::V6 => actual.backends6.get(id).copied().map(BackendRow::V6),
    });
    rows.map(|b| To { addr: SocketAddr::new(b.addr(), b.port()), local: b.is_local() }).collect()
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backends(all) => {
                for (to, n) in all.iter().zip(0..) {
                    let blank = if n == 0 { "" } else { " " };
                    let local = if to.local { "(local)" } else { "" };
                    write!(f, "{blank}{}{local}", to.addr)?;
                }
                Ok(())
            }
            Self::Reject(reason) => write!(f, "reject {}", reason.label()),
            Self::Drop(reason) => write!(f, "drop {}", reason.label()),
            Self::Pass => f.write_str("pass"),
        }
    }
}
