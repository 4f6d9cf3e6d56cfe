//! The demo, as `cargo xtask demo` runs it: what it shows, what it leaves, and what it tells to do by hand.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use shunt_lab::cluster::lab_binary;
use std::path::Path;
use std::process::Command;

/// What it prints; it must end by itself, well.
fn lab(args: &[&str]) -> String {
    let mut command = Command::new("timeout");
    command.args(["--signal=INT", "120"]).arg(lab_binary().unwrap()).args(args);
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{args:?}: {}\n{said}", String::from_utf8_lossy(&done.stderr));
    said
}

#[test]
fn the_demo_shows_every_way_in_and_leaves_nothing() {
    let said = lab(&["demo", "--name", "shown"]);
    let passed = said.lines().filter(|line| line.contains("PASS")).count();
    assert!(passed >= 50, "{passed} rows:\n{said}");
    for words in [
        "client to NodePort, remote backend",
        "connections, 0 failed",
        "$ shunt status",
        "KubeProxyReplacement:",
        "$ shunt service list",
        "nothing is left",
    ] {
        assert!(said.contains(words), "no {words:?} in:\n{said}");
    }
    assert!(!Path::new("/run/shunt-lab/shown").exists());
}

#[test]
fn what_a_lab_that_stays_tells_to_do_works_as_it_stands() {
    let said = lab(&["up", "--name", "stays", "--nodes", "1", "--detach"]);
    let tool = lab_binary().unwrap();
    let folder = tool.parent().unwrap().display().to_string();
    let by_hand = |label: &str| {
        let line = said
            .lines()
            .find(|line| line.trim_start().starts_with(label))
            .unwrap_or_else(|| panic!("{said}"));
        line.split_once(": ").unwrap().1.trim().to_owned()
    };
    let run = |script: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-ec", script]).env("PATH", format!("{folder}:{}", std::env::var("PATH").unwrap()));
        let done = shell.output().unwrap();
        assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    // The line goes on in words, three spaces further.
    let shell = by_hand("a shell on a node");
    let shell = shell.split("   ").next().unwrap().trim().replace("bash", "ip -br address show eth0");
    assert!(run(&shell).contains("192.168.60.11"), "{shell}");
    let namespace = by_hand("the same by hand").replace("bash", "ip -br address show eth0");
    assert!(run(&namespace).contains("192.168.60.11"), "{namespace}");
    let kubectl = format!("{}; kubectl get nodes -o name", by_hand("kubectl"));
    assert_eq!(run(&kubectl), "node/node1\n");
    assert!(run(&by_hand("the agent's commands")).contains("KubeProxyReplacement:"));
    assert!(run(&format!("cat {}", by_hand("the agent's log"))).contains("datapath up"));
    lab(&["down", "stays"]);
    assert!(!Path::new("/run/shunt-lab/stays").exists());
}
