//! The snapshot: everything the API server has told us, in the compact form that the model keeps.
//!
//! Conversion is where bad input ends: what comes out of here is well formed, and what was not is a [`Problem`].
//!
//! [`Problem`]: crate::Problem

mod address;
mod health_port;
mod node;
mod service;
mod slice;

pub use address::refused;
pub use node::NodeState;
pub use service::{PortSpec, Spec, Vip};
pub use slice::{Endpoint, Slice, SlicePort, service_name};

use shunt_common::Proto;
use std::collections::HashSet;
use std::sync::Arc;

/// `namespace/name` of a service. One allocation however often it is kept.
pub type ServiceName = Arc<str>;

/// Words that stand in many objects (port names, node names), each kept once.
#[derive(Default, Debug)]
pub struct Words {
    known: HashSet<Arc<str>>,
    /// How many words make the next cleaning worth its while.
    clean_at: usize,
}

impl Words {
    /// The one copy of `word`.
    pub fn get(&mut self, word: &str) -> Arc<str> {
        if let Some(known) = self.known.get(word) {
            return known.clone();
        }
        if self.known.len() >= self.clean_at {
            // Nodes and services come and go for months; words that only we still hold are dropped.
            self.known.retain(|w| Arc::strong_count(w) > 1);
            self.clean_at = (self.known.len() * 2).max(1024);
        }
        let word: Arc<str> = word.into();
        self.known.insert(word.clone());
        word
    }
}

/// The protocol of a port field; absent means TCP.
fn protocol(field: Option<&str>) -> Result<Proto, String> {
    match field {
        None | Some("" | "TCP") => Ok(Proto::Tcp),
        Some("UDP") => Ok(Proto::Udp),
        Some("SCTP") => Ok(Proto::Sctp),
        Some(other) => Err(format!("protocol {other:?}")),
    }
}

/// A port number that a packet can carry.
fn port_number(field: i64) -> Option<u16> {
    u16::try_from(field).ok().filter(|p| *p != 0)
}
