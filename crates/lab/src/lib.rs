//! lab

pub mod api;
