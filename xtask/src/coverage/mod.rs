//! `cargo xtask coverage`: which feature is tried by packets at which hook in which family, as a page of the docs.
//!
//! The packet cases note what they run ([`FILE`]); [`features`] says which case belongs to what, and why there is none
//! where there is none. A cell with neither cases nor a reason is an error, and so are a case that belongs to no
//! feature and a page that is not what the cases say.

mod features;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::sh;
use features::{FEATURES, Feature, HOOKS};

/// The environment variable by which the packet cases know where to note what they run.
pub const FILE: &str = "PACKET_CASE_NOTES";

const FAMILIES: [&str; 2] = ["V4", "V6"];

/// The verb: runs the packet cases and writes the page.
pub fn main(args: &[String]) -> Result<()> {
    if !args.is_empty() {
        bail!("usage: cargo xtask coverage");
    }
    let notes = notes()?;
    let packets =
        ["test", "--locked", "--package", "shunt-datapath", "--test", "packets", "--test", "packets_xdp"];
    sh::run(sh::cargo().args(packets).env(FILE, &notes))?;
    fs::write(page_file(), page(&fs::read_to_string(notes)?)?)?;
    sh::say(format!("{} is written", page_file().display()));
    Ok(())
}

/// An empty file for the notes of one run.
pub fn notes() -> Result<PathBuf> {
    let file = sh::root().join("target/coverage.txt");
    fs::create_dir_all(sh::root().join("target"))?;
    fs::write(&file, "").with_context(|| format!("writing {}", file.display()))?;
    Ok(file)
}

/// Holds the page in the tree against the notes of a run.
pub fn check(notes: &PathBuf) -> Result<()> {
    let want = page(&fs::read_to_string(notes)?)?;
    if fs::read_to_string(page_file()).unwrap_or_default() != want {
        bail!("docs/reference/coverage.md is not what the packet cases cover: run cargo xtask coverage");
    }
    Ok(())
}

fn page_file() -> PathBuf {
    sh::root().join("docs/reference/coverage.md")
}

/// Cases by feature, hook and family.
type Cells<'a> = BTreeMap<(&'static str, &'a str, &'a str), BTreeSet<&'a str>>;

fn page(notes: &str) -> Result<String> {
    let (cells, mut wrong) = cells(notes);
    let mut text = String::from(
        "# What the packet cases cover\n\nMade by `cargo xtask coverage` from the packet cases (`crates/datapath/tests/packets`), \
         which run the programs of a node\nthrough the kernel's BPF_PROG_TEST_RUN. A cell says how many cases send packets of \
         the feature through the hook, IPv4 and\nIPv6. Where there is none, a note says why.\n\n",
    );
    let _ = writeln!(text, "| feature | {} |", HOOKS.join(" | "));
    let _ = writeln!(text, "|---|{}", "---|".repeat(HOOKS.len()));
    let mut reasons: Vec<&str> = Vec::new();
    for feature in FEATURES {
        let row = HOOKS.iter().map(|hook| cell(feature, hook, &cells, &mut reasons, &mut wrong));
        let row: Vec<String> = row.collect();
        let _ = writeln!(text, "| {} | {} |", feature.title, row.join(" | "));
    }
    text.push('\n');
    for (reason, n) in reasons.iter().zip(1..) {
        let _ = writeln!(text, "{n}. {reason}");
    }
    if !wrong.is_empty() {
        bail!("xtask/src/coverage/features.rs:\n{}", wrong.join("\n"));
    }
    Ok(text)
}

fn cells(notes: &str) -> (Cells<'_>, Vec<String>) {
    let (mut cells, mut wrong) = (Cells::new(), Vec::new());
    for line in notes.lines() {
        let mut words = line.split(' ');
        let (Some(test), Some(family), Some(hook)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let features: Vec<&Feature> = FEATURES.iter().filter(|f| f.has(test)).collect();
        if features.is_empty() {
            wrong.push(format!("{test} belongs to no feature"));
        }
        if !HOOKS.contains(&hook) {
            wrong.push(format!("{test} runs {hook}, which is not in HOOKS"));
        }
        for feature in features {
            cells.entry((feature.title, hook, family)).or_default().insert(test);
        }
    }
    wrong.sort();
    wrong.dedup();
    (cells, wrong)
}

fn cell(
    feature: &'static Feature,
    hook: &'static str,
    cells: &Cells<'_>,
    reasons: &mut Vec<&'static str>,
    wrong: &mut Vec<String>,
) -> String {
    let counts = FAMILIES.map(|family| cells.get(&(feature.title, hook, family)).map_or(0, BTreeSet::len));
    let reason = feature.without.iter().find(|(hooks, _)| hooks.contains(&hook)).map(|(_, reason)| *reason);
    match (counts, reason) {
        ([0, 0], Some(reason)) => {
            let known = reasons.iter().position(|r| *r == reason).unwrap_or_else(|| {
                reasons.push(reason);
                reasons.len() - 1
            });
            format!("({})", known + 1)
        }
        ([v4, v6], None) if v4 > 0 && v6 > 0 => format!("{v4} + {v6}"),
        ([v4, v6], Some(_)) => {
            wrong.push(format!(
                "{:?} has a reason to be without cases at {hook}, and has {v4} + {v6}",
                feature.title
            ));
            String::new()
        }
        ([v4, v6], None) => {
            wrong.push(format!("{:?} has {v4} + {v6} cases at {hook}, and no reason", feature.title));
            String::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_of_no_feature_and_a_cell_without_a_reason_are_told() {
        let error =
            page("unheard_of::case V4 tc_ingress\nsnat::case_06_x V4 nowhere\n").unwrap_err().to_string();
        assert!(error.contains("unheard_of::case belongs to no feature"), "{error}");
        assert!(error.contains("runs nowhere, which is not in HOOKS"), "{error}");
        assert!(error.contains("has 0 + 0 cases at tc_ingress, and no reason"), "{error}");
    }

    #[test]
    fn every_hook_has_cases_or_a_reason_not_both() {
        for feature in FEATURES {
            let named: Vec<_> = feature.without.iter().flat_map(|(hooks, _)| *hooks).collect();
            assert!(named.iter().all(|h| HOOKS.contains(h)), "{}", feature.title);
            assert!(named.len() < HOOKS.len(), "{} is tried nowhere", feature.title);
        }
    }
}
