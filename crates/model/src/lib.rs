//! Kubernetes objects -> snapshot -> desired entries -> ordered ops.
//!
//! Pure and synchronous: no clock, no I/O, no unsafe. The agent feeds [`Model`] with objects and lets it reconcile a
//! [`MapStore`]:
//!
//! 1. [`Model::new`], then [`Model::restore`] with a dump of the pinned maps;
//! 2. for each watch [`Model::begin_replace`], the list's objects, [`Model::end_replace`], then `apply_*` and
//!    `delete_*` as events come;
//! 3. [`Model::reconcile`] after each batch of events, again soon while [`Report::removals_due`] is not zero, and
//!    with [`Model::retry_pending`] before it after a backoff when something failed;
//! 4. [`Model::verify`] by a slow timer.
#![forbid(unsafe_code)]

mod claims;
pub mod diff;
pub mod dump;
pub mod fate;
pub mod ledger;
pub mod lower;
pub mod maglev;
mod model;
pub mod objects;
pub mod opt_out;
mod problem;
pub mod snapshot;
pub mod store;

pub use ledger::Usage;
pub use model::{
    AddressIndex, BackendView, Changes, Departed, Failure, FrontendView, HealthCheck, Model, NoLocal,
    NodeCondition, NodePortOptions, Options, Report, ServiceView, Status,
};
pub use problem::Problem;
pub use snapshot::Mode;
pub use store::MapStore;
