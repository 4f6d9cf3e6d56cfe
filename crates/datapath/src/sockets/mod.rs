//! Ending sockets whose backend is gone, in every network namespace of the node.
//!
//! A connected UDP socket was translated once, at connect: when its backend goes, it would send into the void for as long as
//! it lives. The kernel ends it on our word (sock_diag's `SOCK_DESTROY`), and its owner sees ECONNABORTED where it would
//! have waited.
//!
//! A pass first asks which sockets follow a backend that went, by what our programs keep in them: mostly none. Only for those
//! it goes through the namespaces, since sock_diag sees one at a time. It runs on a thread of its own: entering a namespace
//! changes the thread.

mod diag;
mod namespaces;
mod pending;
mod targets;
mod translated;

use crate::Error;
use pending::Pending;
use shunt_model::Departed;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use targets::Targets;
use translated::Walk;

pub use namespaces::may_enter;

/// Ends sockets. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sockets(Arc<Walk>);

/// What a pass did.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Repair {
    /// Translated sockets that were seen.
    pub seen: usize,
    /// Sockets that were ended.
    pub ended: usize,
    /// Sockets that should have been and still are: out of reach.
    pub left: usize,
    /// Network namespaces that were looked through.
    pub namespaces: usize,
    /// Namespaces, or processes whose namespace is unknown, that we may not look at.
    pub closed: usize,
    /// The first thing that went wrong, if any.
    pub error: Option<String>,
    /// How long it took.
    pub took: Duration,
}

impl Sockets {
    /// On the map that keeps the translation of connected sockets.
    pub(crate) fn new(map: OwnedFd) -> Self {
        Self(Arc::new(Walk::new(map)))
    }

    /// Ends the connected sockets that follow these backends, in the calling thread's network namespace and all others,
    /// and hands the result to `done` on another thread. Call it when no program picks them any more.
    ///
    /// # Errors
    /// When there is no room for a thread; `done` is not called then.
    pub fn repair(
        &self,
        departed: Vec<Departed>,
        done: impl FnOnce(Repair) + Send + 'static,
    ) -> io::Result<()> {
        let this = self.clone();
        let pass = move || done(this.pass(&departed));
        thread::Builder::new().name("shunt-sockets".into()).spawn(pass).map(drop)
    }

    /// One pass; leaves the thread in whatever namespace came last.
    fn pass(&self, departed: &[Departed]) -> Repair {
        let begun = Instant::now();
        let mut repair = Repair::default();
        if let Err(error) = self.end(departed, &mut repair) {
            repair.failed(error);
        }
        repair.took = begun.elapsed();
        repair
    }

    fn end(&self, departed: &[Departed], repair: &mut Repair) -> Result<(), Error> {
        let targets = Targets::new(departed);
        let translated = self.0.read()?;
        repair.seen = translated.len();
        let mut pending = Pending::new(&targets, &translated);
        if pending.cookies.is_empty() {
            return Ok(());
        }
        pending.everywhere(repair);
        if !pending.cookies.is_empty() {
            // Some may just have been closed, or connected to something else.
            let still = Pending::new(&targets, &self.0.read()?);
            repair.left = still.cookies.intersection(&pending.cookies).count();
        }
        if repair.left == 0 {
            // Processes and namespaces end while we look at them; what they had is gone with them.
            repair.error = None;
        }
        Ok(())
    }
}

impl Repair {
    fn failed(&mut self, error: impl ToString) {
        self.error.get_or_insert_with(|| error.to_string());
    }
}
