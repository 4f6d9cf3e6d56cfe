//! What is there before the first service: base chains, the checks that they jump to, empty sets and maps.

use super::{Detect, Settings};
use crate::rules::{Action, Base, Hook, Match, Ruleset};
use ipnet::IpNet;
use shunt_model::store::Family;

/// Just before and at the priority of `dnat`, at that of `filter`, and at that of `snat`.
const BASES: [Base; 8] = [
    Base { name: "filter-prerouting-pre-dnat", nat: false, hook: Hook::Prerouting, priority: -110 },
    Base { name: "filter-output-pre-dnat", nat: false, hook: Hook::Output, priority: -110 },
    Base { name: "filter-input", nat: false, hook: Hook::Input, priority: 0 },
    Base { name: "filter-forward", nat: false, hook: Hook::Forward, priority: 0 },
    Base { name: "filter-output", nat: false, hook: Hook::Output, priority: 0 },
    Base { name: "nat-prerouting", nat: true, hook: Hook::Prerouting, priority: -100 },
    Base { name: "nat-output", nat: true, hook: Hook::Output, priority: -100 },
    Base { name: "nat-postrouting", nat: true, hook: Hook::Postrouting, priority: 100 },
];

/// From chain, to chain, for new connections only.
const JUMPS: [(&str, &str, bool); 11] = [
    ("filter-input", "nodeport-endpoints-check", true),
    ("filter-input", "service-endpoints-check", true),
    ("filter-forward", "service-endpoints-check", true),
    ("filter-output", "service-endpoints-check", true),
    ("filter-prerouting-pre-dnat", "firewall-check", true),
    ("filter-output-pre-dnat", "firewall-check", true),
    ("nat-output", "services", false),
    ("nat-prerouting", "services", false),
    ("nat-postrouting", "masquerading", false),
    ("filter-forward", "cluster-ips-check", true),
    ("filter-output", "cluster-ips-check", true),
];

pub fn write(rules: &mut Ruleset, settings: &Settings) {
    let family = rules.family;
    rules.bases = BASES.to_vec();
    for base in BASES {
        rules.chains.insert(base.name.into(), Vec::new());
    }
    for (from, to, new) in JUMPS {
        rules.chains.entry(to.into()).or_default();
        rules.rule(from, if new { vec![Match::New] } else { vec![] }, Action::Jump(to.into()));
    }
    for map in ["no-endpoint-services", "firewall-ips", "service-ips"] {
        rules.dests.insert(map, Default::default());
    }
    for map in ["no-endpoint-nodeports", "service-nodeports"] {
        rules.ports.insert(map, Default::default());
    }
    rules.sets.insert("cluster-ips", Default::default());
    let of_family = settings.node_ports.iter().filter(|a| Family::of(**a) == family);
    rules.sets.insert("nodeport-ips", of_family.copied().collect());

    rules.rule("reject-chain", vec![], Action::Reject);
    rules.rule("service-endpoints-check", vec![], Action::ByDest("no-endpoint-services"));
    rules.rule(
        "nodeport-endpoints-check",
        vec![Match::To("nodeport-ips")],
        Action::ByPort("no-endpoint-nodeports"),
    );
    rules.rule("firewall-check", vec![], Action::ByDest("firewall-ips"));
    cluster_ips(rules, settings);
    rules.rule("services", vec![], Action::ByDest("service-ips"));
    rules.rule("services", vec![Match::To("nodeport-ips")], Action::ByPort("service-nodeports"));
    rules.rule("masquerading", vec![Match::Marked], Action::Masquerade);
    // The mark is off already; taking it off an unmarked packet would put it on.
    rules.rule("masquerading", vec![Match::Translated, Match::Hairpin], Action::MasqueradeUnmarked);
}

/// A port that nobody serves is refused, an address that nobody has is silent; who is not a pod gets the node's address.
fn cluster_ips(rules: &mut Ruleset, settings: &Settings) {
    let to = Match::To("cluster-ips");
    rules.rule("cluster-ips-check", vec![to.clone()], Action::Reject);
    let nets: Vec<IpNet> = of_family(&settings.service_cidrs, rules.family);
    if !nets.is_empty() {
        rules.rule("cluster-ips-check", vec![Match::ToNets(nets)], Action::Drop);
    }
    let when = match settings.masquerade_all {
        true => vec![to],
        false => vec![to, pod(settings, rules.family, false)],
    };
    rules.rule("services", when, Action::Mark);
}

/// Whether a packet comes (or does not come) from a pod.
pub fn pod(settings: &Settings, family: Family, is: bool) -> Match {
    match &settings.detect {
        Detect::Nets(nets) => Match::From { not: !is, nets: of_family(nets, family) },
        Detect::Prefix(prefix) => Match::By { not: !is, prefix },
    }
}

fn of_family(nets: &[IpNet], family: Family) -> Vec<IpNet> {
    nets.iter().filter(|n| Family::of(n.addr()) == family).copied().collect()
}
