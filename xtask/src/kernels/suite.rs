//! Debian's stock kernel of a suite: downloaded and unpacked below the cache, with lists of its own, so that nothing
//! of the machine's package management is touched.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::sh;
use crate::versions::Kernel;

/// An unpacked kernel.
pub struct Files {
    /// What `uname -r` says in it.
    pub release: String,
    /// The compressed image.
    pub image: PathBuf,
    /// The directory above `lib/modules`.
    pub root: PathBuf,
}

/// The kernel of a suite, from the cache if it is there.
pub fn kernel(kernel: &Kernel, refresh: bool) -> Result<Files> {
    let folder = sh::cache().join("kernels").join(kernel.suite);
    if refresh || !folder.join("unpacked").is_file() {
        let _ = fs::remove_dir_all(&folder);
        download(kernel, &folder)?;
        fs::write(folder.join("unpacked"), "")?;
    }
    let root = folder.join("root");
    let modules = root.join("lib/modules");
    let releases = fs::read_dir(&modules).with_context(|| format!("no {}", modules.display()))?;
    let release = releases.flatten().next().context("the kernel package holds no modules")?.file_name();
    let release = release.to_string_lossy().into_owned();
    // Newer packages keep the image beside its modules.
    let places =
        [root.join("boot").join(format!("vmlinuz-{release}")), modules.join(&release).join("vmlinuz")];
    let image =
        places.into_iter().find(|place| place.is_file()).context("the kernel package holds no vmlinuz")?;
    Ok(Files { release, image, root })
}

fn download(kernel: &Kernel, folder: &Path) -> Result<()> {
    let mirror = mirror()?;
    for wanted in ["lists/partial", "cache/archives/partial", "debs", "root"] {
        fs::create_dir_all(folder.join(wanted))?;
    }
    let line = format!("deb [arch=amd64{}] {} {} main\n", mirror.signed_by, mirror.uri, kernel.suite);
    fs::write(folder.join("sources.list"), line)?;
    sh::say(format!("test-kernels: fetching Debian {}'s kernel", kernel.suite));
    sh::output(apt("apt-get", folder).args(["-q", "update"]))
        .with_context(|| format!("cannot read the package lists of Debian {}", kernel.suite))?;
    let packages = packages(folder)?;
    sh::output(
        apt("apt-get", folder).current_dir(folder.join("debs")).args(["-q", "download"]).args(&packages),
    )?;
    let root = folder.join("root");
    for deb in fs::read_dir(folder.join("debs"))?.flatten() {
        sh::output(sh::cmd("dpkg").arg("-x").arg(deb.path()).arg(&root))?;
    }
    // Newer packages keep modules below /usr, where older tools do not look.
    if !root.join("lib").exists() && root.join("usr/lib").is_dir() {
        std::os::unix::fs::symlink("usr/lib", root.join("lib"))?;
    }
    let _ = fs::remove_dir_all(folder.join("debs"));
    Ok(())
}

/// The packages that hold the image and its modules: `linux-image-amd64` and what it leads to.
fn packages(folder: &Path) -> Result<Vec<String>> {
    let flags =
        ["--recurse", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks", "--no-replaces"];
    let list = sh::output(apt("apt-cache", folder).arg("depends").args(flags).arg("linux-image-amd64"))?;
    let holds = |name: &&str| {
        ["linux-image-", "linux-binary-", "linux-modules-"].iter().any(|prefix| name.starts_with(prefix))
            && *name != "linux-image-amd64"
    };
    let packages: Vec<String> = list.lines().filter(holds).map(str::to_owned).collect();
    if packages.is_empty() {
        bail!("linux-image-amd64 leads to no kernel in this suite");
    }
    Ok(packages)
}

/// apt with lists, cache and sources of its own. The configuration is on the command line only: exported, it would
/// reach every other apt.
fn apt(program: &str, folder: &Path) -> std::process::Command {
    let mut command = sh::cmd(program);
    for (key, value) in [
        ("Dir::Etc::sourcelist", folder.join("sources.list")),
        ("Dir::Etc::sourceparts", "/dev/null".into()),
        ("Dir::State::lists", folder.join("lists")),
        ("Dir::Cache", folder.join("cache")),
        ("Acquire::Languages", "none".into()),
        ("Debug::NoLocking", "1".into()),
        ("APT::Sandbox::User", "".into()),
    ] {
        command.arg("-o").arg(format!("{key}={}", value.display()));
    }
    command
}

struct Mirror {
    uri: String,
    signed_by: String,
}

/// Where this machine gets Debian from.
fn mirror() -> Result<Mirror> {
    let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let signed_by =
        if Path::new(keyring).is_file() { format!(" signed-by={keyring}") } else { String::new() };
    if let Ok(uri) = std::env::var("SHUNT_DEBIAN_MIRROR") {
        return Ok(Mirror { uri, signed_by });
    }
    let targets = ["indextargets", "--format", "$(ORIGIN) $(COMPONENT) $(CODENAME) $(REPO_URI)"];
    let known = sh::output(sh::cmd("apt-get").args(targets)).unwrap_or_default();
    for line in known.lines() {
        if let ["Debian", "main", codename, uri] = line.split_whitespace().collect::<Vec<_>>()[..]
            && !codename.contains('-')
        {
            return Ok(Mirror { uri: uri.to_owned(), signed_by });
        }
    }
    bail!("apt knows no Debian mirror here: run `apt-get update`, or name one in SHUNT_DEBIAN_MIRROR")
}
