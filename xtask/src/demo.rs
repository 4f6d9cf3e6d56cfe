//! `cargo xtask demo [ARGUMENT]…`: builds the release binaries and shows the main job on the lab.

use anyhow::{Result, bail};

use crate::setup::{self, Purpose};
use crate::{binaries, sh};

/// The verb. Arguments go to `shunt-lab demo` as they are.
pub fn main(args: &[String]) -> Result<()> {
    setup::main_for(&[Purpose::Demo])?;
    if !sh::is_root() {
        bail!("the lab makes network namespaces and loads eBPF programs: run `cargo xtask demo` as root");
    }
    let shunt = binaries::build()?;
    let mut lab = sh::cmd(shunt.with_file_name("shunt-lab"));
    sh::run(lab.arg("demo").args(args))
}
