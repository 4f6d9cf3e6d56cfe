//! The packet cases again, on a device that runs XDP: what comes in meets `xdp` and then, if it passes, `tc_ingress`, and must
//! fare as with tc alone. And what XDP does by itself.
#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

#[path = "../packets/big_tcp.rs"]
mod big_tcp;
#[path = "../packets/calico.rs"]
mod calico;
#[path = "../packets/coverage.rs"]
mod coverage;
#[path = "../packets/crossed.rs"]
mod crossed;
mod driver;
mod driver_dsr;
#[path = "../packets/dsr.rs"]
mod dsr;
#[path = "../packets/dsr_error.rs"]
mod dsr_error;
#[path = "../packets/dsr_fail_over.rs"]
mod dsr_fail_over;
#[path = "../packets/dsr_geneve.rs"]
mod dsr_geneve;
#[path = "../packets/dsr_ipip.rs"]
mod dsr_ipip;
#[path = "../packets/ecn.rs"]
mod ecn;
#[path = "../packets/flows.rs"]
mod flows;
#[path = "../packets/fragments.rs"]
mod fragments;
#[path = "../packets/icmp_error.rs"]
mod icmp_error;
#[path = "../packets/katran.rs"]
mod katran;
#[path = "../packets/l3.rs"]
mod l3;
#[path = "../packets/local_socket.rs"]
mod local_socket;
#[path = "../packets/maglev.rs"]
mod maglev;
#[path = "../packets/multihomed.rs"]
mod multihomed;
#[path = "../packets/no_backend.rs"]
mod no_backend;
#[path = "../packets/options.rs"]
mod options;
#[path = "../packets/packet.rs"]
mod packet;
#[path = "../packets/pods.rs"]
mod pods;
#[path = "../packets/policy.rs"]
mod policy;
#[path = "../packets/safety.rs"]
mod safety;
#[path = "../packets/snat.rs"]
mod snat;
#[path = "../packets/table.rs"]
mod table;
#[path = "../packets/vip.rs"]
mod vip;
#[path = "../packets/vlan.rs"]
mod vlan;
#[path = "../packets/world.rs"]
mod world;

/// See `packets/main.rs`.
const AT_DRIVER: bool = true;
