//! `shunt check`.

use super::agent::{LayerArgs, resolve};
use super::output::Output;
use super::{Common, Done, Failure, client};
use crate::check::{self, Row, Verdict};
use crate::config::{Config, Shown};
use std::net::IpAddr;
use std::process::ExitCode;

/// Flags.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    layers: LayerArgs,
    /// This node's name in Kubernetes [default: the host name]
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// Reach the API server by a kubeconfig file
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<String>,
    /// The cgroup v2 whose sockets would be translated [default: the cgroup2 mount]
    #[arg(long, value_name = "DIR")]
    cgroup_root: Option<String>,
    /// Ask this address of another node, or of a pod there, in place of those that the API server tells; may be given again
    #[arg(long = "peer", value_name = "ADDRESS")]
    peers: Vec<IpAddr>,
    #[command(flatten)]
    output: Output,
}

impl Args {
    fn flags(&self, common: &Common) -> Vec<(&'static str, &'static str, String)> {
        let root = common.bpf_root.as_ref().map(|root| root.display().to_string());
        [
            ("nodeName", "node-name", self.node_name.clone()),
            ("kubeconfig", "kubeconfig", self.kubeconfig.clone()),
            ("cgroupRoot", "cgroup-root", self.cgroup_root.clone()),
            ("bpfRoot", "bpf-root", root),
        ]
        .into_iter()
        .filter_map(|(key, flag, value)| Some((key, flag, value?)))
        .collect()
    }

    /// The layers that are given; where none is and an agent runs, its configuration below what `--set` says.
    fn layers(&self, common: &Common) -> LayerArgs {
        let mut layers = self.layers.clone();
        if layers.config.is_none()
            && layers.kube_proxy_config.is_none()
            && let Ok(shown) = client::get::<Vec<Shown>>(common, "/v1/config")
        {
            layers.set = shown.iter().filter_map(setting).chain(layers.set).collect();
        }
        layers
    }
}

/// A value of an agent's as `--set` would say it; `None` for defaults.
fn setting(shown: &Shown) -> Option<String> {
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), String::from);
    let value = match &shown.value {
        serde_json::Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        other => text(other),
    };
    (shown.origin != "default").then(|| format!("{}={value}", shown.key))
}

pub(super) fn run(args: &Args, common: &Common) -> Done {
    let resolved = resolve(&args.layers(common), args.flags(common))?;
    let config = Config::new(resolved).map_err(Failure::Usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::Problem(format!("runtime: {e}")))?;
    let rows = runtime.block_on(check::run(&config, &args.peers));
    args.output
        .print(&rows, || (vec!["CHECK", "ABOUT", "VERDICT", "FOUND"], rows.iter().map(line).collect()))?;
    let failed = rows.iter().any(|row| row.verdict == Verdict::Fail);
    Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn line(row: &Row) -> Vec<String> {
    let found = if row.todo.is_empty() { row.found.clone() } else { format!("{}; {}", row.found, row.todo) };
    let or_dash = |text: &str| if text.is_empty() { "-".into() } else { text.to_owned() };
    vec![row.check.clone(), or_dash(&row.about), row.verdict.word().into(), found]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_agents_values_are_said_again_and_its_defaults_are_not() {
        let shown = |value, origin: &str| Shown { key: "devices".into(), value, origin: origin.into() };
        assert_eq!(setting(&shown(json!(["eth0", "eth1"]), "--set")), Some("devices=eth0,eth1".into()));
        assert_eq!(setting(&shown(json!(7), "flag")), Some("devices=7".into()));
        assert_eq!(setting(&shown(json!([]), "default")), None);
    }

    #[test]
    fn a_line_says_what_was_found_and_what_to_do() {
        let row = Row::fail("mtu", "eth0", "is 1290", "raise it");
        assert_eq!(line(&row), ["mtu", "eth0", "FAIL", "is 1290; raise it"]);
        assert_eq!(line(&Row::pass("kernel", "", "6.18"))[1..], ["-", "PASS", "6.18"]);
    }
}
