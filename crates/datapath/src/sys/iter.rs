//! Iterators: programs that the kernel runs for each element of a thing, and whose output is read like a file.

use super::{Cmd, bpf, own};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// `BPF_PROG_TYPE_TRACING` and `BPF_TRACE_ITER`.
const TRACING: u32 = 26;
const TRACE_ITER: u32 = 28;

/// One instruction, as the kernel lays it out.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instruction {
    pub(crate) code: u8,
    /// Destination register in the low half, source in the high.
    pub(crate) registers: u8,
    pub(crate) offset: i16,
    pub(crate) immediate: i32,
}

/// The head of the kernel's attributes of BPF_PROG_LOAD.
#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    program_type: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    ifindex: u32,
    attach_type: u32,
    btf: u32,
    func_info_size: u32,
    func_info: u64,
    func_info_count: u32,
    line_info_size: u32,
    line_info: u64,
    line_info_count: u32,
    attach_btf_id: u32,
}

/// Loads the program of an iterator, which the kernel knows by the id of its type.
pub(crate) fn load(instructions: &[Instruction], target: u32) -> io::Result<OwnedFd> {
    let mut attr = LoadAttr {
        program_type: TRACING,
        count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"Dual BSD/GPL".as_ptr() as u64,
        attach_type: TRACE_ITER,
        attach_btf_id: target,
        ..LoadAttr::default()
    };
    // SAFETY: the instructions and the licence, a C string, outlive the call; the answer is a fresh descriptor.
    unsafe { Ok(own(bpf(Cmd::ProgLoad, &mut attr)?)) }
}

/// An iterator's output over the elements of a map, from the first.
pub(crate) fn over_map(program: BorrowedFd<'_>, map: BorrowedFd<'_>) -> io::Result<File> {
    #[repr(C)]
    struct LinkAttr {
        program: i32,
        target: u32,
        attach_type: u32,
        flags: u32,
        info: u64,
        info_len: u32,
        pad: u32,
    }
    let info = map.as_raw_fd();
    let mut attr = LinkAttr {
        program: program.as_raw_fd(),
        target: 0,
        attach_type: TRACE_ITER,
        flags: 0,
        info: std::ptr::from_ref(&info) as u64,
        info_len: size_of_val(&info) as u32,
        pad: 0,
    };
    // SAFETY: `info` is as long as told and outlives the call; the answer is a fresh descriptor.
    let link = unsafe { own(bpf(Cmd::LinkCreate, &mut attr)?) };
    let mut attr = [link.as_raw_fd(), 0];
    // SAFETY: the words hold no pointer; the answer is a fresh descriptor, which keeps the link.
    unsafe { Ok(own(bpf(Cmd::IterCreate, &mut attr)?).into()) }
}
