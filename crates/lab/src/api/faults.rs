//! Faults as verbs on the handle: what is in force, and who is cut off.

use super::kinds::Kind;
use std::time::Duration;
use tokio::sync::watch::Receiver;

/// Faults in force. Connections and watches compare the counters with what they saw when they began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FaultState {
    /// Nothing listens.
    pub stopped: bool,
    /// Every request waits this long before its answer, and so does every batch of watch events.
    pub delay: Duration,
    /// Raised to cut every connection.
    pub cut: u64,
    /// Raised to end every watch without an error, as a server at its time limit does.
    pub drop_watches: u64,
    /// Kinds that nobody may list or watch.
    pub forbidden: Vec<Kind>,
    /// Set when the API is shut down for good.
    pub closed: bool,
}

/// Waits until `condition` holds, or the API is gone.
pub async fn until(faults: &mut Receiver<FaultState>, condition: impl FnMut(&FaultState) -> bool) {
    // An error means that nobody can change the state any more: the API is gone.
    drop(faults.wait_for(condition).await);
}
