//! `shunt config view` and `shunt config validate`.

use super::agent::{LayerArgs, resolve};
use super::output::{Output, put};
use super::{Common, Done, Failure, client};
use crate::config::{Config, Shown};

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
            validate(layers)?;
            put("the configuration is good\n")
        }
    }
}

/// All that an agent checks before it touches the node.
fn validate(layers: &LayerArgs) -> Result<(), Failure> {
    let config = Config::new(resolve(layers, Vec::new())?).map_err(Failure::Usage)?;
    config.check().map_err(|what| Failure::Usage(format!("configuration: {what}")))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_would_refuse_is_not_valid_and_the_key_is_named() {
        for (set, key) in [
            ("nodePort.range=30000-65535", "nodePort.range"),
            ("nodePort.range=30000-65530", "nodePort.range"),
            ("bpf.lbMapMax=0", "bpf.lbMapMax"),
        ] {
            let layers = LayerArgs { set: vec![set.into()], ..LayerArgs::default() };
            let Err(Failure::Usage(message)) = validate(&layers) else { panic!("{set} is good") };
            assert!(message.contains(key), "{set}: {message}");
        }
        assert!(validate(&LayerArgs::default()).is_ok());
    }
}
