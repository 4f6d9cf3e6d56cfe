//! Kubernetes objects -> snapshot -> desired entries -> ordered ops.
//!
//! Pure and synchronous: no clock, no I/O, no unsafe. The agent feeds it objects and applies its ops.
#![forbid(unsafe_code)]

pub mod store;
