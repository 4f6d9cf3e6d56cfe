//! Packets as data through the kernel's BPF_PROG_TEST_RUN, on the very programs that are attached on a node.
//!
//! Each case runs for both families. A case builds a packet, fills the maps as the agent would, runs a hook, and looks
//! at the verdict and the packet: every header and every checksum.
#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

mod big_tcp;
mod calico;
mod coverage;
mod crossed;
mod dsr;
mod dsr_error;
mod dsr_fail_over;
mod dsr_geneve;
mod dsr_ipip;
mod ecn;
mod flows;
mod fragments;
mod icmp_error;
mod katran;
mod l3;
mod local_socket;
mod maglev;
mod multihomed;
mod no_backend;
mod options;
mod packet;
mod pods;
mod policy;
mod safety;
mod snat;
mod table;
mod vip;
mod vlan;
mod world;

/// Whether what comes in at a device meets XDP before tc, see `packets_xdp/main.rs`.
const AT_DRIVER: bool = false;
