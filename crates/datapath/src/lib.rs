//! The only user-space crate with aya and unsafe: it loads the programs, pins and attaches them, applies the model's
//! writes to the maps, reads them back and ends flows that are over.
//!
//! - [`Datapath::start`] brings the node's datapath up, or adopts the one that an earlier agent left running.
//! - [`KernelStore`] is the model's [`shunt_model::store::MapStore`] on the real maps.
//! - [`Expirer`] ends flows in bounded steps.
//! - [`Sockets`] ends sockets whose backend is gone.
//! - [`dump::Reader`] reads the pinned maps for the command line, also while no agent runs.
//! - [`cleanup::cleanup`] removes every trace.
//! - [`examine`] looks at what a node could do, and leaves nothing behind.
//! - [`testrun::TestRun`] runs single programs on single packets, for tests, benchmarks and `explain`.
//!
//! Everything works on the calling thread's network namespace: the agent runs in the node's.

mod attach;
pub mod cleanup;
mod clock;
mod cpus;
mod datapath;
pub mod dump;
mod error;
pub mod examine;
pub mod expire;
mod load;
mod mapped;
mod maps;
pub mod memory;
mod object;
mod pins;
mod preflight;
mod settings;
pub mod sockets;
mod store;
mod sys;
mod table;
pub mod testrun;

pub use attach::{Acceleration, Attachment, Interface, Mode, Role, Xdp};
pub use clock::Clock;
pub use datapath::Datapath;
pub use error::Error;
pub use expire::{Expirer, Lifetimes, Step};
pub use maps::MapSpec;
pub use settings::{Settings, Sizes};
pub use sockets::{Repair, Sockets};
pub use store::KernelStore;
pub use table::Table;
