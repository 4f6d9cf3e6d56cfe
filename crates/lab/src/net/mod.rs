//! The network of a lab: namespaces, addresses and wires.

pub mod netns;
pub mod plan;
pub mod pods;
pub mod tun;
pub mod underlay;
