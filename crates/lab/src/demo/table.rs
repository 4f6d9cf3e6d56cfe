//! The demo's table.

use super::rows::{Check, How, Outcome, checks, run};
use crate::cluster::Lab;
use anyhow::Result;

/// Runs and prints every row; the number of those that failed.
pub fn print(lab: &Lab) -> Result<usize> {
    println!("\n{:<39} {:<9} {:<24} {:<34} {:<32} ", "WHAT", "BY", "TO", "ANSWERED BY (TIMES)", "SEEN AS");
    let mut failed = 0;
    for check in checks(lab)? {
        let outcome = run(&check)?;
        failed += usize::from(!outcome.wrong.is_empty());
        println!("{}", line(&check, &outcome));
    }
    Ok(failed)
}

fn line(check: &Check, outcome: &Outcome) -> String {
    let how = match check.how {
        How::Curl => "curl",
        How::Udp => "udp",
        How::UdpConnected => "udp conn.",
    };
    let spread: Vec<String> = outcome.spread.iter().map(|(name, times)| format!("{name} {times}")).collect();
    let spread = if spread.len() > 2 {
        format!("{} pods, {} to {} times", spread.len(), least(outcome), most(outcome))
    } else {
        spread.join(", ")
    };
    let seen = match outcome.seen.len() {
        0 => "-".to_owned(),
        1 | 2 => outcome.seen.iter().cloned().collect::<Vec<_>>().join(", "),
        n => format!("{n} addresses"),
    };
    let verdict =
        if outcome.wrong.is_empty() { "PASS".to_owned() } else { format!("FAIL {}", outcome.wrong[0]) };
    format!("{:<39} {how:<9} {:<24} {spread:<34} {seen:<32} {verdict}", check.what, check.to.to_string())
}

fn least(outcome: &Outcome) -> u32 {
    outcome.spread.values().copied().min().unwrap_or(0)
}

fn most(outcome: &Outcome) -> u32 {
    outcome.spread.values().copied().max().unwrap_or(0)
}
