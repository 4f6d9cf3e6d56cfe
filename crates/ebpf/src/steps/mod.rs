//! The steps of a packet's way, in the order in which they are taken.

pub mod admit;
pub mod affinity;
pub mod dsr;
pub mod forward;
pub mod fragments;
pub mod icmp_error;
pub mod known;
pub mod local_socket;
pub mod maglev;
pub mod parse;
pub mod pick;
pub mod reject;
pub mod reserve;
pub mod rewrite;
pub mod ring;
pub mod start;
pub mod vip;

/// Low 32 bits of jiffies.
#[inline(always)]
pub fn jiffies() -> u32 {
    // SAFETY: no arguments.
    unsafe { aya_ebpf::helpers::generated::bpf_jiffies64() as u32 }
}
