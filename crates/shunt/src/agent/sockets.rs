//! Ending sockets and flows that follow backends which are gone, a moment after the maps say so.

use super::{Agent, never};
use shunt_common::Proto;
use shunt_datapath::{Repair, sockets};
use shunt_model::Departed;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// A backend that a service lost is often gone altogether in the next batch, and others follow it: one pass for all.
const SOON: Duration = Duration::from_millis(20);
/// A connect that read the old pool just before it was switched becomes a socket a moment after. It is looked for again.
const AGAIN: Duration = Duration::from_millis(250);
/// Between two passes, however fast backends come and go.
const PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Sockets {
    ender: sockets::Sockets,
    /// `socketLB.terminatePodConnections`, and for other protocols than UDP `socketLB.terminateAllProtocols`.
    enabled: (bool, bool),
    may_enter: bool,
    waiting: Waiting,
    sender: mpsc::Sender<Repair>,
    running: bool,
    not_before: Instant,
    /// Sockets that the last pass in which there were any could not reach.
    unreached: usize,
    /// Why the last pass failed.
    pub(super) error: Option<String>,
}

/// What went, when it is to be looked for, and whether that is the second time.
#[derive(Default)]
struct Waiting(BTreeMap<Departed, (Instant, bool)>);

impl Waiting {
    fn add(&mut self, departed: &[Departed], now: Instant) {
        for one in departed {
            // What has been looked for once has come and gone again.
            let entry = self.0.entry(*one).or_insert((now + SOON, false));
            if entry.1 {
                *entry = (now + SOON, false);
            }
        }
    }

    fn next(&self) -> Option<Instant> {
        self.0.values().map(|(due, _)| *due).min()
    }

    /// Takes what is due: what is looked for the first time, and the second.
    fn take(&mut self, now: Instant) -> (Vec<Departed>, Vec<Departed>) {
        let due = |again| self.0.iter().filter(move |(_, at)| at.0 <= now && at.1 == again).map(|(d, _)| *d);
        let (first, second): (Vec<_>, Vec<_>) = (due(false).collect(), due(true).collect());
        second.iter().for_each(|one| _ = self.0.remove(one));
        self.0.extend(first.iter().map(|one| (*one, (now + AGAIN, true))));
        (first, second)
    }
}

/// Those of a service whose backend lives on, for another service: no program ends their flows by itself.
fn kept_by_others(departed: &[Departed]) -> Vec<Departed> {
    let id = |d: &Departed| (d.backend.family(), d.id);
    let gone: BTreeSet<_> = departed.iter().filter(|d| d.service.is_none()).map(id).collect();
    departed.iter().filter(|d| !gone.contains(&id(d))).copied().collect()
}

impl Sockets {
    pub(super) fn new(ender: sockets::Sockets, enabled: (bool, bool)) -> (Self, mpsc::Receiver<Repair>) {
        let (sender, receiver) = mpsc::channel(1);
        let sockets = Self {
            ender,
            enabled,
            may_enter: sockets::may_enter(),
            waiting: Waiting::default(),
            sender,
            running: false,
            not_before: Instant::now(),
            unreached: 0,
            error: None,
        };
        (sockets, receiver)
    }

    /// Backends went, and the maps say so.
    pub(super) fn note(&mut self, departed: &[Departed]) {
        self.waiting.add(departed, Instant::now());
    }

    /// When the next pass is due.
    pub(super) fn next(&self) -> Instant {
        match self.waiting.next() {
            Some(due) if !self.running => due.max(self.not_before),
            _ => never(),
        }
    }

    /// What does not work that could, in a sentence.
    pub(super) fn degraded(&self) -> Option<String> {
        if !self.enabled.0 {
            return None;
        }
        if !self.may_enter {
            return Some(
                "connected UDP sockets in pods are not ended when their backend goes, only the node's own: grant \
                 CAP_SYS_ADMIN to let the agent enter pods' networks, or set socketLB.terminatePodConnections=false"
                    .into(),
            );
        }
        (self.unreached > 0).then(|| {
            format!(
                "{} sockets that follow backends which are gone were out of reach: mount the node's /run/netns into the agent's \
                 container, or run it with hostPID and CAP_SYS_PTRACE",
                self.unreached
            )
        })
    }

    fn meant(&self, departed: &Departed) -> bool {
        let (udp, all) = self.enabled;
        udp && (all || departed.backend.proto() == Proto::Udp as u8)
    }
}

impl Agent {
    /// Begins a pass for what is due.
    pub(super) fn end_departed(&mut self) {
        let sockets = &mut self.sockets;
        let (first, second) = sockets.waiting.take(Instant::now());
        self.flows.end_departed(&kept_by_others(&first));
        let targets: Vec<_> = first.into_iter().chain(second).filter(|d| sockets.meant(d)).collect();
        if targets.is_empty() {
            return;
        }
        let sender = sockets.sender.clone();
        // The agent may have stopped meanwhile.
        match sockets.ender.repair(targets, move |repair| _ = sender.blocking_send(repair)) {
            Ok(()) => sockets.running = true,
            Err(error) => sockets.error = Some(format!("no thread to end sockets: {error}")),
        }
    }

    /// A pass is over.
    pub(super) fn sockets_ended(&mut self, repair: Repair) {
        let Repair { seen, ended, left, namespaces, closed, error, took } = repair;
        tracing::debug!(
            seen,
            ended,
            left,
            namespaces,
            closed,
            ?took,
            "looked for sockets of departed backends"
        );
        let sockets = &mut self.sockets;
        sockets.running = false;
        sockets.not_before = Instant::now() + PAUSE;
        self.metrics.sockets_ended.inc_by(ended as u64);
        if left > 0 {
            sockets.unreached = left;
            tracing::warn!(
                sockets = left,
                "cannot end sockets of departed backends in networks out of reach"
            );
        }
        if let Some(error) = &error
            && sockets.error.as_ref() != Some(error)
        {
            tracing::error!(%error, "cannot end all sockets of departed backends");
        }
        sockets.error = error;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shunt_common::BackendState;
    use shunt_model::store::BackendRow;

    fn departed(service: Option<u32>, id: u32) -> Departed {
        let addr = [10, 0, 0, 1].into();
        Departed { service, id, backend: BackendRow::new(addr, 53, Proto::Udp, BackendState::Active, 0) }
    }

    #[test]
    fn each_is_looked_for_twice_and_a_burst_together() {
        let (mut waiting, start) = (Waiting::default(), Instant::now());
        waiting.add(&[departed(Some(1), 1)], start);
        waiting.add(&[departed(Some(1), 1), departed(None, 1)], start + SOON / 2);
        assert_eq!(waiting.next(), Some(start + SOON), "the first does not wait for the last");
        let late = start + SOON * 2;
        let both = vec![departed(None, 1), departed(Some(1), 1)];
        assert_eq!(waiting.take(late), (both.clone(), vec![]));
        assert_eq!(waiting.next(), Some(late + AGAIN));
        assert_eq!(waiting.take(late + AGAIN), (vec![], both));
        assert_eq!(waiting.next(), None);
    }

    #[test]
    fn what_goes_again_meanwhile_begins_anew() {
        let (mut waiting, start) = (Waiting::default(), Instant::now());
        waiting.add(&[departed(None, 1)], start);
        waiting.take(start + SOON);
        waiting.add(&[departed(None, 1)], start + AGAIN);
        assert_eq!(waiting.take(start + AGAIN + SOON).0, [departed(None, 1)]);
    }

    #[test]
    fn flows_are_searched_only_for_backends_that_another_service_keeps() {
        let all = [departed(Some(1), 1), departed(None, 1), departed(Some(1), 2)];
        assert_eq!(kept_by_others(&all), [departed(Some(1), 2)]);
    }
}
