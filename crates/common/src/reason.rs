//! Why a packet met its fate: one table of number, metric label and text.

use crate::pod;

/// Value of the `counters` map, one for each CPU.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes, from the IP header on.
    pub bytes: u64,
}
pod!(Counter);

/// Which way a packet was going at the hook that counted it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Direction {
    /// Into the node.
    Ingress = 0,
    /// Out of the node.
    Egress = 1,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $drop:literal, $label:literal, $text:literal;)+) => {
        /// The reason for a verdict. Numbers are part of the ABI: append, never renumber.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum Reason { $($(#[doc = $doc])+ $name = $number,)+ }

        impl Reason {
            /// Every reason, in order of number.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)+];
            /// Size of the `counters` map: every number times the two directions.
            pub const COUNTERS: u32 = 128;
            /// Label in metrics.
            pub const fn label(self) -> &'static str { match self { $(Self::$name => $label,)+ } }
            /// Text for people; Cilium's where the meaning is the same.
            pub const fn text(self) -> &'static str { match self { $(Self::$name => $text,)+ } }
            /// Whether the packet was dropped (or answered by us) rather than sent on its way.
            pub const fn is_drop(self) -> bool { match self { $(Self::$name => $drop,)+ } }
        }
    };
}

reasons! {
    /// A packet of a known or new flow, rewritten and sent on.
    Forwarded = 0, false, "forwarded", "Forwarded";
    /// The service has no backend: answered with a TCP reset or an ICMP unreachable.
    NoBackend = 1, true, "no_backend", "Service backend not found";
    /// Every SNAT port tried for the flow was taken.
    SnatExhausted = 2, true, "snat_exhausted", "No mapping for NAT masquerade";
    /// The flow table has no room and no unconfirmed flow could make some.
    FlowTableFull = 3, true, "flow_table_full", "CT: Map insertion failed";
    /// The kernel has no route to where the flow goes.
    NoRoute = 4, true, "no_route", "FIB lookup failed";
    /// The packet is larger than its next link: answered with frag-needed or packet-too-big.
    TooBig = 5, true, "too_big", "Fragmentation needed";
    /// TTL or hop limit ran out here: answered with time exceeded.
    TtlExceeded = 6, true, "ttl_exceeded", "TTL exceeded";
    /// A header is cut short or makes no sense.
    Malformed = 7, true, "malformed", "Invalid packet";
    /// The kernel refused to change the packet.
    RewriteFailed = 8, true, "rewrite_failed", "Error writing to packet";
    /// A fragment of an SCTP packet, whose sum covers what is not in it.
    Fragment = 9, true, "fragment", "IP fragmentation not supported";
    /// A reply that we would have generated, over the rate limit.
    RateLimited = 10, true, "rate_limited", "Rate limited";
    /// The pool names a backend that is gone; a bug or a race with the agent.
    StaleBackend = 11, true, "stale_backend", "No backend entry found";
    /// A ClusterIP was reached from outside and `bpf.lbExternalClusterIP` is off: left to the stack.
    ClusterIpFromOutside = 12, false, "cluster_ip_from_outside", "Is a ClusterIP";
    /// A connect, sendmsg or packet of the socket path translated.
    SocketForwarded = 13, false, "socket_forwarded", "LB, sock cgroup: translated";
    /// A connect or sendmsg refused for want of a backend.
    SocketNoBackend = 14, true, "socket_no_backend", "LB, sock cgroup: No backend slot entry found";
    /// A socket that could not remember its translation was left untranslated and refused.
    SocketStorage = 15, true, "socket_storage", "LB, sock cgroup: Reverse entry update failed";
    /// A bind to a port that a service answers on was refused.
    BindProtected = 16, true, "bind_protected", "NodePort bind protection";
    /// An unconfirmed flow made room for a newer one.
    Evicted = 17, false, "evicted", "CT: Unconfirmed flow evicted";
    /// A SNAT port was taken by another flow or a local socket, and the next was tried.
    SnatCollision = 18, false, "snat_collision", "NAT port collision";
    /// A local socket used a SNAT flow's tuple and got another port on the wire.
    LocalSocketMoved = 19, false, "local_socket_moved", "Local socket moved off a NAT port";
    /// Traffic policy Local, and the endpoints are on other nodes: dropped silently, so that load balancers look elsewhere.
    NoLocalBackend = 20, true, "no_local_backend", "No local backend for a Local traffic policy";
    /// The client is not in the service's source ranges (or in its denied ones).
    SourceRange = 21, true, "source_range", "Denied by LB src range check";
    /// A virtual address was asked for a port that no service has: answered as if nobody listened.
    UnknownPort = 22, true, "unknown_port", "No service on this port of a service address";
    /// A ping of a virtual address was answered.
    EchoReply = 23, false, "echo_reply", "ICMP echo reply sent for a service address";
    /// A socket's call was refused because the traffic policy is Local and the endpoints are on other nodes.
    SocketNoLocalBackend = 24, true, "socket_no_local_backend", "LB, sock cgroup: No local backend";
    /// A socket of the node is not in the service's source ranges.
    SocketSourceRange = 25, true, "socket_source_range", "LB, sock cgroup: Denied by LB src range check";
    /// A socket's call to a port that no service has, at a virtual address.
    SocketUnknownPort = 26, true, "socket_unknown_port", "LB, sock cgroup: No service on this port";
    /// An address of a ServiceCIDR that no service has: dropped silently, as kube-proxy does.
    Unallocated = 27, true, "unallocated", "Address of a ServiceCIDR that no service has";
    /// DSR information that names no frontend of ours with that backend: not believed, the packet is left as it is.
    DsrRefused = 40, false, "dsr_refused", "DSR: information that names no service of this backend";
    /// A client uses one port for two services with the same backend. The load balancing node forwards the second by SNAT;
    /// where only the backend's node can see it, the packet is dropped and the client's next connection has another port.
    DsrCollision = 41, false, "dsr_collision", "DSR: client port in use with the same backend";
    /// An ICMP error about an outer header of ours quotes too little of what is inside to tell whose packet that was.
    DsrErrorLost = 42, false, "dsr_error_lost", "DSR: ICMP error that does not tell whose packet it is about";
    /// A client's reset of what the backend has said on another connection of that client, by the same ports past the service.
    Crossed = 43, true, "crossed", "Reset of a connection past the service that has the flow's ports";
    /// A later fragment to a service's own address, of a datagram whose first fragment has not been here.
    FragmentOrphan = 50, true, "fragment_orphan", "IP fragment before its first fragment";
    /// As `forwarded`, but by XDP: the packet never left the driver.
    ForwardedByXdp = 28, false, "forwarded_xdp", "Forwarded by XDP";
}

impl Reason {
    /// Index in the `counters` map.
    #[inline(always)]
    pub const fn index(self, direction: Direction) -> u32 {
        self as u32 * 2 + direction as u32
    }
}
