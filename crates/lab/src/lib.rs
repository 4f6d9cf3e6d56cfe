//! Clusters of network namespaces on one Linux machine, with an in-process Kubernetes API: for the demo, the end-to-end
//! tests and the benchmarks.
//!
//! [`cluster::Lab::up`] makes one from a [`topology::Topology`]; [`place::Place`] is where a process runs in it;
//! [`probe`] and [`netexec`] are the clients and servers; [`api`] is the Kubernetes API.

pub mod agent;
pub mod api;
pub mod bpffs;
pub mod cgroup;
pub mod client;
pub mod cluster;
pub mod demo;
pub mod kubelet;
pub mod net;
pub mod netexec;
pub mod objects;
pub mod patience;
pub mod pattern;
pub mod place;
pub mod probe;
pub mod sh;
pub mod state;
pub mod supervise;
pub mod topology;
pub mod up;
