//! What every part of the API shares: the store behind one lock, and who is told about changes.

use super::{
    alloc::Alloc,
    faults::FaultState,
    history::Window,
    kinds::Kind,
    options::Options,
    store::{Change, Store},
};
use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};
use tokio::sync::watch;

/// State shared by servers, controllers and handles.
#[derive(Debug)]
pub struct Shared {
    store: Mutex<Store>,
    changed: [watch::Sender<u64>; Kind::ALL.len()],
    listeners: Mutex<Vec<mpsc::Sender<Change>>>,
    /// Changes handed to controllers, and changes that they have dealt with.
    handed: AtomicU64,
    settled: watch::Sender<u64>,
    /// Faults in force.
    pub faults: watch::Sender<FaultState>,
    /// Lists that clients asked for.
    pub lists: AtomicU64,
    /// How often an idle watch that asked for bookmarks gets one.
    pub bookmark_every: Duration,
}

impl Shared {
    /// An empty API.
    pub fn new(options: &Options) -> Self {
        let alloc = Alloc::new(options.service_cidrs.clone(), options.node_ports.clone());
        let window: Window = options.window;
        Self {
            store: Mutex::new(Store::new(alloc, window)),
            changed: std::array::from_fn(|_| watch::Sender::new(0)),
            listeners: Mutex::default(),
            handed: AtomicU64::new(0),
            settled: watch::Sender::new(0),
            faults: watch::Sender::new(FaultState::default()),
            lists: AtomicU64::new(0),
            bookmark_every: options.bookmark_every,
        }
    }

    /// The store. A panic of another holder leaves it as consistent as any error does, so poison is not passed on.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells watches and controllers about a change. Call it with the store locked: controllers need the order.
    pub fn announce(&self, store: &Store, change: Change) {
        self.changed[change.kind as usize].send_replace(store.version());
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        for listener in listeners.iter() {
            // A controller that has ended no longer counts.
            if listener.send(change.clone()).is_ok() {
                self.handed.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    /// Wakes every watch, as after a fault that none of them would see otherwise.
    pub fn wake(&self, version: u64) {
        for changed in &self.changed {
            changed.send_replace(version);
        }
    }

    /// A receiver that wakes on each change of a kind.
    pub fn subscribe(&self, kind: Kind) -> watch::Receiver<u64> {
        self.changed[kind as usize].subscribe()
    }

    /// A queue of every change from now on, for a controller. It ends after [`Shared::end_controllers`].
    pub fn listen(&self) -> mpsc::Receiver<Change> {
        let (sender, receiver) = mpsc::channel();
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        receiver
    }

    /// Ends the queues of all controllers.
    pub fn end_controllers(&self) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// A controller has dealt with `count` changes.
    pub fn dealt_with(&self, count: u64) {
        self.settled.send_modify(|n| *n += count);
    }

    /// Whether controllers have dealt with everything that was handed to them.
    pub fn is_settled(&self) -> bool {
        *self.settled.borrow() >= self.handed.load(Ordering::SeqCst)
    }
}
