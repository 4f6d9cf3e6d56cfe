//! `cargo xtask bench [BENCH]…`: builds the release binaries and measures every figure, or those named.

use anyhow::{Result, bail};

use crate::setup::{self, Purpose};
use crate::{binaries, sh};

/// The verb. Arguments go to `shunt-bench` as they are.
pub fn main(args: &[String]) -> Result<()> {
    setup::main_for(&[Purpose::Bench])?;
    if !sh::is_root() {
        bail!("the benches make network namespaces and load eBPF programs: run `cargo xtask bench` as root");
    }
    let shunt = binaries::build_packages(&["shunt", "shunt-lab", "shunt-bench"])?;
    // It finds the two others beside itself.
    sh::run(sh::cmd(shunt.with_file_name("shunt-bench")).args(args))
}
