//! The steps of a packet's way, in the order in which they are taken.

pub mod parse;
pub mod known;
pub mod pick;
pub mod reserve;
pub mod ring;
pub mod rewrite;
pub mod forward;
pub mod start;
pub mod reject;
pub mod local_socket;

/// Low 32 bits of jiffies.
#[inline(always)]
pub fn jiffies() -> u32 {
    // SAFETY: no arguments.
    unsafe { aya_ebpf::helpers::generated::bpf_jiffies64() as u32 }
}
