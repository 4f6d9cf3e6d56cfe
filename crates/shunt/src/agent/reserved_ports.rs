//! `nodePort.autoProtectPortRange`: keeps the kernel from giving NodePorts to sockets as source ports
//! (`net.ipv4.ip_local_reserved_ports`, which serves IPv6 too; Documentation/networking/ip-sysctl.rst).
//!
//! What was added stands in the run directory, so that `shunt cleanup` takes back no more than that.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The kernel's setting, and where what was added to it is noted.
pub(crate) struct ReservedPorts {
    sysctl: PathBuf,
    note: PathBuf,
}

impl ReservedPorts {
    /// Those of the network namespace that this process is in.
    pub(crate) fn new(run_dir: &Path) -> Self {
        let sysctl = "/proc/sys/net/ipv4/ip_local_reserved_ports".into();
        Self { sysctl, note: run_dir.join("reserved-ports") }
    }

    /// Reserves a range, both ends included, beside what is reserved already.
    ///
    /// # Errors
    /// When the setting cannot be read or written, as in a container whose `/proc/sys` is read-only.
    pub(super) fn reserve(&self, range: (u16, u16)) -> io::Result<()> {
        let before = parse(&fs::read_to_string(&self.sysctl)?);
        let added: BTreeSet<u16> = (range.0..=range.1).filter(|port| !before.contains(port)).collect();
        if added.is_empty() {
            return Ok(());
        }
        // The note first: what it names and is not reserved costs nothing.
        let noted = fs::read_to_string(&self.note).map(|text| parse(&text)).unwrap_or_default();
        fs::write(&self.note, print(noted.union(&added)))?;
        fs::write(&self.sysctl, print(before.union(&added)))
    }

    /// Takes back what [`Self::reserve`] added. Answers whether there was anything.
    ///
    /// # Errors
    /// When the setting cannot be read or written.
    pub(crate) fn release(&self) -> io::Result<bool> {
        let Ok(text) = fs::read_to_string(&self.note) else { return Ok(false) };
        let (now, noted) = (parse(&fs::read_to_string(&self.sysctl)?), parse(&text));
        let left = print(now.difference(&noted));
        // An empty write changes nothing; a newline clears the setting.
        fs::write(&self.sysctl, if left.is_empty() { "\n".into() } else { left })?;
        fs::remove_file(&self.note)?;
        Ok(true)
    }
}

/// `8080,9000-9010` as the kernel writes it.
fn parse(text: &str) -> BTreeSet<u16> {
    let mut ports = BTreeSet::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse()) {
            ports.extend(first..=last);
        }
    }
    ports
}

fn print<'a>(ports: impl Iterator<Item = &'a u16>) -> String {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for port in ports {
        match ranges.last_mut() {
            Some((_, last)) if u32::from(*last) + 1 == u32::from(*port) => *last = *port,
            _ => ranges.push((*port, *port)),
        }
    }
    let words = ranges.iter().map(|(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") });
    words.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::{ReservedPorts, parse, print};
    use std::fs;

    #[test]
    fn ranges_are_read_and_written_as_the_kernel_does() {
        for text in ["", "8080", "8080,9000-9010", "1-65535"] {
            assert_eq!(print(parse(text).iter()), text);
        }
        assert_eq!(print(parse("1,2,3,5\n").iter()), "1-3,5");
    }

    #[test]
    fn what_was_reserved_by_others_stays_reserved() {
        let dir = tempfile::tempdir().unwrap();
        let ports = ReservedPorts { sysctl: dir.path().join("sysctl"), note: dir.path().join("note") };
        let now = || fs::read_to_string(&ports.sysctl).unwrap().trim().to_owned();
        fs::write(&ports.sysctl, "8080,30000-30001\n").unwrap();
        assert!(!ports.release().unwrap(), "nothing to take back");
        for _ in 0..2 {
            ports.reserve((30000, 32767)).unwrap();
            assert_eq!(now(), "8080,30000-32767");
        }
        fs::write(&ports.sysctl, "8080,9090,30000-32767").unwrap();
        assert!(ports.release().unwrap());
        assert_eq!(now(), "8080,9090,30000-30001");
    }
}
