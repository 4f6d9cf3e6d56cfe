//! What the rules do to the first packet of a connection, by what the kernel does with rules: nothing here knows what
//! a Service is.

use super::{Action, Dest, Hook, Match, Rule, Ruleset, Verdict};
use shunt_common::Proto;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// Where a packet comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// By a device, from whomever.
    Device(IpAddr),
    /// By the interface of a pod on this node.
    Pod(IpAddr),
    /// From the node itself, by this address.
    Node(IpAddr),
}

impl Source {
    pub fn addr(self) -> IpAddr {
        match self {
            Self::Device(addr) | Self::Pod(addr) | Self::Node(addr) => addr,
        }
    }
}

/// What the kernel knows of the node beside the rules.
pub struct Host {
    /// Its own addresses.
    pub addresses: BTreeSet<IpAddr>,
}

/// How a packet goes to a backend.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Way {
    /// From the node's address rather than the client's.
    pub masqueraded: bool,
    /// For so many seconds the client will be given it again.
    pub affinity: Option<u32>,
}

/// What becomes of the packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It goes to one of these.
    Backends(BTreeMap<SocketAddr, Way>),
    Reject,
    Drop,
    Untouched,
    /// Chance decides between more than backends. No cluster should have it.
    Mixed,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Packet {
    saddr: IpAddr,
    to: Dest,
    by_pod: bool,
    marked: bool,
    translated: bool,
    way: Way,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum End {
    /// No rule decided.
    Return,
    Accept,
    Drop,
    Reject,
}

impl Ruleset {
    /// What becomes of a packet.
    pub fn fate(&self, host: &Host, from: Source, to: SocketAddr, proto: Proto) -> Fate {
        let packet = Packet {
            saddr: from.addr(),
            to: (to.ip(), proto, to.port()),
            by_pod: matches!(from, Source::Pod(_)),
            marked: false,
            translated: false,
            way: Way::default(),
        };
        let own = matches!(from, Source::Node(_));
        let first = if own { Hook::Output } else { Hook::Prerouting };
        let mut ends = BTreeSet::new();
        for (packet, end) in self.hook(host, first, packet) {
            if end != End::Return {
                ends.insert((packet, end));
                continue;
            }
            // Routed by where it goes now.
            let here = host.addresses.contains(&packet.to.0);
            let rest: &[Hook] = match (own, here) {
                (false, true) => &[Hook::Input],
                (false, false) => &[Hook::Forward, Hook::Postrouting],
                (true, true) => &[Hook::Postrouting, Hook::Input],
                (true, false) => &[Hook::Postrouting],
            };
            let mut now = vec![(packet, End::Return)];
            for hook in rest {
                let go = |(p, end)| match end {
                    End::Return => self.hook(host, *hook, p),
                    _ => vec![(p, end)],
                };
                now = now.into_iter().flat_map(go).collect();
            }
            ends.extend(now);
        }
        summary(&ends)
    }

    /// The base chains of a hook, by priority.
    fn hook(&self, host: &Host, hook: Hook, packet: Packet) -> Vec<(Packet, End)> {
        let mut bases: Vec<_> = self.bases.iter().filter(|b| b.hook == hook).collect();
        bases.sort_by_key(|b| b.priority);
        let mut now = vec![(packet, End::Return)];
        for base in bases {
            let go = |(p, end)| match end {
                // To accept ends a base chain, not the packet's way.
                End::Return => {
                    let ends = self.chain(host, base.name, p).into_iter();
                    ends.map(|(p, end)| (p, if end == End::Accept { End::Return } else { end })).collect()
                }
                _ => vec![(p, end)],
            };
            now = now.into_iter().flat_map(go).collect();
        }
        now
    }

    fn chain(&self, host: &Host, name: &str, packet: Packet) -> Vec<(Packet, End)> {
        let (mut live, mut ends) = (vec![packet], Vec::new());
        let rules = self.chains.get(name).unwrap_or_else(|| panic!("no chain {name}"));
        for rule in rules {
            for packet in std::mem::take(&mut live) {
                if rule.when.iter().all(|m| self.matches(host, m, &packet)) {
                    self.act(host, rule, packet, &mut live, &mut ends);
                } else {
                    live.push(packet);
                }
            }
        }
        ends.extend(live.into_iter().map(|p| (p, End::Return)));
        ends
    }

    fn act(
        &self,
        host: &Host,
        rule: &Rule,
        packet: Packet,
        live: &mut Vec<Packet>,
        ends: &mut Vec<(Packet, End)>,
    ) {
        let verdict = match &rule.then {
            Action::Jump(chain) => {
                for (packet, end) in self.chain(host, chain, packet) {
                    if end == End::Return { live.push(packet) } else { ends.push((packet, end)) }
                }
                return;
            }
            Action::Mark => return live.push(Packet { marked: true, ..packet }),
            Action::Remember(set) => {
                let way = Way { affinity: self.affinity.get(set).copied(), ..packet.way };
                return live.push(Packet { way, ..packet });
            }
            Action::Dnat(all) => {
                let to = |b: &SocketAddr| (b.ip(), packet.to.1, b.port());
                let turned = |b| Packet { to: to(b), translated: true, ..packet.clone() };
                return ends.extend(all.iter().map(|b| (turned(b), End::Accept)));
            }
            Action::Masquerade | Action::MasqueradeUnmarked => {
                let way = Way { masqueraded: true, ..packet.way };
                return ends.push((Packet { way, marked: false, ..packet }, End::Accept));
            }
            Action::Any(chains) => {
                return ends.extend(chains.iter().flat_map(|c| self.chain(host, c, packet.clone())));
            }
            Action::Drop => Some(Verdict::Drop),
            Action::Goto(chain) => Some(Verdict::Goto(chain.clone())),
            Action::Reject => return ends.push((packet, End::Reject)),
            Action::ByDest(map) => self.dests[map].get(&packet.to).cloned(),
            Action::ByPort(map) => self.ports[map].get(&(packet.to.1, packet.to.2)).cloned(),
        };
        match verdict {
            // What returns from there returns from here.
            Some(Verdict::Goto(chain)) => ends.extend(self.chain(host, &chain, packet)),
            Some(Verdict::Drop) => ends.push((packet, End::Drop)),
            None => live.push(packet),
        }
    }

    fn matches(&self, host: &Host, what: &Match, packet: &Packet) -> bool {
        let to = packet.to.0;
        match what {
            Match::New => true,
            Match::Translated => packet.translated,
            Match::To(set) => self.sets[set].contains(&to),
            Match::FromLocal => host.addresses.contains(&packet.saddr),
            Match::ToNets(nets) => nets.iter().any(|n| n.contains(&to)),
            Match::From { not, nets } => nets.iter().any(|n| n.contains(&packet.saddr)) != *not,
            Match::By { not, .. } => packet.by_pod != *not,
            Match::Marked => packet.marked,
            Match::Hairpin => packet.saddr == to && self.hairpin.contains(&packet.to),
            // Nobody has been there before.
            Match::Known(_) => false,
            Match::Is(proto) => packet.to.1 == *proto,
        }
    }
}

fn summary(ends: &BTreeSet<(Packet, End)>) -> Fate {
    let all = |is: fn(&(Packet, End)) -> bool| ends.iter().all(is);
    match ends {
        _ if all(|(_, end)| *end == End::Drop) => Fate::Drop,
        _ if all(|(_, end)| *end == End::Reject) => Fate::Reject,
        _ if all(|(p, end)| *end == End::Return && !p.translated) => Fate::Untouched,
        _ if all(|(p, end)| *end == End::Return && p.translated) => {
            let to = |p: &Packet| (SocketAddr::new(p.to.0, p.to.2), p.way);
            Fate::Backends(ends.iter().map(|(p, _)| to(p)).collect())
        }
        _ => Fate::Mixed,
    }
}
