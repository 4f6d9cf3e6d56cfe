//! `shunt config view` and `shunt config validate`.

use super::agent::{LayerArgs, resolve};
use super::output::{Output, put};
use super::{Common, Done, client};
use crate::config::Shown;

/// Subcommands.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    /// Show every key, its value and where it came from: of the running agent, or of --config and --set
    View {
        #[command(flatten)]
        layers: LayerArgs,
        #[command(flatten)]
        output: Output,
    },
    /// Check a configuration without starting anything
    Validate(LayerArgs),
}

pub(super) fn run(command: &Command, common: &Common) -> Done {
    match command {
        Command::View { layers, output } => {
            let shown = if layers.given() {
                resolve(layers, Vec::new())?.shown()
            } else {
                client::get(common, "/v1/config")?
            };
            output.print(&shown, || (vec!["KEY", "VALUE", "FROM"], rows(&shown)))
        }
        Command::Validate(layers) => {
            resolve(layers, Vec::new())?;
            put("the configuration is good\n")
        }
    }
}

fn rows(shown: &[Shown]) -> Vec<Vec<String>> {
    shown.iter().map(|s| vec![s.key.clone(), text(&s.value), s.origin.clone()]).collect()
}

fn text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) if text.is_empty() => "-".into(),
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(items) if items.is_empty() => "-".into(),
        serde_json::Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}
