//! What the agent says of itself.

use super::opt_out::OptOut;
use super::{Agent, direct};
use crate::server::api::{Accelerated, Attached, Counts, Failure, Source, Status, Sync};
use shunt_datapath::Xdp;
use shunt_model::{NodeCondition, Problem};
use std::collections::BTreeMap;

/// Keys whose values `status` shows.
const SHOWN: [&str; 11] = [
    "kubeProxyReplacement",
    "socketLB.enabled",
    "socketLB.hostNamespaceOnly",
    "loadBalancer.mode",
    "loadBalancer.dsrDispatch",
    "loadBalancer.algorithm",
    "loadBalancer.acceleration",
    "nodePort.enabled",
    "nodePort.range",
    "externalIPs.enabled",
    "bpf.lbExternalClusterIP",
];

impl Agent {
    pub(super) fn status(&self) -> Status {
        let attachments = self.datapath.attachments();
        let mut errors = self.errors();
        if let Err(error) = &attachments {
            errors.push(Failure { module: "datapath".into(), message: error.to_string() });
        }
        let mut problems = self.problems();
        problems.extend(self.health_ports.problems());
        problems.extend(self.xdp_problems());
        let opt_out = self.opt_out.as_ref();
        let degraded = self.sockets.degraded().into_iter();
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            node: self.config.node_name.clone(),
            uptime_seconds: self.started.elapsed().as_secs(),
            source: Source {
                kind: self.source.0.into(),
                at: self.source.1.clone(),
                down: self.down.iter().map(|(kind, e)| (kind.name().into(), e.clone())).collect(),
            },
            sync: self.sync_state(),
            counts: self.counts(),
            devices: self.classified.devices.values().cloned().collect(),
            acceleration: self.acceleration(),
            pod_interfaces: self.classified.pods.values().cloned().collect(),
            node_port_addresses: self.model.node_port_addresses().to_vec(),
            attachments: attachments
                .unwrap_or_default()
                .into_iter()
                .map(|a| Attached {
                    hook: a.hook.into(),
                    interface: a.interface,
                    mode: a.mode.name().into(),
                    program_id: a.program_id,
                })
                .collect(),
            bpf_root: self.config.path("bpfRoot").unwrap_or_default(),
            settings: self.settings(),
            problems,
            opt_out: opt_out.map(OptOut::status),
            degraded: degraded
                .chain(opt_out.into_iter().flat_map(OptOut::degraded))
                .chain(self.direct().degraded)
                .collect(),
            errors,
        }
    }

    /// What is wrong with objects now; health checks know of theirs.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = self.model.problems();
        problems.extend(self.source_problems.values().flatten().cloned());
        problems.extend(self.opt_out.iter().flat_map(OptOut::problems));
        problems
    }

    /// How direct server return fares, when anybody asks for it.
    fn direct(&self) -> direct::Findings {
        direct::look(&self.config, &self.classified, self.model.asks_for_dsr())
    }

    /// What each device's packets meet before tc, with why.
    fn acceleration(&self) -> Vec<Accelerated> {
        let devices = self.classified.devices.iter();
        let answer = devices.filter_map(|(index, device)| {
            let (runs, why) = match self.datapath.xdp(*index) {
                Xdp::Off => return None,
                Xdp::Native => ("native", None),
                Xdp::Generic => ("generic", None),
                Xdp::Tc(why) | Xdp::NoDriver(why) => ("tc", Some(why)),
            };
            Some(Accelerated { device: device.name.clone(), runs: runs.into(), why })
        });
        answer.collect()
    }

    fn sync_state(&self) -> Sync {
        Sync {
            synced: self.progress.synced,
            waiting: self.model.waiting().iter().map(|k| k.name().into()).collect(),
            settled: self.progress.synced && self.progress.failed.is_empty() && !self.model.has_work(),
            last: self.progress.last,
            failed: self.progress.failures().collect(),
        }
    }

    fn counts(&self) -> Counts {
        let usage = self.model.usage();
        Counts {
            services: self.model.service_count(),
            frontends: usage.frontends4 + usage.frontends6,
            backends: usage.backends4 + usage.backends6,
        }
    }

    fn settings(&self) -> BTreeMap<String, String> {
        let shown = self.config.resolved.shown();
        let shown = shown.into_iter().filter(|s| SHOWN.contains(&s.key.as_str()));
        shown
            .map(|s| {
                let text = s.value.as_str().map_or_else(|| s.value.to_string(), String::from);
                (s.key, text)
            })
            .collect()
    }

    /// What does not work.
    fn errors(&self) -> Vec<Failure> {
        let mut errors = Vec::new();
        let mut add = |module: &str, message: String| errors.push(Failure { module: module.into(), message });
        for (kind, error) in &self.down {
            add("source", format!("{}: {error}", kind.name()));
        }
        let manifests = self.config.path("manifests").is_some();
        if let Some(error) = no_node(&self.config.node_name, self.model.node_condition(), manifests) {
            add("source", error);
        }
        self.progress.failures().for_each(|f| add("sync", f));
        if let Some(error) = &self.interfaces.unread {
            add("devices", format!("cannot read interfaces, those known stay as they are: {error}"));
        }
        for (name, error) in self.interfaces.failed.values() {
            add("devices", format!("{name}: {error}"));
        }
        self.classified.unsupported.iter().for_each(|name| {
            add("devices", format!("packets of {name} begin with neither an Ethernet header nor an IP header, or a VLAN's tag is left in them (reorder_hdr off): what comes in by it is not served, nor are backends behind it"));
        });
        for name in &self.classified.missing {
            add("devices", super::interfaces::missing(name));
        }
        for (key, error) in &self.listeners {
            add("server", format!("{key}: {error}"));
        }
        self.progress.unmended.iter().for_each(|error| add("datapath", error.clone()));
        if let Some(error) = &self.flows.error {
            add("datapath", error.clone());
        }
        let opt_out = self.opt_out.as_ref().and_then(|o| o.error.as_ref());
        for error in self.sockets.error.iter().chain(opt_out) {
            add("sockets", error.clone());
        }
        errors
    }

    pub(super) fn update_gauges(&mut self) {
        let counts = self.counts();
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.metrics.services.set(number(counts.services));
        self.metrics.frontends.set(number(counts.frontends));
        self.metrics.backends.set(number(counts.backends));
        let problems = self.problems().len() + self.health_ports.problems().len();
        self.metrics.problems.set(number(problems));
        self.programming.gauges(self.model.changes(), &self.families(), &self.metrics.kube_proxy);
        let no_local = self.model.no_local_endpoints();
        self.metrics.kube_proxy.set_no_local_endpoints(no_local, &self.families());
        self.metrics.watches_down.set(number(self.down.len()));
        let (placed, missing) = self.opt_out.as_ref().map_or((0, 0), OptOut::counts);
        self.metrics.opt_out_pods.set(number(placed));
        self.metrics.opt_out_missing.set(number(missing));
    }
}

/// With an API server every node has its object; manifests need not have one.
fn no_node(name: &str, condition: NodeCondition, manifests: bool) -> Option<String> {
    (condition == NodeCondition::Unknown && !manifests).then(|| {
        format!(
            "no Node named {name}: no endpoint counts as local and health checks fail; set --node-name to the              name that `kubectl get nodes` shows"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_name_that_the_api_does_not_know_is_an_error_that_names_it_and_the_flag() {
        let error = no_node("n7", NodeCondition::Unknown, false).unwrap();
        assert!(error.contains("no Node named n7") && error.contains("--node-name"), "{error}");
        for (condition, manifests) in [
            (NodeCondition::Unknown, true),
            (NodeCondition::Starting, false),
            (NodeCondition::Eligible, false),
            (NodeCondition::Deleting, false),
        ] {
            assert_eq!(no_node("n7", condition, manifests), None, "{condition:?}");
        }
    }
}
