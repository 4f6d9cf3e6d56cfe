//! The recent past of one kind: what watches replay. Bounded in events and bytes; what falls out is answered by 410.

use super::object::{Meta, Object};
use std::{collections::VecDeque, sync::Arc};

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Created.
    Added,
    /// Changed.
    Modified,
    /// Gone; the object is its last state with the version of the deletion.
    Deleted,
}

/// One change.
#[derive(Debug, Clone)]
pub struct Event {
    /// Resource version of the change.
    pub version: u64,
    /// What happened.
    pub what: What,
    /// The object afterwards.
    pub object: Object,
    /// Its index entry before, so that a selector sees objects leave its view.
    pub before: Option<Arc<Meta>>,
}

/// How much past is kept for a kind.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Events.
    pub events: usize,
    /// Bytes of JSON.
    pub bytes: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self { events: 50_000, bytes: 64 << 20 }
    }
}

/// The past of one kind, oldest first.
#[derive(Debug, Default)]
pub struct History {
    events: VecDeque<Event>,
    bytes: usize,
    /// Changes up to this version are forgotten.
    floor: u64,
}

impl History {
    /// Adds a change and forgets what no longer fits in `window`.
    pub fn push(&mut self, event: Event, window: Window) {
        self.bytes += event.object.json.len();
        self.events.push_back(event);
        while self.events.len() > window.events || self.bytes > window.bytes {
            let Some(old) = self.events.pop_front() else { break };
            self.bytes -= old.object.json.len();
            self.floor = old.version;
        }
    }

    /// Up to `limit` changes after `version`, or `None` when some of them are forgotten.
    pub fn since(&self, version: u64, limit: usize) -> Option<Vec<Event>> {
        if version < self.floor {
            return None;
        }
        let from = self.events.partition_point(|e| e.version <= version);
        Some(self.events.range(from..).take(limit).cloned().collect())
    }

    /// Forgets every change up to `version`.
    pub fn compact(&mut self, version: u64) {
        self.floor = self.floor.max(version);
        while self.events.front().is_some_and(|e| e.version <= version) {
            if let Some(old) = self.events.pop_front() {
                self.bytes -= old.object.json.len();
            }
        }
    }

    /// Whether a reader at `version` has lost something.
    pub fn lost(&self, version: u64) -> bool {
        version < self.floor
    }
}
