//! Tables of other projects' cases: each row is tried here, or names the case that tries it, or says why it does not apply.

use crate::world::{BOTH, Family};
use std::process::Command;

/// Where a row of theirs is tried.
pub enum At {
    /// By this function, for both families, whichever the original is of.
    Here(fn(Family)),
    /// By a case under another name, which does the same and more.
    Case(&'static str),
    /// Not at all, because of this.
    No(&'static str),
}

/// Tries a table of so many rows.
pub fn run(table: &[(&str, At)], rows: usize) {
    assert_eq!(table.len(), rows, "a row for each of theirs");
    let cases = cases();
    for (row, at) in table {
        match at {
            At::Here(case) => {
                // Said only when the case fails.
                println!("{row}");
                BOTH.iter().for_each(|f| case(*f));
            }
            At::Case(name) => {
                assert!(cases.iter().any(|case| case == name), "{row}: there is no case {name}")
            }
            At::No(why) => assert!(!why.is_empty(), "{row}: no reason"),
        }
    }
}

/// The names of all cases of this program.
fn cases() -> Vec<String> {
    let list = Command::new(std::env::current_exe().unwrap()).arg("--list").output().unwrap();
    let text = String::from_utf8(list.stdout).unwrap();
    text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}
