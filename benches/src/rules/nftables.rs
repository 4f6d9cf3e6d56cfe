//! nftables mode: verdict maps by address and by node port, a chain for each service, one `dnat` with a random map.

use super::{MASQUERADE, PODS};
use crate::services::Service;
use std::fmt::Write;
use std::net::Ipv4Addr;

/// Everything but the services.
const BASE: &str = "
    set hairpin-connections { type ipv4_addr . ipv4_addr . inet_proto . inet_service; }
    set cluster-ips { type ipv4_addr; }
    set nodeport-ips { type ipv4_addr; }
    map no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict; }
    map no-endpoint-nodeports { type inet_proto . inet_service : verdict; }
    map firewall-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
    map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
    map service-nodeports { type inet_proto . inet_service : verdict; }
    chain nodeport-endpoints-check { ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports; }
    chain service-endpoints-check { ip daddr . meta l4proto . th dport vmap @no-endpoint-services; }
    chain firewall-check { ip daddr . meta l4proto . th dport vmap @firewall-ips; }
    chain cluster-ips-check { ip daddr @cluster-ips reject; ip daddr 10.96.0.0/16 drop; }
    chain filter-prerouting-pre-dnat {
        type filter hook prerouting priority -110; policy accept;
        ct state new jump firewall-check
    }
    chain filter-output-pre-dnat {
        type filter hook output priority -110; policy accept;
        ct state new jump firewall-check
    }
    chain filter-input {
        type filter hook input priority 0; policy accept;
        ct state new jump nodeport-endpoints-check
        ct state new jump service-endpoints-check
    }
    chain filter-forward {
        type filter hook forward priority 0; policy accept;
        ct state new jump service-endpoints-check
        ct state new jump cluster-ips-check
    }
    chain filter-output {
        type filter hook output priority 0; policy accept;
        ct state new jump service-endpoints-check
        ct state new jump cluster-ips-check
    }
    chain services {
        ip daddr @cluster-ips ip saddr != PODS meta mark set meta mark | MARK
        ip daddr . meta l4proto . th dport vmap @service-ips
        ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
    }
    chain masquerading {
        meta mark & MARK != 0 meta mark set meta mark ^ MARK masquerade fully-random
        ct status dnat ip saddr . ip daddr . meta l4proto . th dport @hairpin-connections masquerade fully-random
    }
    chain nat-prerouting { type nat hook prerouting priority -100; policy accept; jump services; }
    chain nat-output { type nat hook output priority -100; policy accept; jump services; }
    chain nat-postrouting { type nat hook postrouting priority 100; policy accept; jump masquerading; }
";

/// The rule set of a node that has this address.
pub fn rules(node: Ipv4Addr, services: &[Service]) -> String {
    let mut text =
        format!("table ip kube-proxy {{{}}}\n", BASE.replace("PODS", PODS).replace("MARK", MASQUERADE));
    // Chains before what goes to them.
    text.push_str("table ip kube-proxy {\n");
    services.iter().for_each(|service| chains(&mut text, service));
    text.push_str("}\n");
    let mut add = |set: &str, elements: Vec<String>| {
        let _ = writeln!(text, "add element ip kube-proxy {set} {{ {} }}", elements.join(", "));
    };
    let endpoints = services.iter().flat_map(|s| &s.endpoints);
    add(
        "hairpin-connections",
        endpoints.map(|e| format!("{0} . {0} . tcp . {1}", e.ip(), e.port())).collect(),
    );
    add("cluster-ips", services.iter().map(|s| s.cluster_ip().ip().to_string()).collect());
    add("nodeport-ips", vec![node.to_string()]);
    let by_address = |s: &Service| {
        let at = s.cluster_ip();
        format!("{} . tcp . {} : goto {}", at.ip(), at.port(), chain("service", s))
    };
    add("service-ips", services.iter().map(by_address).collect());
    let by_port = |s: &Service| format!("tcp . {} : goto {}", s.node_port(), chain("external", s));
    add("service-nodeports", services.iter().map(by_port).collect());
    text
}

fn chain(kind: &str, service: &Service) -> String {
    format!("{kind}-{}-{}/tcp/http", service.mark(), service.name())
}

fn chains(text: &mut String, service: &Service) {
    let (inside, outside) = (chain("service", service), chain("external", service));
    let endpoint = |(i, e): (usize, &std::net::SocketAddrV4)| format!("{i} : {} . {}", e.ip(), e.port());
    let endpoints: Vec<String> = service.endpoints.iter().enumerate().map(endpoint).collect();
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        " chain {inside} {{ meta l4proto tcp dnat ip to numgen random mod {} map {{ {} }}; }}\n \
         chain {outside} {{ meta mark set meta mark | {MASQUERADE}; goto {inside}; }}",
        endpoints.len(),
        endpoints.join(", "),
    );
}
