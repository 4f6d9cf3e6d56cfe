//! The one table: which services there are, and what becomes of flows to them.

use serde_json::{Value, json};

/// Each service: its name, fields of its spec, and its endpoints: a pod with `+` ready, `~` terminating and serving, `!`
/// terminating and not serving, `-` unready; `^node1` hints at a node. All have ports `http` (80 to 8080, TCP) and `udp` (80 to
/// 8081, UDP), and both families.
pub fn services() -> Vec<(&'static str, Value, &'static str)> {
    let balanced = |fields: Value| {
        let mut spec = json!({"type": "LoadBalancer"});
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        spec
    };
    let both_local = json!({"internalTrafficPolicy": "Local", "externalTrafficPolicy": "Local"});
    let ranges = |ranges: Value| balanced(json!({"loadBalancerSourceRanges": ranges}));
    vec![
        (
            "web",
            balanced(json!({"externalIPs": ["198.51.100.77", "fd00:e::77"]})),
            "pod1-1+ pod1-2+ pod2-1+ pod2-2+",
        ),
        ("near", balanced(both_local.clone()), "pod1-1+ pod1-2+ pod2-1+ pod2-2+"),
        ("far", balanced(both_local.clone()), "pod2-1+"),
        ("outward", balanced(json!({"externalTrafficPolicy": "Local"})), "pod2-1+"),
        ("nobody", balanced(json!({})), "pod1-1- pod2-1-"),
        ("nobody-local", balanced(both_local.clone()), ""),
        ("mixed", balanced(json!({})), "pod1-1+ pod1-2~ pod2-1! pod2-2-"),
        ("leaving", balanced(json!({})), "pod1-1~ pod1-2! pod2-1~ pod2-2-"),
        ("leaving-local", balanced(both_local), "pod1-1~ pod1-2! pod2-1+ pod2-2+"),
        ("gone", balanced(json!({})), "pod1-1! pod2-1!"),
        ("hinted", balanced(json!({})), "pod1-1+^node1 pod2-1+^node2"),
        // The lab's only client outside is 192.168.50.2 and fd00:50::2.
        ("guarded", ranges(json!(["192.168.50.0/24", "fd00:50::/64"])), "pod1-1+ pod2-1+"),
        ("shut", ranges(json!(["192.0.2.0/24", "2001:db8:9::/48"])), "pod1-1+ pod2-1+"),
        ("for-pods", ranges(json!(["10.244.0.0/16", "fd00:244::/32"])), "pod1-1+ pod2-1+"),
        ("sticky", balanced(json!({"sessionAffinity": "ClientIP"})), "pod1-1+ pod1-2+ pod2-1+ pod2-2+"),
        ("portless", balanced(json!({"allocateLoadBalancerNodePorts": false})), "pod2-1+"),
        ("inner", json!({"type": "ClusterIP"}), "pod1-1+ pod2-1+"),
    ]
}

/// `CLIENT... DESTINATION [tcp|udp] = FATE [-> SEEN]`
///
/// - Clients: `out`; `pod1-2`, a pod by its sockets; `packets1-2`, the same pod by its packets; `node1`. `in1` is all three
///   of node 1, `in2` of node 2.
/// - Destinations: `ip/SERVICE`, `lb/SERVICE` and `ext/SERVICE` (ClusterIP, load balancer's address and externalIP, port 80
///   unless `:PORT` follows), `port1/SERVICE` (its NodePort on node 1), `lo/SERVICE` (the same on loopback),
///   and `node1:PORT`, `lo:PORT`, `pod2-1` themselves. A row without a protocol is asked by both.
/// - Fates are those of `shunt_model::fate`; backends by name, `all` for the four pods, `one of` with session affinity.
///   After a `pass` it is said what the network makes of it: nobody answers (`unanswered`), `refused`, or who does. So it is
///   where a client is known to see something else than the fate says.
/// - Load balancers' and external addresses lead to node 1 from outside.
pub const FLOWS: &str = "
    # Cluster policy, all kinds of addresses.
    in1 in2      ip/web          = all
    out          ip/web          = pass -> unanswered
    out in1      port1/web       = all
    out in2      port2/web       = all
    # By TCP alone: a UDP socket of the cluster that reuses such a port to reach the same pod directly is answered by the other
    # node's NodePort for as long as that flow is remembered (`move_client_aside` says why).
    in2          port1/web tcp   = all
    in1          port2/web tcp   = all
    out in1 in2  lb/web          = all
    out in1 in2  ext/web         = all
    in1          ip/inner        = pod1-1 pod2-1
    in1          ip/hinted       = pod1-1
    in2          ip/hinted       = pod2-1
    out          lb/hinted       = pod1-1
    out          port2/hinted    = pod2-1

    # What no service has: refused on a virtual address, and otherwise none of our business.
    pod1-2 packets1-2 ip/web:81  = reject unknown_port
    node1        ip/web:81 tcp   = reject unknown_port
    # Resolvers connect UDP sockets to any port, only to see which way a packet would go: connect leaves these alone.
    node1        ip/web:81 udp   = reject unknown_port -> unanswered
    out          ip/web:81       = pass -> unanswered
    pod1-2 packets1-2 lb/web:81  = reject unknown_port
    out node1    lb/web:81       = reject unknown_port
    out in1      ext/web:81      = pass -> unanswered
    out in1      node1:4444      = pass -> refused
    in1          node2:4444      = pass -> refused
    in1          pod2-1          = pass -> pod2-1
    out in1      lb/portless     = pod2-1

    # Loopback: the node's own sockets alone.
    node1 node2  lo/web          = all
    pod1-2 packets1-2 out lo/web = pass -> refused
    node1        lo/near         = all
    node1        lo/nobody       = reject no_backend

    # Local policies: the node's own endpoints; outside of them, silence for strangers and the cluster's for friends.
    in1          ip/near         = pod1-1 pod1-2
    in2          ip/near         = pod2-1 pod2-2
    out          port1/near      = pod1-1 pod1-2
    out          port2/near      = pod2-1 pod2-2
    out          lb/near         = pod1-1 pod1-2
    in1 in2      lb/near         = all
    in1          port1/near      = all
    in1          ip/far          = drop no_local_backend
    in2          ip/far          = pod2-1
    out          port1/far       = drop no_local_backend
    out          port2/far       = pod2-1
    out          lb/far          = drop no_local_backend
    in1          lb/far          = pod2-1
    in1          port1/far       = pod2-1
    in2          port1/far       = drop no_local_backend
    in1          ip/outward      = pod2-1
    out          port1/outward   = drop no_local_backend
    in1          port1/outward   = pod2-1

    # No endpoints, or none that is ready.
    in1          ip/nobody       = reject no_backend
    out in1 in2  port1/nobody    = reject no_backend
    out in1      lb/nobody       = reject no_backend
    in1          ip/nobody-local = reject no_backend
    out          lb/nobody-local = reject no_backend
    in1          ip/mixed        = pod1-1
    out          port2/mixed     = pod1-1
    in1 in2      ip/leaving      = pod1-1 pod2-1
    out          lb/leaving      = pod1-1 pod2-1
    in1          ip/leaving-local    = pod1-1
    in2          ip/leaving-local    = pod2-1 pod2-2
    out          port1/leaving-local = pod1-1
    in1          lb/leaving-local    = pod2-1 pod2-2
    in1          ip/gone         = reject no_backend
    out          lb/gone         = reject no_backend

    # Source ranges: the load balancer's address alone.
    out          lb/guarded      = pod1-1 pod2-1
    in1          lb/guarded      = drop source_range
    out in1      port1/guarded   = pod1-1 pod2-1
    in1          ip/guarded      = pod1-1 pod2-1
    out in1      lb/shut         = drop source_range
    out          lb/for-pods     = drop source_range
    node1        lb/for-pods     = drop source_range
    pod1-2 packets1-2 lb/for-pods = pod1-1 pod2-1

    # Session affinity.
    in1          ip/sticky       = one of all
    out in1      port1/sticky    = one of all
    out          lb/sticky       = one of all

    # Host ports of pod1-1 (TCP) and pod1-2 (UDP), and one of pod1-1 on loopback.
    out in1 in2  node1:5432 tcp  = pod1-1
    out in1      node1:5432 udp  = pod1-2
    out          node2:5432      = pass -> refused
    node1        lo:5433 tcp     = pod1-1
    node1        lo:5433 udp     = pass -> refused
    pod1-2 packets1-2 lo:5433    = pass -> refused
    out in1      node1:5433      = pass -> refused
";
