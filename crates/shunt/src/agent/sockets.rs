//! Ending sockets and flows that follow backends which are gone, a moment after the maps say so.

use super::departed::{Waiting, kept_by_others};
use super::{Agent, never};
use shunt_common::Proto;
use shunt_datapath::{Repair, sockets};
use shunt_model::Departed;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

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
    /// Sockets that two passes in a row could not reach, when that last happened.
    unreached: usize,
    /// Sockets that the last pass could not reach.
    left_before: usize,
    /// Why the last pass failed.
    pub(super) error: Option<String>,
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
            left_before: 0,
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
        // A network that is just being taken down is out of reach too, and its sockets are gone by the second pass.
        let lasting = left.min(std::mem::replace(&mut sockets.left_before, left));
        if lasting > 0 {
            sockets.unreached = lasting;
            tracing::warn!(
                sockets = lasting,
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
