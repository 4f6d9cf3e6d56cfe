//! The programs, as `cargo xtask build-ebpf` compiled them.

/// The stripped ELF object.
pub(crate) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/object/shunt.bpf.o"));
