//! A program: its id, and running it on a packet.

use super::{Cmd, bpf, object};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The kernel's id of a program.
pub(crate) fn id(program: BorrowedFd<'_>) -> io::Result<u32> {
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        kind: u32,
        id: u32,
    }
    let mut info = Info::default();
    // SAFETY: `Info` is a prefix of `struct bpf_prog_info`.
    unsafe { object::info(program, &mut info)? };
    Ok(info.id)
}

/// The instructions of a program as the verifier left it, eight bytes each, with its functions one after the other. Calls
/// between them (`BPF_PSEUDO_CALL`) say in `off` how many instructions from the next one the function is, where the program is
/// compiled to machine code, and in `imm` where it is not. Needs CAP_PERFMON and CAP_BPF.
pub(crate) fn instructions(program: BorrowedFd<'_>) -> io::Result<Vec<u64>> {
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        kind: u32,
        id: u32,
        tag: u64,
        compiled_len: u32,
        len: u32,
        compiled: u64,
        instructions: u64,
    }
    let mut info = Info::default();
    // SAFETY: `Info` is a prefix of `struct bpf_prog_info`; no buffer is named yet.
    unsafe { object::info(program, &mut info)? };
    let mut out = vec![0u64; info.len as usize / 8];
    let mut info = Info { len: info.len, instructions: out.as_mut_ptr() as u64, ..Info::default() };
    // SAFETY: the buffer has the length given and outlives the call.
    unsafe { object::info(program, &mut info)? };
    Ok(out)
}

/// What a test run gave.
pub(crate) struct Ran {
    /// What the program returned.
    pub(crate) verdict: u32,
    /// Length of the packet after it.
    pub(crate) len: usize,
    /// Bytes of metadata that the packet begins with.
    pub(crate) metadata: usize,
    /// Nanoseconds a run, the mean over the repeats.
    pub(crate) ns: u32,
}

/// Runs a program on `packet` `repeat` times, writes the packet after it to `out`, and what it left in its context to
/// `context`.
pub(crate) fn test_run(
    fd: BorrowedFd<'_>,
    packet: &[u8],
    context: &mut [u8],
    out: &mut [u8],
    repeat: u32,
) -> io::Result<Ran> {
    #[repr(C)]
    #[derive(Default)]
    struct Attr {
        fd: i32,
        verdict: u32,
        len_in: u32,
        len_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        ns: u32,
        context_len_in: u32,
        context_len_out: u32,
        context_in: u64,
        context_out: u64,
        flags: u32,
        cpu: u32,
        batch: u32,
        pad: u32,
    }
    let mut attr = Attr {
        fd: fd.as_raw_fd(),
        len_in: packet.len() as u32,
        len_out: out.len() as u32,
        data_in: packet.as_ptr() as u64,
        data_out: out.as_mut_ptr() as u64,
        repeat,
        context_len_in: context.len() as u32,
        context_len_out: context.len() as u32,
        context_in: if context.is_empty() { 0 } else { context.as_ptr() as u64 },
        context_out: if context.is_empty() { 0 } else { context.as_mut_ptr() as u64 },
        ..Attr::default()
    };
    // SAFETY: the buffers are slices of the lengths given and outlive the call.
    unsafe { bpf(Cmd::ProgTestRun, &mut attr)? };
    Ok(Ran { verdict: attr.verdict, len: attr.len_out as usize, metadata: 0, ns: attr.ns })
}

/// The same for an XDP program, with a packet that came in by an interface of this network namespace and begins with so
/// many bytes of `metadata`. What there is of it afterwards stands in front of the packet again.
pub(crate) fn test_run_xdp(
    fd: BorrowedFd<'_>,
    packet: &[u8],
    ifindex: u32,
    metadata: u32,
    out: &mut [u8],
    repeat: u32,
) -> io::Result<Ran> {
    // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let words = [metadata, packet.len() as u32, 0, ifindex, 0, 0];
    let mut words = words.map(u32::to_ne_bytes);
    let mut ran = test_run(fd, packet, words.as_flattened_mut(), out, repeat)?;
    ran.metadata = u32::from_ne_bytes(words[0]) as usize;
    Ok(ran)
}
