//! `shunt.yaml`: nested YAML to paths, values and lines.

use super::keys::{self, Key};
use super::{Error, Value};
use serde_json::Value as Json;
use std::collections::HashMap;

/// One setting of a file.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) key: &'static Key,
    pub(super) value: Value,
    pub(super) line: usize,
}

/// A file's settings, or everything that is wrong with it.
pub(super) fn parse(file: &str, text: &str) -> Result<Vec<Setting>, Vec<Error>> {
    let tree: Json = serde_saphyr::from_str(text)
        .map_err(|e| vec![Error::new(file, format!("is not YAML: {}", first_line(&e.to_string())))])?;
    let mut found = Vec::new();
    match &tree {
        Json::Null => {}
        Json::Object(_) => flatten(&tree, "", &mut found),
        _ => return Err(vec![Error::new(file, "must be keys and values")]),
    }
    let lines = lines(text);
    let (mut settings, mut errors) = (Vec::new(), Vec::new());
    for (path, json) in found {
        let line = line_of(&lines, &path);
        let at = format!("{file}:{line}");
        match setting(&path, json) {
            Ok((key, value)) => settings.push(Setting { key, value, line }),
            Err(what) => errors.push(Error::key(at, &path, what)),
        }
    }
    if errors.is_empty() { Ok(settings) } else { Err(errors) }
}

fn setting(path: &str, json: &Json) -> Result<(&'static Key, Value), String> {
    let key = keys::find(path).ok_or_else(|| super::unknown(path))?;
    let value = match json {
        Json::Array(items) => {
            let items = items.iter().map(|i| i.as_str().map_or_else(|| i.to_string(), String::from));
            Value::list(key, items.collect())
        }
        Json::String(text) => Value::parse(key, text),
        Json::Object(_) => Err(format!("keys are not allowed below it; allowed: {}", key.allowed())),
        other => Value::parse(key, &other.to_string()),
    };
    Ok((key, value?))
}

/// Leaves of the tree by path; an unset leaf (`devices:`) says nothing. A map below a known key is one leaf.
fn flatten<'a>(tree: &'a Json, prefix: &str, found: &mut Vec<(String, &'a Json)>) {
    let Json::Object(map) = tree else { return };
    for (name, value) in map {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Json::Null if keys::find(&path).is_some() => {}
            Json::Object(below) if keys::find(&path).is_none() && !below.is_empty() => {
                flatten(value, &path, found);
            }
            _ => found.push((path, value)),
        }
    }
}

/// The line of each key in block style. Flow style has the line of the block key before it.
pub(super) fn lines(text: &str) -> HashMap<String, usize> {
    let mut lines = HashMap::new();
    let mut above: Vec<(usize, String)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let body = line.trim_start();
        let Some((name, _)) = body.split_once(':').filter(|_| !body.starts_with(['#', '-'])) else {
            continue;
        };
        let indent = line.len() - body.len();
        above.retain(|(i, _)| *i < indent);
        above.push((indent, name.trim_matches(['"', '\'', ' ']).into()));
        let path: Vec<&str> = above.iter().map(|(_, n)| n.as_str()).collect();
        lines.entry(path.join(".")).or_insert(number + 1);
    }
    lines
}

pub(super) fn line_of(lines: &HashMap<String, usize>, path: &str) -> usize {
    let mut path = path;
    loop {
        if let Some(line) = lines.get(path) {
            return *line;
        }
        match path.rsplit_once('.') {
            Some((above, _)) => path = above,
            None => return 1,
        }
    }
}

pub(super) fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        parse("shunt.yaml", text).err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn unknown_keys_are_named_with_file_line_and_what_was_meant() {
        let text = "# ours\nnodePort:\n  enabled: true\n  bindProtektion: false\n";
        let all = errors(text);
        assert_eq!(all.len(), 1, "{all:?}");
        assert!(all[0].starts_with("shunt.yaml:4: nodePort.bindProtektion: "), "{all:?}");
        assert!(all[0].contains("did you mean nodePort.bindProtection"), "{all:?}");
    }

    #[test]
    fn every_wrong_value_of_a_file_is_told_at_once() {
        let all = errors("loadBalancer:\n  mode: annotation\nipv6: {enabled: perhaps}\n");
        assert_eq!(all.len(), 2, "{all:?}");
        assert!(all.iter().any(|e| e.contains("shunt.yaml:2: loadBalancer.mode") && e.contains("snat")));
        assert!(all.iter().any(|e| e.contains("shunt.yaml:3: ipv6.enabled") && e.contains("true or false")));
    }

    #[test]
    fn values_keep_their_lines() {
        let text = "devices:\n  - eth+\n  - \"!eth3\"\nbpf:\n  lbMapMax: 1024\nkubeProxyReplacement: true\n";
        let all = parse("f", text).unwrap_or_else(|e| panic!("{e:?}"));
        let get =
            |path| all.iter().find(|s| s.key.path == path).map(|s| (s.line, s.value.to_string())).unwrap();
        assert_eq!(get("devices"), (1, "eth+,!eth3".into()));
        assert_eq!(get("bpf.lbMapMax"), (5, "1024".into()));
        assert_eq!(get("kubeProxyReplacement"), (6, "true".into()));
    }

    #[test]
    fn an_empty_file_says_nothing_and_a_broken_one_is_told() {
        assert!(parse("f", "").is_ok_and(|s| s.is_empty()));
        assert!(errors("a: [1")[0].contains("is not YAML"));
        assert!(errors("- a")[0].contains("keys and values"));
    }
}
