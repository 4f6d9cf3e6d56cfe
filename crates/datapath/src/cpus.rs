//! How many values a per-CPU map has.

use std::sync::OnceLock;
use std::{fs, io};

/// The number of possible CPUs, which never changes while a kernel runs.
pub(crate) fn possible() -> io::Result<usize> {
    static COUNT: OnceLock<usize> = OnceLock::new();
    if let Some(count) = COUNT.get() {
        return Ok(*count);
    }
    let path = "/sys/devices/system/cpu/possible";
    let text = fs::read_to_string(path)?;
    let count = count(text.trim()).ok_or_else(|| io::Error::other(format!("{path} says {text:?}")))?;
    Ok(*COUNT.get_or_init(|| count))
}

/// The number of CPUs in a list such as `0-3,8`.
fn count(list: &str) -> Option<usize> {
    list.split(',').try_fold(0, |sum, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        Some(sum + last.checked_sub(first)? + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_ranges_are_counted() {
        assert_eq!(count("0"), Some(1));
        assert_eq!(count("0-1"), Some(2));
        assert_eq!(count("0-3,8,10-11"), Some(7));
        assert_eq!(count("3-1"), None);
        assert_eq!(count(""), None);
    }

    #[test]
    fn this_machine_has_a_cpu() {
        assert!(possible().unwrap() >= 1);
    }
}
