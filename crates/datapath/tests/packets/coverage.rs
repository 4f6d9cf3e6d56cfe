//! What the cases ran, for the page that says what they cover (`cargo xtask coverage`).

use crate::world::Family;
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::Mutex;

/// Names the file that each new line is added to; without it nothing is noted. Not one of ours by its name: the agent warns
/// of those that it does not know.
const FILE: &str = "PACKET_CASE_NOTES";

static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Notes that the test that is running has sent a packet of a family through a hook: `MODULE::TEST FAMILY HOOK`.
pub fn ran(family: Family, hook: &str) {
    let Some(file) = std::env::var_os(FILE) else { return };
    // The harness names the thread of each test after it.
    let thread = std::thread::current();
    let Some(test) = thread.name() else { return };
    let line = format!("{test} {family:?} {hook}\n");
    if SEEN.lock().expect("no test panics here").insert(line.clone()) {
        let mut file = OpenOptions::new().create(true).append(true).open(file).expect("a file to note it in");
        file.write_all(line.as_bytes()).expect("room for a line");
    }
}
