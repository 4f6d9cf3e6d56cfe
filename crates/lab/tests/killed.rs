//! However a lab ends, nothing of it stays, or one command removes it.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use shunt_lab::state::{dir, leftovers, owner};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// A `shunt-lab up` in the foreground: this process, and the one it watches.
struct Up {
    name: &'static str,
    watcher: Child,
    watched: u32,
}

fn shunt_lab(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shunt-lab"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn up(name: &'static str) -> Up {
    let args = ["up", "--name", name, "--nodes", "1", "--pods", "1", "--without-agents"];
    let mut watcher = shunt_lab(&args).spawn().unwrap();
    // Other labs may have to end first.
    while !dir(name).join("ready").exists() {
        assert_eq!(watcher.try_wait().unwrap(), None, "it came to its end before it was up");
        sleep(Duration::from_millis(20));
    }
    Up { name, watcher, watched: owner(name).unwrap() }
}

fn signal(pid: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

fn run(args: &[&str]) -> Output {
    shunt_lab(args).stdout(Stdio::piped()).output().unwrap()
}

fn nothing_stays(name: &str) {
    let mut left = Vec::new();
    for _ in 0..250 {
        left = leftovers(name).unwrap();
        if left.is_empty() {
            return;
        }
        sleep(Duration::from_millis(20));
    }
    panic!("left behind: {left:#?}");
}

#[test]
fn a_lab_whose_process_is_killed_is_removed_by_its_watcher() {
    let mut lab = up("killed-watched");
    assert!(!leftovers(lab.name).unwrap().is_empty(), "a lab that is up is seen");
    signal(lab.watched, "-KILL");
    assert_eq!(lab.watcher.wait().unwrap().code(), Some(128 + 9));
    nothing_stays(lab.name);
}

#[test]
fn a_lab_whose_watcher_is_killed_takes_itself_down() {
    let mut lab = up("killed-watcher");
    lab.watcher.kill().unwrap();
    lab.watcher.wait().unwrap();
    nothing_stays(lab.name);
}

#[test]
fn a_lab_whose_processes_are_all_killed_is_removed_by_a_command() {
    let mut lab = up("killed-both");
    // Stopped, the watched process cannot react to the death of its watcher.
    signal(lab.watched, "-STOP");
    lab.watcher.kill().unwrap();
    lab.watcher.wait().unwrap();
    signal(lab.watched, "-KILL");
    while owner(lab.name).is_some() {
        sleep(Duration::from_millis(20));
    }
    assert!(!leftovers(lab.name).unwrap().is_empty());
    let list = String::from_utf8(run(&["list"]).stdout).unwrap();
    let line = list.lines().find(|line| line.starts_with("killed-both ")).unwrap();
    assert!(line.contains("killed; `shunt-lab down killed-both`"), "{line}");
    assert!(run(&["down", lab.name]).status.success());
    nothing_stays(lab.name);
}

#[test]
fn down_ends_a_lab_that_another_process_has_up() {
    let mut lab = up("killed-down");
    let list = String::from_utf8(run(&["list"]).stdout).unwrap();
    assert!(list.contains(&format!("up, in process {}", lab.watched)), "{list}");
    let id = run(&["exec", "--name", lab.name, "pod1-1", "--", "cat", "/proc/self/cgroup"]).stdout;
    let id = String::from_utf8(id).unwrap();
    assert!(id.contains("/shunt-lab/killed-down/node1/kubepods.slice/kubepods-besteffort.slice/"), "{id}");
    assert!(id.contains("/cri-containerd-pod1-1.scope\n"), "{id}");
    let done = shunt_lab(&["exec", "--name", lab.name, "node2", "--", "true"])
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert!(String::from_utf8(done.stderr).unwrap().contains("it has: client, node1, pod1-1, router"));
    assert!(run(&["down", lab.name]).status.success());
    assert_eq!(lab.watcher.wait().unwrap().code(), Some(0));
    nothing_stays(lab.name);
}
