//! Pods that leave the socket path: what their labels say, where their cgroups are, and the map that the programs read.

mod retry;
mod rows;

use super::{Agent, never};
use crate::cgroups::PodCgroups;
use crate::config::Config;
use crate::server::api;
use crate::sources::{Event, Object};
use retry::Retry;
use rows::Rows;
use shunt_datapath::Datapath;
use shunt_model::Problem;
use shunt_model::objects::Kind;
use shunt_model::opt_out::OptOuts;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// The kubelet makes a pod's cgroup before it pulls any image: one that is not there by then is looked for in the wrong place.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct OptOut {
    asked: OptOuts,
    cgroups: PodCgroups,
    rows: Rows,
    /// Pods that have opted out and whose sockets are left alone.
    placed: Vec<String>,
    /// Those whose cgroup is not there, and since when.
    missing: BTreeMap<String, Instant>,
    retry: Retry,
    /// What the API server says of kinds that it does not let us read.
    forbidden: BTreeMap<Kind, String>,
    /// Whether pods are watched for this alone.
    pods_for_us: bool,
    /// Something has come that may change who has opted out.
    stale: bool,
    /// Why not everything could be written.
    pub(super) error: Option<String>,
}

impl OptOut {
    /// `None` where nobody can opt out. `hint` gets a word when pods' cgroups come or go.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub(super) fn new(
        config: &Config,
        datapath: &Datapath,
        hint: mpsc::Sender<()>,
    ) -> Result<Option<Self>, String> {
        let table = datapath.opt_out().map_err(|e| e.to_string())?;
        let rows = Rows::new(table).map_err(|e| format!("reading map opt_out: {e}"))?;
        let label = config.resolved.text("socketLB.optOutLabel");
        if label.is_empty() {
            // An earlier agent's rows: whoever names a label again does not mean those pods.
            rows.clear();
            return Ok(None);
        }
        let root = config.datapath_settings()?.cgroup_root;
        Ok(Some(Self {
            asked: OptOuts::new(label, &config.node_name),
            cgroups: PodCgroups::new(root, hint),
            rows,
            placed: Vec::new(),
            missing: BTreeMap::new(),
            retry: Retry::default(),
            forbidden: BTreeMap::new(),
            pods_for_us: !config.resolved.bool("hostPort.enabled"),
            stale: false,
            error: None,
        }))
    }

    /// Takes what an event says of pods and namespaces. `true` when nobody else need hear of it.
    pub(super) fn note(&mut self, event: &Event) -> bool {
        let kind = match event {
            Event::Apply(object) => {
                match object {
                    Object::Pod(pod) => self.asked.apply_pod(pod),
                    Object::Namespace(namespace) => self.asked.apply_namespace(namespace),
                    Object::Service(_)
                    | Object::EndpointSlice(_)
                    | Object::Node(_)
                    | Object::ServiceCidr(_) => {}
                }
                object.kind()
            }
            Event::Seen(kind, namespace, name) => {
                self.asked.seen(*kind, namespace, name);
                *kind
            }
            Event::Delete(kind, namespace, name) => {
                self.asked.delete(*kind, namespace, name);
                *kind
            }
            Event::ListBegins(kind) => {
                self.asked.begin_replace(*kind);
                return false;
            }
            Event::ListEnds(kind) => {
                self.forbidden.remove(kind);
                self.asked.end_replace(*kind);
                *kind
            }
            Event::Forbidden(kind, error) => return self.refused(*kind, error),
            Event::Connection(kind, Ok(())) => {
                self.forbidden.remove(kind);
                return false;
            }
            Event::Problems { .. } | Event::Connection(_, Err(_)) => return false,
        };
        self.stale |= matches!(kind, Kind::Pod | Kind::Namespace);
        false
    }

    fn refused(&mut self, kind: Kind, error: &str) -> bool {
        let ours = kind == Kind::Namespace || (kind == Kind::Pod && self.pods_for_us);
        if ours && self.forbidden.insert(kind, error.into()).as_deref() != Some(error) {
            tracing::warn!("{}", forbidden(kind, error));
        }
        ours
    }

    /// When the next look for missing cgroups is due.
    pub(super) fn next(&self) -> Instant {
        self.retry.at().unwrap_or_else(never)
    }

    /// Brings the map to what is asked for. `thorough` looks for cgroups in new places too.
    fn place(&mut self, thorough: bool) {
        self.stale = false;
        let asked: Vec<(String, String)> =
            self.asked.pods().map(|(pod, uid)| (pod.to_owned(), uid.to_owned())).collect();
        // Nobody has asked: no directory need be read.
        let found = match asked.is_empty() && self.rows.is_empty() {
            true => BTreeMap::new(),
            false => self.cgroups.find(thorough),
        };
        let now = Instant::now();
        let (here, lost): (Vec<_>, Vec<_>) = asked.into_iter().partition(|(_, uid)| found.contains_key(uid));
        let ids = here.iter().flat_map(|(_, uid)| found[uid].iter().copied()).collect();
        let known = found.values().flatten().copied().collect();
        self.placed = here.into_iter().map(|(pod, _)| pod).collect();
        let since = |pod: &str| self.missing.get(pod).copied().unwrap_or(now);
        self.missing = lost.into_iter().map(|(pod, _)| (pod.clone(), since(&pod))).collect();
        let error = self.rows.bring_to(ids, &known, self.asked.is_listed());
        if let Some(error) = error.as_ref().filter(|e| self.error.as_ref() != Some(e)) {
            tracing::error!(%error, "not every pod that has opted out is left to the packet path; will be tried again");
        }
        self.error = error;
        self.retry.after(now, self.missing.is_empty() && self.error.is_none());
    }

    /// What does not work that could, in sentences.
    pub(super) fn degraded(&self) -> Vec<String> {
        let mut said: Vec<String> =
            self.forbidden.iter().map(|(kind, error)| forbidden(*kind, error)).collect();
        said.extend(late(&self.missing, Instant::now()).map(|pods| {
            let root = self.cgroups.root().display();
            format!(
                "pods have opted out of the socket path and are on it: no kubepods below {root} has a cgroup of {pods}; set \
                 cgroupRoot to where the node's cgroup v2 is mounted"
            )
        }));
        said
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        self.asked.problems()
    }

    /// How many pods have left the socket path, and how many cannot.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.placed.len(), self.missing.len())
    }

    pub(super) fn status(&self) -> api::OptOut {
        api::OptOut {
            label: self.asked.label().into(),
            pods: self.placed.clone(),
            missing: self.missing.keys().cloned().collect(),
        }
    }
}

fn forbidden(kind: Kind, error: &str) -> String {
    let how = if kind == Kind::Namespace { " by a label on their namespace" } else { "" };
    format!(
        "pods cannot opt out of the socket path{how}: {error}; let this agent list and watch pods and namespaces (a \
         ClusterRole), or empty socketLB.optOutLabel"
    )
}

/// Those that have been missing for too long.
fn late(missing: &BTreeMap<String, Instant>, now: Instant) -> Option<String> {
    let late = missing.iter().filter(|(_, since)| now.saturating_duration_since(**since) > PATIENCE);
    let names: Vec<&str> = late.map(|(pod, _)| pod.as_str()).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

impl Agent {
    /// After events, if they may change who has opted out.
    pub(super) fn opt_outs_changed(&mut self) {
        if self.opt_out.as_ref().is_some_and(|o| o.stale) {
            self.place_opt_outs(false);
        }
    }

    /// Brings the map to what pods and namespaces ask for and cgroups allow.
    pub(super) fn place_opt_outs(&mut self, thorough: bool) {
        let Some(opt_out) = &mut self.opt_out else { return };
        opt_out.place(thorough);
        let problems = opt_out.problems();
        self.tell(&problems);
    }

    /// When the next look for missing cgroups is due.
    pub(super) fn next_opt_out(&self) -> Instant {
        self.opt_out.as_ref().map_or_else(never, OptOut::next)
    }

    /// Reads the map again, which others may have changed.
    pub(super) fn verify_opt_outs(&mut self) {
        if let Some(opt_out) = &mut self.opt_out {
            opt_out.rows.read_again();
        }
        self.place_opt_outs(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_that_does_not_come_is_told_and_one_that_is_about_to_is_not() {
        let start = Instant::now();
        let missing = BTreeMap::from([("a/old".into(), start), ("a/new".into(), start + PATIENCE)]);
        assert_eq!(late(&missing, start + PATIENCE), None);
        assert_eq!(late(&missing, start + PATIENCE * 2).as_deref(), Some("a/old"));
    }

    #[test]
    fn a_refusal_names_the_key_and_what_to_grant() {
        let text = forbidden(Kind::Namespace, "namespaces is forbidden: User x");
        for part in ["label on their namespace", "User x", "ClusterRole", "socketLB.optOutLabel"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
