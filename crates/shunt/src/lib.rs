//! Shunt: the node agent and its command line.
#![forbid(unsafe_code)]

pub mod agent;
mod cgroups;
pub mod check;
pub mod cli;
pub mod config;
pub mod devices;
pub mod server;
pub mod sources;
