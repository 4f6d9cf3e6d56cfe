//! What makes `shunt agent` stand in for `kube-proxy`: its flags, and its name.

use super::{Done, Failure};
use crate::config::Config;
use crate::config::kube_proxy::{Note, gates};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The flags of kube-proxy that a cluster's DaemonSet may give (`cmd/kube-proxy/app/options.go`).
#[derive(clap::Args, Clone, Default, Debug)]
pub(super) struct Compatible {
    /// This node's name in Kubernetes, as kube-proxy takes it
    #[arg(long, value_name = "NAME", conflicts_with = "node_name")]
    hostname_override: Option<String>,
    /// URL of the API server, in place of the one in the kubeconfig file
    #[arg(long, value_name = "URL")]
    master: Option<String>,
    /// Remove every trace of Shunt from this node and exit
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(super) cleanup: bool,
    /// Check the node, load and pin programs and maps, attach the socket hooks, and exit; what the maps hold stays
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(super) init_only: bool,
    /// Write the configuration, with every default, to a file and exit
    #[arg(long, value_name = "FILE")]
    pub(super) write_config_to: Option<PathBuf>,
    /// How much to log: debug from 4, trace from 6; SHUNT_LOG says it in detail
    #[arg(short = 'v', long = "v", value_name = "NUMBER", default_value_t = 0)]
    pub(super) verbosity: u8,
    /// Feature gates of kube-proxy, A=true,B=false; AllowServiceExternalIPs has a meaning here
    #[arg(long, value_name = "GATES", value_parser = parse_gates)]
    feature_gates: Option<Gates>,
}

#[derive(Clone, Debug)]
struct Gates(Vec<(String, bool)>);

fn parse_gates(text: &str) -> Result<Gates, String> {
    gates::parse(text).map(Gates)
}

impl Compatible {
    /// As settings: key, flag, value.
    pub(super) fn flags(&self) -> Vec<(&'static str, &'static str, String)> {
        let name = self.hostname_override.as_ref().map(|n| n.trim().to_lowercase()).filter(|n| !n.is_empty());
        let mut flags: Vec<_> = name.map(|n| ("nodeName", "hostname-override", n)).into_iter().collect();
        flags.extend(self.master.clone().filter(|m| !m.is_empty()).map(|m| ("k8sServiceHost", "master", m)));
        let asked = self.feature_gates.iter().flat_map(|Gates(asked)| gates::gates(asked).0);
        flags.extend(asked.map(|(key, value)| (key, "feature-gates", value)));
        flags
    }

    pub(super) fn log_notes(&self) {
        if let Some(Note::Warning(text)) = self.feature_gates.as_ref().and_then(|Gates(g)| gates::gates(g).1)
        {
            tracing::warn!("{text}");
        }
    }
}

/// klog's numbers as our levels.
pub(super) const fn level(verbosity: u8) -> &'static str {
    match verbosity {
        0..=3 => "info",
        4..=5 => "info,shunt=debug,shunt_datapath=debug,shunt_model=debug",
        _ => "info,shunt=trace,shunt_datapath=trace,shunt_model=trace",
    }
}

/// `--write-config-to`.
pub(super) fn write_config(config: &Config, path: &Path) -> Done {
    let failed = |what: String| Failure::Problem(format!("--write-config-to {}: {what}", path.display()));
    let text = config.resolved.yaml().map_err(failed)?;
    std::fs::write(path, text).map_err(|e| failed(e.to_string()))?;
    Ok(ExitCode::SUCCESS)
}

/// The command line. Called as `kube-proxy` the binary is the agent, so that a DaemonSet needs only another image; its
/// flags may be written with underscores then.
pub(super) fn arguments(arguments: Vec<OsString>) -> Vec<OsString> {
    let name = arguments.first().map(PathBuf::from);
    if name.as_deref().and_then(Path::file_name).is_none_or(|name| name != "kube-proxy") {
        return arguments;
    }
    let mut rest = arguments.into_iter().skip(1).map(dashes).peekable();
    let version = rest.peek().is_some_and(|a| a == "--version" || a == "--version=true");
    let command =
        if version { vec!["shunt".into(), "--version".into()] } else { vec!["shunt".into(), "agent".into()] };
    command.into_iter().chain(rest.filter(|_| !version)).collect()
}

fn dashes(argument: OsString) -> OsString {
    match argument.to_str() {
        Some(text) if text.starts_with("--") => {
            let (name, value) = text.find('=').map_or((text, ""), |at| text.split_at(at));
            format!("{}{value}", name.replace('_', "-")).into()
        }
        _ => argument,
    }
}

#[cfg(test)]
#[path = "kube_proxy_tests.rs"]
mod tests;
