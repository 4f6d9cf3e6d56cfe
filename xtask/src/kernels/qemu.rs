//! The emulator: the machine's own, or Debian's unpacked below the cache, and one boot.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::sh;

/// A boot with all packet cases takes some minutes, and more on a busy machine; a guest that hangs must not hang us.
const LONGEST: Duration = Duration::from_secs(3000);

const EMULATOR: &str = "qemu-system-x86_64";

/// Finds the emulator, or unpacks Debian's into the cache: installing it could displace other QEMU packages. True when
/// something was fetched.
pub fn ensure() -> Result<bool> {
    if sh::which(EMULATOR).is_some() || private().join("usr/bin").join(EMULATOR).is_file() {
        return Ok(false);
    }
    sh::say(format!(
        "setup: unpacking {EMULATOR} into .shunt-cache (boots the supported kernels, in software)"
    ));
    let archives = sh::cache().join("qemu-debs");
    fs::create_dir_all(archives.join("partial"))?;
    let fetch = || {
        let mut apt = sh::cmd("apt-get");
        apt.args([
            "-q",
            "-y",
            "--no-install-recommends",
            "--download-only",
            "-o",
            "Debug::NoLocking=1",
            "-o",
        ]);
        apt.arg(format!("Dir::Cache::archives={}", archives.display()));
        sh::output(apt.args(["install", "qemu-system-x86"]))
    };
    if fetch().is_err() {
        crate::apt::update()?;
        fetch()?;
    }
    for deb in fs::read_dir(&archives)?.flatten().filter(|entry| entry.path().is_file()) {
        sh::output(sh::cmd("dpkg").arg("-x").arg(deb.path()).arg(private()))?;
    }
    fs::remove_dir_all(&archives)?;
    Ok(true)
}

fn private() -> PathBuf {
    sh::cache().join("qemu")
}

/// The emulator with what it needs to find its parts.
fn command() -> Command {
    if sh::which(EMULATOR).is_some() {
        return sh::cmd(EMULATOR);
    }
    let root = private();
    let mut qemu = sh::cmd(root.join("usr/bin").join(EMULATOR));
    let libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|dir| root.join(dir));
    let modules = libraries[0].join("qemu");
    qemu.env("LD_LIBRARY_PATH", std::env::join_paths(libraries).unwrap_or_default());
    qemu.env("QEMU_MODULE_DIR", modules);
    for data in ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"] {
        qemu.arg("-L").arg(root.join(data));
    }
    qemu
}

/// Boots, and returns everything that was written to the console until the guest powered off. It is also put into
/// `console.log` beside the file system, line by line, for who waits.
pub fn boot(image: &Path, initramfs: &Path) -> Result<String> {
    let mut log = fs::File::create(initramfs.with_file_name("console.log"))?;
    let mut qemu = command();
    // Software emulation only: stock kernels do not run under every kind of nested virtualisation.
    qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048"]);
    qemu.args(["-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"]);
    qemu.args(["-append", "console=ttyS0 loglevel=4 panic=-1"])
        .arg("-kernel")
        .arg(image)
        .arg("-initrd")
        .arg(initramfs);
    let mut child = qemu
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {EMULATOR}"))?;
    let console = child.stdout.take().context("no pipe for the console")?;
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(|line| line.ok()) {
            let _ = send.send(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
    });
    let (until, mut output) = (Instant::now() + LONGEST, String::new());
    loop {
        match receive.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                // The report goes by what is returned; who waits can do without a line.
                let _ = writeln!(log, "{line}");
                output.push_str(&line);
                output.push('\n');
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let _ = child.kill();
                let _ = child.wait();
                bail!("the guest did not end within {} s; it said:\n{output}", LONGEST.as_secs());
            }
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{EMULATOR} failed ({status})\n{output}");
    }
    Ok(output)
}
