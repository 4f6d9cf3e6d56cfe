//! Not a hook: run by user space to read the clocks that programs stamp rows with.

use crate::packet::{Packet, Skb};
use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns};

/// Writes jiffies and nanoseconds since boot (u64 each, host order) over the packet's first 16 bytes.
#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
extern "C" fn clock(skb: *mut __sk_buff) -> i32 {
    // SAFETY: no arguments.
    let now = unsafe { [bpf_jiffies64(), bpf_ktime_get_ns()] };
    i32::from(!Skb(skb).store(0, &now))
}
