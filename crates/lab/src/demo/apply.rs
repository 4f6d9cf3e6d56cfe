//! The examples, brought into the lab's API.

use crate::cluster::Lab;
use anyhow::{Context, Result, anyhow};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Applies the examples and waits until every agent has programmed them.
pub fn apply_examples(lab: &Lab) -> Result<()> {
    let kubectl = has_kubectl();
    for file in examples()? {
        if kubectl {
            lab.kubectl(&["apply", "-f", &file.display().to_string()])?;
        } else {
            put(lab, &file)?;
        }
    }
    lab.settle()
}

/// How the examples are applied here, in words.
pub fn means() -> &'static str {
    if has_kubectl() { "with kubectl" } else { "straight to the API: kubectl is not here" }
}

fn has_kubectl() -> bool {
    let mut command = Command::new("kubectl");
    command.args(["version", "--client"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The example files: of the source tree that this was built from, or of the one we stand in.
fn examples() -> Result<Vec<PathBuf>> {
    let trees = [Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples"), PathBuf::from("examples")];
    let folder = trees.into_iter().find(|dir| dir.is_dir());
    let folder = folder.context("no examples folder; run this in the source tree")?;
    let mut files: Vec<PathBuf> =
        fs::read_dir(&folder)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|ext| ext == "yaml"));
    files.sort();
    Ok(files)
}

/// Writes a file's objects without kubectl.
fn put(lab: &Lab, file: &Path) -> Result<()> {
    for mut object in objects(&fs::read_to_string(file)?).with_context(|| format!("{}", file.display()))? {
        object["metadata"]["namespace"] = "default".into();
        lab.api().put(object).map_err(|e| anyhow!("{}: {e:?}", file.display()))?;
    }
    Ok(())
}

/// The documents of a YAML file.
fn objects(text: &str) -> Result<Vec<Value>> {
    let documents = text.split("\n---\n").filter(|document| !document.trim().is_empty());
    documents.map(|document| Ok(serde_saphyr::from_str(document)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_a_service_with_a_name() {
        let files = examples().unwrap();
        let all: Vec<Value> =
            files.iter().flat_map(|file| objects(&fs::read_to_string(file).unwrap()).unwrap()).collect();
        let names: Vec<&str> = all.iter().filter_map(|o| o["metadata"]["name"].as_str()).collect();
        assert_eq!(names, ["empty", "on-node1", "on-node2", "balanced", "external", "web"]);
        assert!(all.iter().all(|o| o["kind"] == "Service"));
    }
}
