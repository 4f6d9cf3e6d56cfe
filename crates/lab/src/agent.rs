//! A node's `shunt agent`, as a process that can be started, killed and asked.

use crate::place::{Place, Process};
use anyhow::{Context, Result, bail};
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// The binary: `$SHUNT_BIN`, or `shunt` beside this executable or one folder up (test binaries lie in `deps`).
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("SHUNT_BIN") {
        return Ok(path.into());
    }
    beside("shunt")
}

/// This project's other binary by name: beside the running one, or, for a test binary, where release builds are put.
pub fn beside(name: &str) -> Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let folders = exe.ancestors().skip(1).take(3);
    let found =
        folders.flat_map(|dir| [dir.join(name), dir.join("release").join(name)]).find(|path| path.is_file());
    found.with_context(|| {
        format!("no {name} beside {}; build it first (cargo build --release)", exe.display())
    })
}

/// An agent and where its things are.
#[derive(Debug)]
pub struct Agent {
    node: String,
    place: Place,
    /// Where its socket is.
    pub run_dir: PathBuf,
    /// Where its pins are.
    pub bpf_root: PathBuf,
    /// The cgroup whose sockets it translates.
    pub cgroup_root: PathBuf,
    /// More arguments for the agent, such as `--set key=value`.
    pub extra: Vec<String>,
    /// Variables in its environment, beside those of who starts it.
    pub env: Vec<(String, String)>,
    kubeconfig: PathBuf,
    process: Option<Process>,
}

impl Agent {
    /// An agent that is not started yet; `dir` is for its files.
    pub fn new(
        node: &str,
        place: Place,
        dir: &Path,
        bpf_root: PathBuf,
        cgroup_root: PathBuf,
        kubeconfig: PathBuf,
    ) -> Self {
        let run_dir = dir.join(node);
        Self {
            node: node.into(),
            place,
            run_dir,
            bpf_root,
            cgroup_root,
            extra: Vec::new(),
            env: Vec::new(),
            kubeconfig,
            process: None,
        }
    }

    /// Starts it; its log goes on in one file over restarts.
    pub fn start(&mut self) -> Result<()> {
        fs::create_dir_all(&self.run_dir)?;
        let log = OpenOptions::new().create(true).append(true).open(self.log())?;
        let mut command = self.place.command(binary()?)?;
        command.arg("agent").args(["--node-name", &self.node]).arg("--kubeconfig").arg(&self.kubeconfig);
        command.arg("--bpf-root").arg(&self.bpf_root).arg("--cgroup-root").arg(&self.cgroup_root);
        command.arg("--run-dir").arg(&self.run_dir).args(&self.extra);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(std::process::Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("starting the agent of {}", self.node))?;
        self.process = Some(Process::new(child));
        Ok(())
    }

    /// Its log.
    pub fn log(&self) -> PathBuf {
        self.run_dir.join("agent.log")
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// SIGTERM, and the end of it.
    pub fn term(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.term()?;
        }
        Ok(())
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// True once it has come to its end by itself: it waits for us, as a zombie.
    fn has_ended(&self) -> bool {
        let Some(id) = self.id() else { return false };
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
    }

    /// Runs a `shunt` command for this node.
    pub fn cli(&self, args: &[&str]) -> Result<Output> {
        let mut command: Command = self.place.command(binary()?)?;
        command.arg("--run-dir").arg(&self.run_dir).arg("--bpf-root").arg(&self.bpf_root).args(args);
        command.output().with_context(|| format!("shunt {}", args.join(" ")))
    }

    /// What a command prints; an error when it fails.
    pub fn ask(&self, args: &[&str]) -> Result<String> {
        let done = self.cli(args)?;
        if !done.status.success() {
            bail!("shunt {} on {}: {}", args.join(" "), self.node, String::from_utf8_lossy(&done.stderr));
        }
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }

    /// Waits until it says that all is well.
    pub fn wait_ready(&self, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            let done = self.cli(&["status", "--brief"])?;
            if done.status.success() {
                return Ok(());
            }
            if Instant::now() > end || self.has_ended() {
                let log = fs::read_to_string(self.log()).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(15).collect();
                bail!(
                    "the agent of {} is not ready: {}{}\nits log:\n{}",
                    self.node,
                    String::from_utf8_lossy(&done.stdout),
                    String::from_utf8_lossy(&done.stderr),
                    tail.into_iter().rev().collect::<Vec<_>>().join("\n")
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
