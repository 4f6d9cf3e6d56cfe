//! Checks before anything is touched: one clear message for what would otherwise fail deep inside.

use crate::examine::Need;
use crate::{Error, Settings};
use shunt_common::feature;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A kernel release's first two numbers.
pub(crate) type Release = (u32, u32);

/// The oldest kernel whose helpers and verifier the programs are written for.
const OLDEST: Release = (6, 1);
/// The first kernel with TCX.
pub(crate) const TCX_SINCE: Release = (6, 6);
/// The first kernel whose `bpf_fib_lookup` knows BPF_FIB_LOOKUP_SRC.
const FIB_SOURCE_SINCE: Release = (6, 7);
/// The first kernel whose `bpf_l4_csum_replace` knows BPF_F_IPV6.
const CSUM_IPV6_SINCE: Release = (6, 16);
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// Runs every check; answers the kernel's release.
pub(crate) fn check(settings: &Settings) -> Result<Release, Error> {
    settings.check()?;
    let text = read("/proc/sys/kernel/osrelease")?;
    let release = oldest_release(text.trim())?;
    capabilities(&read("/proc/self/status")?)?;
    bpffs(&settings.bpf_root)?;
    cgroup2(&settings.cgroup_root)?;
    Ok(release)
}

/// The name of the check of capabilities.
pub(crate) const CAPABILITIES: &str = "capabilities";

/// What each check of [`check`] finds, with nothing left out after one that fails.
pub(crate) fn each(settings: &Settings) -> Vec<Need> {
    let place = |path: &Path, found: Result<(), Error>| found.map(|()| path.display().to_string());
    let (bpffs, cgroup2) = (bpffs(&settings.bpf_root), cgroup2(&settings.cgroup_root));
    let kernel = read("/proc/sys/kernel/osrelease").and_then(|text| kernel(text.trim()));
    let capabilities = read("/proc/self/status").and_then(|text| capabilities(&text));
    vec![
        Need { what: "kernel", found: kernel },
        Need { what: CAPABILITIES, found: capabilities.map(|()| "all that are needed".into()) },
        Need { what: "bpffs", found: place(&settings.bpf_root, bpffs) },
        Need { what: "cgroup2", found: place(&settings.cgroup_root, cgroup2) },
        Need { what: "settings", found: settings.check().map(|()| "fit".into()) },
    ]
}

/// A kernel's release, and what of it the datapath goes without.
fn kernel(text: &str) -> Result<String, Error> {
    let release = oldest_release(text)?;
    let without: Vec<&str> = [
        (TCX_SINCE, "TCX (clsact filters serve)"),
        (FIB_SOURCE_SINCE, "a route's own source address in SNAT"),
        (CSUM_IPV6_SINCE, "the shorter way to IPv6 checksums"),
    ]
    .into_iter()
    .filter(|(since, _)| release < *since)
    .map(|(_, what)| what)
    .collect();
    Ok(if without.is_empty() { text.into() } else { format!("{text}, without {}", without.join(", ")) })
}

/// What a kernel can do that others cannot, as bits of [`feature`].
pub(crate) fn features(release: Release) -> u32 {
    let since = |first, bit| if release >= first { bit } else { 0 };
    since(FIB_SOURCE_SINCE, feature::FIB_SOURCE) | since(CSUM_IPV6_SINCE, feature::CSUM_IPV6)
}

/// The running kernel's [`features`].
pub(crate) fn running() -> Result<u32, Error> {
    Ok(features(oldest_release(read("/proc/sys/kernel/osrelease")?.trim())?))
}

fn read(path: &str) -> Result<String, Error> {
    fs::read_to_string(path).map_err(Error::system(format!("reading {path}")))
}

/// Parses a release and refuses one that is too old.
fn oldest_release(text: &str) -> Result<Release, Error> {
    let mut numbers = text.split(['.', '-', '+']).map_while(|part| part.parse().ok());
    let release = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if release < OLDEST { Err(Error::KernelTooOld { release: text.into() }) } else { Ok(release) }
}

/// Refuses when the effective capabilities in `/proc/self/status` do not suffice.
fn capabilities(status: &str) -> Result<(), Error> {
    let line = status.lines().find_map(|l| l.strip_prefix("CapEff:")).unwrap_or("0");
    let effective = u64::from_str_radix(line.trim(), 16).unwrap_or(0);
    let has = |cap: u32| effective & (1 << cap) != 0;
    let mut missing = Vec::new();
    // Without CAP_PERFMON the verifier forbids programs what it fears might leak addresses.
    for (cap, name) in [(CAP_BPF, "CAP_BPF"), (CAP_PERFMON, "CAP_PERFMON"), (CAP_NET_ADMIN, "CAP_NET_ADMIN")]
    {
        if !(has(cap) || (cap != CAP_NET_ADMIN && has(CAP_SYS_ADMIN))) {
            missing.push(name);
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(Error::NoPrivilege { missing: missing.join(" and ") }) }
}

/// Refuses a root whose nearest existing directory is on another file system.
pub(crate) fn bpffs(root: &Path) -> Result<(), Error> {
    let existing = root.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
    if magic(existing)? == i64::from(libc::BPF_FS_MAGIC as u32) {
        return Ok(());
    }
    Err(Error::NotBpffs { path: root.into(), mount: mount_point(root) })
}

/// The usual mount point when the root lies below it, else the root itself.
fn mount_point(root: &Path) -> PathBuf {
    let usual = Path::new("/sys/fs/bpf");
    if root.starts_with(usual) { usual.into() } else { root.into() }
}

fn cgroup2(root: &Path) -> Result<(), Error> {
    if root.is_dir() && magic(root)? == i64::from(libc::CGROUP2_SUPER_MAGIC as u32) {
        return Ok(());
    }
    Err(Error::NotCgroup2 { path: root.into() })
}

/// The magic number of the file system that a path is on, as 32 bits.
fn magic(path: &Path) -> Result<i64, Error> {
    let failed = || Error::system(format!("statfs {}", path.display()));
    let c_path = CString::new(path.as_os_str().as_bytes())
        .map_err(|_| failed()(std::io::ErrorKind::InvalidInput.into()))?;
    // SAFETY: `statfs` is plain integers; zero is a valid value.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: a C string and a struct of the right type, both alive.
    if unsafe { libc::statfs(c_path.as_ptr(), &mut stat) } != 0 {
        return Err(failed()(std::io::Error::last_os_error()));
    }
    Ok(stat.f_type as i64 & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        assert_eq!(oldest_release("6.18.44-fc-v657").unwrap(), (6, 18));
        assert_eq!(oldest_release("6.1.0-9-amd64").unwrap(), (6, 1));
        assert_eq!(oldest_release("10.0+deb14").unwrap(), (10, 0));
        let error = oldest_release("5.15.0-91-generic").unwrap_err().to_string();
        assert!(error.contains("5.15.0-91-generic") && error.contains("6.1"), "{error}");
    }

    #[test]
    fn what_a_kernel_can_do_goes_by_its_release() {
        assert_eq!(features((6, 1)), 0);
        assert_eq!(features((6, 12)), feature::FIB_SOURCE);
        assert_eq!(features((7, 2)), feature::FIB_SOURCE | feature::CSUM_IPV6);
    }

    #[test]
    fn what_an_old_kernel_lacks_is_told_with_its_release() {
        assert_eq!(kernel("6.18.4").unwrap(), "6.18.4");
        let old = kernel("6.1.0-9-amd64").unwrap();
        assert!(old.starts_with("6.1.0-9-amd64, without TCX"), "{old}");
        assert!(kernel("5.10.0").is_err());
    }

    #[test]
    fn every_need_is_looked_at_also_after_one_that_is_missing() {
        let needs = each(&Settings::new("/proc/nowhere", "/proc"));
        let missing: Vec<&str> = needs.iter().filter(|n| n.found.is_err()).map(|n| n.what).collect();
        assert!(missing.ends_with(&["bpffs", "cgroup2"]), "{needs:?}");
    }

    #[test]
    fn missing_capabilities_are_named() {
        let all =
            format!("CapEff:\t{:016x}\n", (1u64 << CAP_BPF) | (1 << CAP_PERFMON) | (1 << CAP_NET_ADMIN));
        assert!(capabilities(&all).is_ok());
        let old = format!("CapEff:\t{:016x}\n", (1u64 << CAP_SYS_ADMIN) | (1 << CAP_NET_ADMIN));
        assert!(capabilities(&old).is_ok(), "CAP_SYS_ADMIN implies the two younger ones");
        let error = capabilities("Name:\tx\nCapEff:\t0000000000000000\n").unwrap_err().to_string();
        assert!(error.contains("CAP_BPF and CAP_PERFMON and CAP_NET_ADMIN"), "{error}");
    }

    #[test]
    fn a_directory_of_another_file_system_is_refused_with_the_mount_command() {
        let error = bpffs(Path::new("/proc/nowhere/below")).unwrap_err().to_string();
        assert!(error.contains("mount -t bpf bpf /proc/nowhere/below"), "{error}");
        assert_eq!(mount_point(Path::new("/sys/fs/bpf/shunt")), Path::new("/sys/fs/bpf"));
        let error = cgroup2(Path::new("/proc")).unwrap_err().to_string();
        assert!(error.contains("/proc is not a cgroup v2"), "{error}");
    }
}
