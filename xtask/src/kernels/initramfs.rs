//! The guest's file system: busybox, an init script, our programs, and the modules they use.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::guest::Program;
use super::suite::Files;
use crate::{binaries, sh};

/// Interfaces and queueing that tests make; Debian builds them as modules.
const MODULES: [&str; 8] = ["veth", "dummy", "bridge", "vxlan", "8021q", "tun", "sch_ingress", "cls_bpf"];

/// What tests call and busybox has only in part.
const TOOLS: [&str; 2] = ["ip", "tc"];

/// Packs everything into one archive and returns where it is.
pub fn pack(kernel: &Files, programs: &[Program]) -> Result<PathBuf> {
    let work = sh::root().join("target/kernels").join(&kernel.release);
    let root = work.join("root");
    let _ = fs::remove_dir_all(&root);
    for dir in ["bin", "dev", "proc", "sys", "tmp", "run", "tests"] {
        fs::create_dir_all(root.join(dir))?;
    }
    let busybox = sh::which("busybox").context("no busybox")?;
    if binaries::needs_loader(&fs::read(&busybox)?)? {
        bail!("{} is not static: `apt-get install busybox-static`", busybox.display());
    }
    fs::copy(busybox, root.join("bin/busybox"))?;
    for program in programs {
        fs::copy(&program.path, root.join("tests").join(program.name))?;
        for file in &program.beside {
            let name = file.file_name().context("a binary has a name")?;
            fs::copy(file, root.join("tests").join(name))?;
        }
    }
    // What labs apply, found from where the tests run.
    let examples = root.join("tests/examples");
    fs::create_dir_all(&examples)?;
    for file in fs::read_dir(sh::root().join("examples"))?.flatten() {
        fs::copy(file.path(), examples.join(file.file_name()))?;
    }
    for tool in TOOLS {
        tool_with_libraries(tool, &root)?;
    }
    modules(kernel, &root)?;
    let init = root.join("init");
    fs::write(&init, script(programs))?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    archive(&root, &work.join("initramfs"))
}

/// Copies a program of this machine to the guest's /sbin, and its libraries to where they are here.
fn tool_with_libraries(tool: &str, root: &Path) -> Result<()> {
    let program = sh::which(tool).with_context(|| format!("no {tool}"))?;
    fs::create_dir_all(root.join("sbin"))?;
    fs::copy(&program, root.join("sbin").join(tool))?;
    let libraries = sh::output(sh::cmd("ldd").arg(&program))?;
    for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        let to = root.join(library.trim_start_matches('/'));
        fs::create_dir_all(to.parent().context("a library lies in a directory")?)?;
        fs::copy(library, &to)?;
    }
    Ok(())
}

/// The guest's first process.
fn script(programs: &[Program]) -> String {
    let mut script = String::from(include_str!("init.sh"));
    for Program { name, env, args, .. } in programs {
        script.push_str(&format!("echo\n{env} /tests/{name} {args}\necho \"@@ exit {name} $?\"\n"));
    }
    script.push_str("poweroff -f\n");
    script
}

/// Copies the modules that are wanted and those they lean on, unpacked, and orders them.
fn modules(kernel: &Files, root: &Path) -> Result<()> {
    let base = Path::new("lib/modules").join(&kernel.release);
    sh::output(sh::cmd("depmod").arg("-b").arg(&kernel.root).arg(&kernel.release))?;
    let order = fs::read_to_string(kernel.root.join(&base).join("modules.dep"))?;
    for module in closure(&order) {
        let to = root.join(&base).join(&module);
        fs::create_dir_all(to.parent().context("a module lies in a directory")?)?;
        fs::copy(kernel.root.join(&base).join(&module), &to)?;
        if module.ends_with(".xz") {
            sh::output(sh::cmd("xz").arg("-d").arg(&to))?;
        } else if !module.ends_with(".ko") {
            bail!("{module}: this compression is not known to xtask/src/kernels/initramfs.rs");
        }
    }
    for list in ["modules.order", "modules.builtin", "modules.builtin.modinfo"] {
        let from = kernel.root.join(&base).join(list);
        if from.is_file() {
            fs::copy(from, root.join(&base).join(list))?;
        }
    }
    sh::output(sh::cmd("depmod").arg("-b").arg(root).arg(&kernel.release)).map(drop)
}

/// The paths of [`MODULES`] and their dependencies, from the lines `PATH: PATH PATH` of `modules.dep`. One that the
/// kernel does not have as a module is built in.
fn closure(order: &str) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for line in order.lines() {
        let Some((module, needs)) = line.split_once(':') else { continue };
        let name = module.rsplit('/').next().and_then(|file| file.split('.').next()).unwrap_or_default();
        if MODULES.contains(&name) {
            paths.insert(module.to_owned());
            paths.extend(needs.split_whitespace().map(str::to_owned));
        }
    }
    paths
}

fn archive(root: &Path, to: &Path) -> Result<PathBuf> {
    let list = sh::output(sh::cmd("find").current_dir(root).args([".", "-print"]))?;
    let names = to.with_extension("list");
    fs::write(&names, list)?;
    let mut cpio = sh::cmd("cpio");
    cpio.current_dir(root).args(["--quiet", "-o", "-H", "newc", "-R", "0:0"]);
    cpio.stdin(fs::File::open(&names)?).stdout(fs::File::create(to)?).stderr(Stdio::inherit());
    sh::run(&mut cpio)?;
    Ok(to.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_brings_what_it_leans_on() {
        let order = "kernel/a/veth.ko:\nkernel/b/vxlan.ko.xz: kernel/c/udp_tunnel.ko.xz\nkernel/d/other.ko: kernel/e/x.ko\n";
        let paths: Vec<String> = closure(order).into_iter().collect();
        assert_eq!(paths, ["kernel/a/veth.ko", "kernel/b/vxlan.ko.xz", "kernel/c/udp_tunnel.ko.xz"]);
    }
}
