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
/// What the verifier allows a program: bytes of stack.
const MOST_STACK: u32 = 512;

/// What a program took of what the verifier allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cost {
    /// Instructions that the verifier walked.
    pub walked: u32,
    /// Bytes of stack.
    pub stack: u32,
}

/// A program in one configuration of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Load {
    /// Its name.
    pub program: String,
    /// As `crates/datapath/examples/verifier.rs` calls it.
    pub configuration: String,
}

/// Costs by load, then by kernel.
pub struct Budget(BTreeMap<Load, BTreeMap<String, Cost>>);

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
            rows.next().context("the budget has no heading")?.split_whitespace().skip(2).collect();
        let mut budget = BTreeMap::new();
        for row in rows {
            let mut words = row.split_whitespace().map(str::to_owned);
            let (program, configuration) =
                words.next().zip(words.next()).with_context(|| format!("in the budget: {row}"))?;
            let costs: &mut BTreeMap<String, Cost> =
                budget.entry(Load { program, configuration }).or_default();
            for (kernel, cell) in kernels.iter().zip(words).filter(|(_, cell)| cell != "-") {
                let cost = Cost::parse(&cell).with_context(|| format!("in the budget: {row}"))?;
                costs.insert((*kernel).to_owned(), cost);
            }
        }
        Ok(Self(budget))
    }

    /// Takes what was measured on a kernel as its budget.
    pub fn set(&mut self, kernel: &str, verified: &[(Load, Cost)]) {
        for costs in self.0.values_mut() {
            costs.remove(kernel);
        }
        for (load, cost) in verified {
            self.0.entry(load.clone()).or_default().insert(kernel.to_owned(), *cost);
        }
        self.0.retain(|_, costs| !costs.is_empty());
    }

    /// What is over budget, or has none, or was not measured.
    pub fn exceeded(&self, kernel: &str, verified: &[(Load, Cost)]) -> Vec<String> {
        let over = |(load, cost): &(Load, Cost)| {
            let Some(budget) = self.0.get(load).and_then(|costs| costs.get(kernel)) else {
                return Some(format!(
                    "{kernel}: {load} has no verifier budget: test-kernels --bless sets it"
                ));
            };
            let most = u64::from(budget.walked) * (100 + SLACK_PERCENT) / 100;
            let over = u64::from(cost.walked) > most || cost.stack > budget.stack;
            over.then(|| format!("{kernel}: {load} costs {cost} (instructions/stack), budget {budget}"))
        };
        let budgeted = self.0.iter().filter(|(_, costs)| costs.contains_key(kernel)).map(|(load, _)| load);
        let missing = budgeted.filter(|load| !verified.iter().any(|(l, _)| l == *load));
        let missing = missing.map(|load| format!("{kernel}: {load} was not loaded"));
        verified.iter().filter_map(over).chain(missing).collect()
    }

    /// Writes the budget into the tree.
    pub fn write(&self) -> Result<()> {
        let note = format!(
            "# For each program in each configuration: instructions that the verifier walks, of a million, and bytes of stack, of\n\
             # {MOST_STACK}. Written by `cargo xtask test-kernels --bless`; {SLACK_PERCENT} % more instructions or a byte more of stack fails the test.\n"
        );
        fs::create_dir_all(file().parent().context("the budget lies in a directory")?)?;
        fs::write(file(), format!("{note}{self}")).context("cannot write the budget")
    }

    /// The costliest configuration of each program on a kernel.
    pub fn worst(verified: &[(Load, Cost)]) -> BTreeMap<&str, (&str, Cost)> {
        let mut worst: BTreeMap<&str, (&str, Cost)> = BTreeMap::new();
        for (load, cost) in verified {
            let row = worst.entry(&load.program).or_insert((&load.configuration, *cost));
            if cost.walked > row.1.walked {
                *row = (&load.configuration, *cost);
            }
        }
        worst
    }
}

impl Cost {
    fn parse(cell: &str) -> Option<Self> {
        let (walked, stack) = cell.split_once('/')?;
        Some(Self { walked: walked.parse().ok()?, stack: stack.parse().ok()? })
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.walked, self.stack))
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.program, self.configuration)
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<14}{:<18}", "program", "configuration")?;
        for kernel in &KERNELS {
            write!(f, "{:>12}", kernel.name)?;
        }
        writeln!(f)?;
        for (Load { program, configuration }, costs) in &self.0 {
            write!(f, "{program:<14}{configuration:<18}")?;
            for kernel in &KERNELS {
                match costs.get(kernel.name) {
                    Some(cost) => write!(f, "{cost:>12}")?,
                    None => write!(f, "{:>12}", "-")?,
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

    fn measured(walked: u32, stack: u32) -> Vec<(Load, Cost)> {
        let load = Load { program: "connect4".into(), configuration: "dual,opt".into() };
        vec![(load, Cost { walked, stack })]
    }

    fn budget() -> Budget {
        let mut budget = Budget(BTreeMap::new());
        budget.set("6.1", &measured(1000, 64));
        budget
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut budget = budget();
        budget.set("newest", &measured(900, 64));
        assert_eq!(Budget::parse(&budget.to_string()).unwrap().0, budget.0);
    }

    #[test]
    fn a_few_more_instructions_are_allowed_many_are_not_and_no_stack() {
        let budget = budget();
        assert!(budget.exceeded("6.1", &measured(1050, 64)).is_empty());
        assert_eq!(budget.exceeded("6.1", &measured(1051, 64)).len(), 1);
        assert_eq!(budget.exceeded("6.1", &measured(1000, 80)).len(), 1);
        assert_eq!(
            budget.exceeded("6.12", &measured(1, 0)).len(),
            1,
            "no budget is not a budget of anything"
        );
        assert_eq!(budget.exceeded("6.1", &[]).len(), 1, "what is not loaded is not well");
    }
}
