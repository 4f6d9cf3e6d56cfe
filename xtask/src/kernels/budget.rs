//! How many instructions the verifier may walk, per program and kernel.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::sh;
use crate::versions::KERNELS;

/// More than this many percent above the budget is a failure: a compiler's whim is not, a lost bound is.
const SLACK_PERCENT: u64 = 5;

/// Instructions by program, then by kernel.
pub struct Budget(BTreeMap<String, BTreeMap<String, u32>>);

fn file() -> PathBuf {
    sh::root().join("docs/reference/verifier-budget.txt")
}

impl Budget {
    /// The budget in the tree; empty before the first `--bless`.
    pub fn read() -> Result<Self> {
        if !file().is_file() {
            return Ok(Self(BTreeMap::new()));
        }
        Self::parse(&fs::read_to_string(file())?)
    }

    fn parse(text: &str) -> Result<Self> {
        let mut rows = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        let kernels: Vec<&str> =
            rows.next().context("the budget has no heading")?.split_whitespace().skip(1).collect();
        let mut budget = BTreeMap::new();
        for row in rows {
            let mut words = row.split_whitespace();
            let program = words.next().unwrap_or_default().to_owned();
            let counts: &mut BTreeMap<String, u32> = budget.entry(program).or_default();
            for (kernel, count) in kernels.iter().zip(words).filter(|(_, count)| *count != "-") {
                let count = count.parse().with_context(|| format!("in the budget: {row}"))?;
                counts.insert((*kernel).to_owned(), count);
            }
        }
        Ok(Self(budget))
    }

    /// Takes what was measured on a kernel as its budget.
    pub fn set(&mut self, kernel: &str, verified: &[(String, u32, String)]) {
        for counts in self.0.values_mut() {
            counts.remove(kernel);
        }
        for (program, count, _) in verified {
            self.0.entry(program.clone()).or_default().insert(kernel.to_owned(), *count);
        }
        self.0.retain(|_, counts| !counts.is_empty());
    }

    /// What is over budget, or has none.
    pub fn exceeded(&self, kernel: &str, verified: &[(String, u32, String)]) -> Vec<String> {
        let over = |(program, count, configuration): &(String, u32, String)| {
            let Some(budget) = self.0.get(program).and_then(|counts| counts.get(kernel)) else {
                return Some(format!(
                    "{kernel}: {program} has no verifier budget: test-kernels --bless sets it"
                ));
            };
            let most = u64::from(*budget) * (100 + SLACK_PERCENT) / 100;
            (u64::from(*count) > most).then(|| {
                format!("{kernel}: {program} ({configuration}) costs {count} verified instructions, budget {budget}")
            })
        };
        verified.iter().filter_map(over).collect()
    }

    /// Writes the budget into the tree.
    pub fn write(&self) -> Result<()> {
        let note = "# Instructions that the verifier walks, the costliest configuration of each program.\n\
                    # Written by `cargo xtask test-kernels --bless`; more than 5 % above fails the test.\n";
        fs::create_dir_all(file().parent().context("the budget lies in a directory")?)?;
        fs::write(file(), format!("{note}{self}")).context("cannot write the budget")
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<16}", "program")?;
        for kernel in &KERNELS {
            write!(f, "{:>9}", kernel.name)?;
        }
        writeln!(f)?;
        for (program, counts) in &self.0 {
            write!(f, "{program:<16}")?;
            for kernel in &KERNELS {
                match counts.get(kernel.name) {
                    Some(count) => write!(f, "{count:>9}")?,
                    None => write!(f, "{:>9}", "-")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(count: u32) -> Vec<(String, u32, String)> {
        vec![("connect4".into(), count, "dual".into())]
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut budget = Budget(BTreeMap::new());
        budget.set("6.1", &measured(1000));
        budget.set("newest", &measured(900));
        assert_eq!(Budget::parse(&budget.to_string()).unwrap().0, budget.0);
    }

    #[test]
    fn a_little_more_is_allowed_a_lot_is_not() {
        let mut budget = Budget(BTreeMap::new());
        budget.set("6.1", &measured(1000));
        assert!(budget.exceeded("6.1", &measured(1050)).is_empty());
        assert_eq!(budget.exceeded("6.1", &measured(1051)).len(), 1);
        assert_eq!(budget.exceeded("6.12", &measured(1)).len(), 1, "no budget is not a budget of anything");
    }
}
