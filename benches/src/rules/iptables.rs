//! iptables mode: one chain that every packet of a new connection walks rule by rule, a chain for each service that
//! draws lots, and a chain for each endpoint.

use super::{MASQUERADE, PODS};
use crate::services::Service;
use std::fmt::Write;

/// The filter table: services have endpoints here, so its chains stay empty.
const FILTER: &str = "*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-SERVICES - [0:0]
-A INPUT -j KUBE-FIREWALL
-A INPUT -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
-A INPUT -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
-A FORWARD -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
-A FORWARD -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES
-A FORWARD -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
-A OUTPUT -j KUBE-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -j KUBE-SERVICES
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark MARK/MARK -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
";

/// The nat table without services.
const NAT: &str = "*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SERVICES - [0:0]
CHAINS-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --set-xmark MARK/MARK
-A KUBE-POSTROUTING -m mark ! --mark MARK/MARK -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark MARK/0x0
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
RULES-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
COMMIT
";

/// The rule set of a node, services in their order.
pub fn rules(services: &[Service]) -> String {
    let (mut chains, mut rules) = (String::new(), String::new());
    services.iter().for_each(|s| service(s, &mut chains, &mut rules));
    // The bare word MARK is a target's name too.
    let marked = |text: &str| {
        text.replace("MARK/", &format!("{MASQUERADE}/")).replace("/MARK", &format!("/{MASQUERADE}"))
    };
    marked(FILTER) + &marked(NAT).replace("CHAINS", &chains).replace("RULES", &rules)
}

fn service(service: &Service, chains: &mut String, rules: &mut String) {
    let mark = service.mark();
    let (inside, outside) = (format!("KUBE-SVC-{mark:0>16}"), format!("KUBE-EXT-{mark:0>16}"));
    let (at, port, name) = (service.cluster_ip(), service.node_port(), service.name());
    let comment = |what: &str| format!("-m comment --comment \"{name}:http{what}\"");
    let about = comment("");
    let destination =
        format!("-d {}/32 -p tcp {} -m tcp --dport {}", at.ip(), comment(" cluster IP"), at.port());
    // Writing to a string does not fail.
    let _ = writeln!(chains, ":{inside} - [0:0]\n:{outside} - [0:0]");
    let mut rule = |text: String| {
        rules.push_str("-A ");
        rules.push_str(&text);
        rules.push('\n');
    };
    rule(format!("KUBE-SERVICES {destination} -j {inside}"));
    rule(format!("KUBE-NODEPORTS -d 127.0.0.0/8 -p tcp {about} -m tcp --dport {port} -j {outside}"));
    rule(format!("KUBE-NODEPORTS -p tcp {about} -m tcp --dport {port} -j {outside}"));
    rule(format!("{outside} {about} -j KUBE-MARK-MASQ"));
    rule(format!("{outside} -j {inside}"));
    rule(format!("{inside} ! -s {PODS} {destination} -j KUBE-MARK-MASQ"));
    for (i, endpoint) in service.endpoints.iter().enumerate() {
        let own = format!("KUBE-SEP-{mark}{i:0>8X}");
        let _ = writeln!(chains, ":{own} - [0:0]");
        let left = service.endpoints.len() - i;
        let lot = match left {
            1 => String::new(),
            _ => format!("-m statistic --mode random --probability {:.11} ", 1.0 / left as f64),
        };
        rule(format!("{inside} {} {lot}-j {own}", comment(&format!(" -> {endpoint}"))));
        rule(format!("{own} -s {}/32 {about} -j KUBE-MARK-MASQ", endpoint.ip()));
        rule(format!("{own} -p tcp {about} -m tcp -j DNAT --to-destination {endpoint}"));
    }
}
