//! The ranges that ClusterIPs come from: an address in them that no service has leads nowhere.

use super::parse_net;
use crate::Problem;
use crate::objects::{self, Kind};
use crate::store::Family;
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};

/// All ServiceCIDRs, by name. There are one or two in a cluster.
#[derive(Default, Debug)]
pub struct ServiceCidrs {
    known: BTreeMap<String, Known>,
    /// The list was complete once: until then nobody knows which ranges there are.
    listed: bool,
    /// What follows from all of them.
    nets: BTreeSet<IpNet>,
    problems: Vec<Problem>,
}

#[derive(Debug)]
struct Known {
    nets: Vec<IpNet>,
    problems: Vec<Problem>,
    round: u32,
}

impl ServiceCidrs {
    /// One was added or changed.
    pub fn apply(&mut self, object: &objects::ServiceCidr, round: u32) {
        let name = &object.metadata.name;
        let (mut nets, mut problems) = (Vec::new(), Vec::new());
        for text in object.spec.cidrs.iter().flatten() {
            match parse_net(text) {
                Some(net) if net.prefix_len() > 0 => nets.push(net.trunc()),
                _ => {
                    let what = format!("spec.cidrs: {text:?} is no address range");
                    problems.push(Problem::new(Kind::ServiceCidr, name, what, "correct it"));
                }
            }
        }
        self.known.insert(name.clone(), Known { nets, problems, round });
        self.sum_up();
    }

    /// One is in the list and cannot be read.
    pub fn seen(&mut self, name: &str, round: u32) {
        if let Some(known) = self.known.get_mut(name) {
            known.round = round;
        }
    }

    /// One was removed.
    pub fn delete(&mut self, name: &str) {
        self.known.remove(name);
        self.sum_up();
    }

    /// A list is complete: those that were not in it are gone.
    pub fn end_list(&mut self, round: u32) {
        self.known.retain(|_, known| known.round == round);
        self.listed = true;
        self.sum_up();
    }

    /// The ranges, `None` while nobody knows.
    #[must_use]
    pub fn wanted(&self) -> Option<&BTreeSet<IpNet>> {
        self.listed.then_some(&self.nets)
    }

    /// What is wrong with them.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Programs know [`shunt_common::SERVICE_CIDRS`] of each family: what goes beyond is left out and said.
    fn sum_up(&mut self) {
        self.nets.clear();
        self.problems = self.known.values().flat_map(|k| k.problems.clone()).collect();
        for (name, known) in &self.known {
            for net in &known.nets {
                let family = Family::of(net.addr());
                let others = self.nets.iter().filter(|n| Family::of(n.addr()) == family).count();
                if others < shunt_common::SERVICE_CIDRS || self.nets.contains(net) {
                    self.nets.insert(*net);
                    continue;
                }
                let what = format!("spec.cidrs: {net} is one more than the programs know");
                let todo = "unused addresses in it are not dropped; merge ranges";
                self.problems.push(Problem::new(Kind::ServiceCidr, name, what, todo));
            }
        }
    }
}
