//! The programs, as `cargo xtask build-ebpf` compiled them.

/// The stripped ELF object.
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("SHUNT_BPF_OBJECT"));
