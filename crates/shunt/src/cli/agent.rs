//! `shunt agent`.

use super::kube_proxy::{self, Compatible};
use super::{Common, Done, Failure, cleanup};
use crate::config::{Config, Layers, Resolved};
use clap::ValueEnum;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// Flags of the agent; each stands for a configuration key and wins over every other layer.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) layers: LayerArgs,
    /// This node's name in Kubernetes [default: the host name]
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// Serve the manifests in a directory in place of an API server's objects
    #[arg(long, value_name = "DIR", conflicts_with = "kubeconfig")]
    manifests: Option<String>,
    /// Reach the API server by a kubeconfig file
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<String>,
    /// The cgroup v2 whose sockets are translated [default: the cgroup2 mount]
    #[arg(long, value_name = "DIR")]
    cgroup_root: Option<String>,
    #[command(flatten)]
    pub(super) kube_proxy: Compatible,
    /// Form of the log
    #[arg(long, value_enum, default_value = "text", env = "SHUNT_LOG_FORMAT")]
    log_format: LogFormat,
}

/// Where configuration comes from.
#[derive(clap::Args, Clone, Default, Debug)]
pub(crate) struct LayerArgs {
    /// Configuration file (shunt.yaml)
    #[arg(long, value_name = "FILE", env = "SHUNT_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// kube-proxy configuration file, whose values are defaults below those of --config
    #[arg(long, value_name = "FILE", env = "SHUNT_KUBE_PROXY_CONFIG")]
    pub(crate) kube_proxy_config: Option<PathBuf>,
    /// Set a configuration key; may be given again
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

impl LayerArgs {
    /// Whether anything is said, so that it is this configuration and not the running agent's that is asked about.
    pub(crate) fn given(&self) -> bool {
        self.config.is_some() || self.kube_proxy_config.is_some() || !self.set.is_empty()
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// Resolves every layer; wrong ones are a usage error that tells all of it.
pub(crate) fn resolve(
    layers: &LayerArgs,
    flags: Vec<(&'static str, &'static str, String)>,
) -> Result<Resolved, Failure> {
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let layers = Layers {
        kube_proxy: layers.kube_proxy_config.clone(),
        file: layers.config.clone(),
        environment,
        set: layers.set.clone(),
        flags,
    };
    Resolved::new(&layers).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Failure::Usage(format!("configuration: {}", lines.join("\n       ")))
    })
}

impl Args {
    fn flags(&self, common: &Common) -> Vec<(&'static str, &'static str, String)> {
        let path = |p: &Option<PathBuf>| p.as_ref().map(|p| p.display().to_string());
        [
            ("nodeName", "node-name", self.node_name.clone()),
            ("manifests", "manifests", self.manifests.clone()),
            ("kubeconfig", "kubeconfig", self.kubeconfig.clone()),
            ("cgroupRoot", "cgroup-root", self.cgroup_root.clone()),
            ("runDir", "run-dir", path(&common.run_dir)),
            ("bpfRoot", "bpf-root", path(&common.bpf_root)),
        ]
        .into_iter()
        .filter_map(|(key, flag, value)| Some((key, flag, value?)))
        .chain(self.kube_proxy.flags())
        .collect()
    }
}

pub(super) fn run(args: &Args, common: &Common) -> Done {
    log(args.log_format, args.kube_proxy.verbosity);
    args.kube_proxy.log_notes();
    let resolved = resolve(&args.layers, args.flags(common))?;
    let config = Config::new(resolved).map_err(Failure::Usage)?;
    if let Some(path) = &args.kube_proxy.write_config_to {
        return kube_proxy::write_config(&config, path);
    }
    if args.kube_proxy.cleanup {
        let common = Common { run_dir: config.path("runDir"), bpf_root: config.path("bpfRoot") };
        return cleanup::run(&cleanup::Args { force: false }, &common);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::Problem(format!("runtime: {e}")))?;
    let done = if args.kube_proxy.init_only {
        runtime.block_on(crate::agent::init(config))
    } else {
        runtime.block_on(crate::agent::run(config))
    };
    done.map_err(Failure::Problem)?;
    Ok(ExitCode::SUCCESS)
}

/// Starts the log on standard error, and makes a panic of any task the end of the process: half an agent is worse
/// than none, since the datapath goes on by itself.
fn log(format: LogFormat, verbosity: u8) {
    // The client libraries log each failed try; the agent tells it once.
    let quiet = "kube_client=off,kube_runtime=off,tower=off,netlink_proto=error";
    let filter = EnvFilter::try_from_env("SHUNT_LOG")
        .unwrap_or_else(|_| EnvFilter::new(format!("{},{quiet}", kube_proxy::level(verbosity))));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt()
        .with_ansi(colour)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    // A second start in one process (tests) keeps the first log.
    _ = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    std::panic::set_hook(Box::new(|info| {
        tracing::error!(panic = %info, "BUG: the agent panicked; the datapath goes on without it");
        std::process::exit(101);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Set where a test is run by a test, to see how its process ends.
    const ALONE: &str = "PANIC_ALONE";

    #[test]
    fn a_panic_of_any_thread_is_told_and_ends_the_agent() {
        if std::env::var_os(ALONE).is_some() {
            log(LogFormat::Text, 0);
            // Without our hook this is the end of a thread, and the test passes.
            _ = std::thread::spawn(|| panic!("a bug")).join();
            return;
        }
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args([
            "--exact",
            "--nocapture",
            "cli::agent::tests::a_panic_of_any_thread_is_told_and_ends_the_agent",
        ]);
        let done = again.env(ALONE, "1").env_remove("SHUNT_LOG").output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(101), "{said}{}", String::from_utf8_lossy(&done.stdout));
        assert!(said.contains("BUG: the agent panicked") && said.contains("a bug"), "{said}");
    }
}
