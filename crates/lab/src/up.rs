//! A lab by hand: up until it is told to go, in the foreground or in the background.

use crate::cluster::Lab;
use crate::net::netns;
use crate::place::Place;
use crate::topology::{Topology, place_of};
use crate::{cgroup, kubelet, state};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The file that says that a lab is up, agents included.
const READY: &str = "ready";

/// Brings a lab up, with Shunt or without, tells how to use it, and takes it down at SIGINT or SIGTERM.
pub fn up(topology: Topology, agents: bool) -> Result<()> {
    let lab = if agents { Lab::up(topology)? } else { Lab::without_agents(topology)? };
    stay(&lab)
}

/// Tells how to use a lab, and returns at SIGINT or SIGTERM.
pub fn stay(lab: &Lab) -> Result<()> {
    let name = &lab.topology.name;
    println!("{}\nIt stays up until you press Ctrl-C, or: shunt-lab down {name}", hints(name));
    fs::write(lab.dir().join(READY), "")?;
    wait_for_interrupt()
}

/// How to get around in a lab that is up.
fn hints(name: &str) -> String {
    let dir = state::dir(name);
    let exec = format!("shunt-lab exec --name {name}");
    [
        format!("The lab `{name}` is up."),
        format!("  a shell on a node:    {exec} node1 -- bash       (also pod1-1, client, router)"),
        format!("  the same by hand:     nsenter --net=/var/run/netns/shunt-{name}-node1 bash"),
        format!("  kubectl:              export KUBECONFIG={}", dir.join("kubeconfig").display()),
        format!(
            "  the agent's commands: shunt --run-dir {} --bpf-root {} status",
            dir.join("node1").display(),
            dir.join("bpf/node1").display()
        ),
        format!("  the agent's log:      {}", dir.join("node1/agent.log").display()),
    ]
    .join("\n")
}

/// Brings a lab up in a session of its own, and returns when it is.
pub fn detach(name: &str) -> Result<()> {
    if let Some(pid) = state::owner(name) {
        bail!("the lab {name} is up already, in process {pid}; take it down with: shunt-lab down {name}");
    }
    let log = state::log(name);
    fs::create_dir_all(log.parent().context("a folder of labs")?)?;
    let out = File::create(&log).with_context(|| format!("{}", log.display()))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1).filter(|arg| arg != "--detach"));
    command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
    // SAFETY: a system call without arguments between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::setsid() {
            -1 => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
    let mut child = command.spawn()?;
    while !state::dir(name).join(READY).exists() {
        if child.try_wait()?.is_some() {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let _ = fs::remove_file(&log);
            bail!("the lab {name} did not come up:\n{}", text.trim());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("{}\nTake it down with: shunt-lab down {name}", hints(name));
    Ok(())
}

/// Returns at SIGINT or SIGTERM.
pub fn wait_for_interrupt() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut interrupt, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = term.recv() => {}
        }
        Ok(())
    })
}

/// Runs a command where a lab's processes run; its exit code.
pub fn exec(lab: &str, name: &str, command: &[String]) -> Result<u8> {
    let all = netns::of_lab(lab);
    let Some(netns) = all.iter().find(|netns| place_of(lab, netns.name()) == Some(name)) else {
        let mut known: Vec<&str> = all.iter().filter_map(|netns| place_of(lab, netns.name())).collect();
        known.sort_unstable();
        bail!("lab {lab} has no {name}; it has: {}", known.join(", "));
    };
    let cgroup = cgroup_of(lab, name)?;
    let place = Place { name: name.to_owned(), netns: netns.clone(), cgroup };
    let (program, args) = command.split_first().context("no command")?;
    let status = place.command(program)?.args(args).status().with_context(|| program.clone())?;
    Ok(status.code().unwrap_or(1) as u8)
}

/// Where processes of a place are: a node's own in NODE/host, a pod's where its kubelet has them; `None` outside of nodes.
fn cgroup_of(lab: &str, place: &str) -> Result<Option<PathBuf>> {
    let root = cgroup::root(lab)?;
    Ok(match place.strip_prefix("pod").and_then(|rest| rest.split_once('-')) {
        Some((node, _)) => kubelet::find(&root.join(format!("node{node}")), place),
        None => Some(root.join(place).join("host")).filter(|path| path.is_dir()),
    })
}
