//! Shunt's eBPF programs.
//!
//! Read a packet's way from `hooks/`: each hook is a list of `steps/` and ends in one verdict. A step is written
//! once for both address families ([`family::Family`]) and for every kind of packet context ([`packet::Packet`]).
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod config;
mod family;
mod headers;
mod hooks;
mod maps;
mod outcome;
mod packet;
mod steps;

/// A panic cannot happen in a program that the verifier accepted; the handler only satisfies the compiler.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: never reached; a reachable panic makes the verifier refuse the program.
    unsafe { core::hint::unreachable_unchecked() }
}

/// Kernel helpers that these programs call are only for GPL-compatible programs.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual BSD/GPL\0";
