//! The datapath on a real kernel. Each test has a network namespace, a mount namespace with its own bpffs, and a
//! cgroup of its own, so that nothing is attached to this machine and nothing is left behind.
//!
//! Needs root: loading programs is the point. Without it each test fails and says so.
#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

mod accelerating;
mod cleaning;
mod ending;
mod expiring;
mod interfaces;
mod lifecycle;
mod marks;
mod reading;
mod sockets;
mod stack;
mod storing;
mod support;
mod tables;
mod vlan;
