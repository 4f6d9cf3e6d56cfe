//! The rules as `nft -f` reads them.

use super::{Action, Base, Hook, Match, Rule, Ruleset, Verdict};
use ipnet::IpNet;
use shunt_common::Proto;
use shunt_model::store::Family;
use std::fmt::{self, Display, Formatter};

const MARK: &str = "0x00004000";

impl Display for Ruleset {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let addr = if self.family == Family::V4 { "ipv4_addr" } else { "ipv6_addr" };
        writeln!(f, "table {} kube-proxy {{", self.ip())?;
        for (name, set) in &self.sets {
            let elements = elements(set.iter().map(ToString::to_string));
            writeln!(f, "  set {name} {{ type {addr};{elements} }}")?;
        }
        let hairpin = self.hairpin.iter().map(|(a, p, n)| format!("{a} . {a} . {} . {n}", name(*p)));
        let hairpin = elements(hairpin);
        writeln!(
            f,
            "  set hairpin-connections {{ type {addr} . {addr} . inet_proto . inet_service;{hairpin} }}"
        )?;
        for (name, seconds) in &self.affinity {
            writeln!(
                f,
                "  set {name} {{ type {addr}; flags dynamic,timeout; size 65535; timeout {seconds}s; }}"
            )?;
        }
        // Chains before what goes to them.
        for name in self.chains.keys() {
            writeln!(f, "  chain {name} {{ {} }}", self.base(name))?;
        }
        self.maps(f, addr)?;
        writeln!(f, "}}\ntable {} kube-proxy {{", self.ip())?;
        for (name, rules) in &self.chains {
            writeln!(f, "  chain {name} {{")?;
            rules.iter().try_for_each(|rule| writeln!(f, "    {}", self.rule_text(rule)))?;
            writeln!(f, "  }}")?;
        }
        writeln!(f, "}}")
    }
}

fn name(proto: Proto) -> String {
    proto.name().to_lowercase()
}

fn elements(all: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = all.collect();
    if all.is_empty() { String::new() } else { format!(" elements = {{ {} }};", all.join(", ")) }
}

fn list(nets: &[IpNet]) -> String {
    let nets: Vec<String> = nets.iter().map(ToString::to_string).collect();
    format!("{{ {} }}", nets.join(", "))
}

fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Goto(chain) => format!("goto {chain}"),
        Verdict::Drop => "drop".into(),
    }
}

impl Ruleset {
    fn ip(&self) -> &'static str {
        if self.family == Family::V4 { "ip" } else { "ip6" }
    }

    fn base(&self, name: &str) -> String {
        let Some(Base { nat, hook, priority, .. }) = self.bases.iter().find(|b| b.name == name) else {
            return String::new();
        };
        let kind = if *nat { "nat" } else { "filter" };
        let hook = match hook {
            Hook::Prerouting => "prerouting",
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Output => "output",
            Hook::Postrouting => "postrouting",
        };
        format!("type {kind} hook {hook} priority {priority};")
    }

    fn maps(&self, f: &mut Formatter<'_>, addr: &str) -> fmt::Result {
        for (map, all) in &self.dests {
            let one = |((a, p, n), v): (&super::Dest, &Verdict)| {
                format!("{a} . {} . {n} : {}", name(*p), verdict(v))
            };
            let all = elements(all.iter().map(one));
            writeln!(f, "  map {map} {{ type {addr} . inet_proto . inet_service : verdict;{all} }}")?;
        }
        for (map, all) in &self.ports {
            let one = |((p, n), v): (&(Proto, u16), &Verdict)| format!("{} . {n} : {}", name(*p), verdict(v));
            let all = elements(all.iter().map(one));
            writeln!(f, "  map {map} {{ type inet_proto . inet_service : verdict;{all} }}")?;
        }
        Ok(())
    }

    fn rule_text(&self, rule: &Rule) -> String {
        let mut words: Vec<String> = rule.when.iter().map(|m| self.match_text(m)).collect();
        words.push(self.action_text(&rule.then));
        words.join(" ")
    }

    fn match_text(&self, what: &Match) -> String {
        let ip = self.ip();
        let op = |not: &bool| if *not { "!= " } else { "" };
        match what {
            Match::New => "ct state new".into(),
            Match::Translated => "ct status dnat".into(),
            Match::To(set) => format!("{ip} daddr @{set}"),
            Match::FromLocal => "fib saddr type local".into(),
            Match::ToNets(nets) => format!("{ip} daddr {}", list(nets)),
            Match::From { not, nets } => format!("{ip} saddr {}{}", op(not), list(nets)),
            Match::By { not, prefix } => format!("iifname {}\"{prefix}*\"", op(not)),
            Match::Marked => format!("meta mark & {MARK} != 0"),
            Match::Hairpin => {
                format!("{ip} saddr . {ip} daddr . meta l4proto . th dport @hairpin-connections")
            }
            Match::Known(set) => format!("{ip} saddr @{set}"),
            Match::Is(proto) => format!("meta l4proto {}", name(*proto)),
        }
    }

    fn action_text(&self, action: &Action) -> String {
        let ip = self.ip();
        let choice = |all: Vec<String>| {
            let all: Vec<String> = all.iter().zip(0..).map(|(one, n)| format!("{n} : {one}")).collect();
            format!("{{ {} }}", all.join(", "))
        };
        match action {
            Action::Jump(chain) => format!("jump {chain}"),
            Action::Goto(chain) => format!("goto {chain}"),
            Action::Drop => "drop".into(),
            Action::Reject => "reject".into(),
            Action::Mark => format!("meta mark set meta mark | {MARK}"),
            Action::Masquerade => format!("meta mark set meta mark ^ {MARK} masquerade fully-random"),
            Action::MasqueradeUnmarked => "masquerade fully-random".into(),
            Action::ByDest(map) => format!("{ip} daddr . meta l4proto . th dport vmap @{map}"),
            Action::ByPort(map) => format!("meta l4proto . th dport vmap @{map}"),
            Action::Dnat(all) => {
                let to = choice(all.iter().map(|b| format!("{} . {}", b.ip(), b.port())).collect());
                format!("dnat {ip} addr . port to numgen random mod {} map {to}", all.len())
            }
            Action::Any(chains) => {
                let to = choice(chains.iter().map(|c| format!("goto {c}")).collect());
                format!("numgen random mod {} vmap {to}", chains.len())
            }
            Action::Remember(set) => format!("update @{set} {{ {ip} saddr }}"),
        }
    }
}
