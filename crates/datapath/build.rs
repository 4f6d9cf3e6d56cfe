//! Says which eBPF object is embedded: the committed one, or the one that `SHUNT_BPF_OBJECT` names (the tests set it
//! where another toolchain than the recorded one has built a fresh object).

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-env-changed=SHUNT_BPF_OBJECT");
    // Asked for when it runs, not when it is compiled: checkouts that share a target folder share this program.
    let crate_dir = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let object = std::env::var("SHUNT_BPF_OBJECT").unwrap_or(format!("{crate_dir}/object/shunt.bpf.o"));
    println!("cargo:rerun-if-changed={object}");
    assert!(Path::new(&object).is_file(), "no eBPF object at {object}: `cargo xtask build-ebpf` makes it");
    println!("cargo:rustc-env=SHUNT_BPF_OBJECT={object}");
}
