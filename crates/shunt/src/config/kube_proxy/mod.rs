//! `KubeProxyConfiguration` (`kubeproxy.config.k8s.io/v1alpha1`) as it stands: kubeadm's ConfigMap `kube-proxy`. Its
//! values are defaults below all that is ours.

mod fields;
pub mod gates;
mod map;
mod read;

use super::keys::{self, Key};
use super::{Error, Value, file};
use fields::{Do, FIELDS};
use read::Fields;
use serde_json::Value as Json;
use std::collections::HashMap;
use std::path::Path;

const GROUP: &str = "kubeproxy.config.k8s.io/";
const KIND: &str = "KubeProxyConfiguration";

/// Something to say about a configuration that is good enough to go on with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Note {
    /// For whoever wonders where a field went.
    Info(String),
    /// Somebody should look at it.
    Warning(String),
}

/// What a file says.
#[derive(Default, Debug)]
pub(super) struct Read {
    pub(super) settings: Vec<file::Setting>,
    pub(super) notes: Vec<Note>,
}

/// Whether a text is one, so that `--config` takes either kind of file.
pub(super) fn recognise(text: &str) -> bool {
    let Ok(Json::Object(tree)) = lenient(text) else { return false };
    let is =
        |field: &str, check: &dyn Fn(&str) -> bool| tree.get(field).and_then(Json::as_str).is_some_and(check);
    is("apiVersion", &|v| v.starts_with(GROUP)) || is("kind", &|k| k == KIND)
}

fn lenient(text: &str) -> Result<Json, serde_saphyr::Error> {
    let options = serde_saphyr::options! { duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins };
    serde_saphyr::from_str_with_options(text, options)
}

/// Reads a file: strictly, and what is only not strict with a warning, as kube-proxy does. `cpus` are the node's.
///
/// # Errors
/// Everything that neither we nor kube-proxy could make sense of.
pub(super) fn parse(path: &Path, text: &str, cpus: u64) -> Result<Read, Vec<Error>> {
    let file = path.display().to_string();
    let mut notes = Vec::new();
    let tree = match serde_saphyr::from_str(text) {
        Ok(tree) => tree,
        Err(strict) => {
            let strict = file::first_line(&strict.to_string()).to_owned();
            let tree =
                lenient(text).map_err(|_| vec![Error::new(&*file, format!("is not YAML: {strict}"))])?;
            notes.push(Note::Warning(format!("{file}: {strict}; the last one counts")));
            tree
        }
    };
    if let Some(wrong) = wrong_kind(&tree) {
        return Err(vec![Error::new(&*file, wrong)]);
    }
    let (values, unknown) = known(&tree);
    if !unknown.is_empty() {
        let names = unknown.join(", ");
        notes.push(Note::Warning(format!(
            "{file}: fields that kube-proxy does not have are ignored: {names}"
        )));
    }
    notes.extend(ignored(&file, &values));
    let mut fields = Fields::new(values);
    let mapped = map::settings(&mut fields, path, cpus, &mut notes);
    let lines = file::lines(text);
    let place = |field: &str| format!("{file}:{}", file::line_of(&lines, field));
    let wrong = |(field, what): (String, String)| Error::key(place(&field), &field, what);
    let mut errors: Vec<Error> = fields.errors.into_iter().map(wrong).collect();
    let mut settings = Vec::new();
    for (path, field, text) in mapped {
        let Some(key) = keys::find(path) else { continue };
        match Value::parse(key, &text) {
            Ok(value) => settings.push(setting(key, value, &lines, field)),
            Err(what) => errors.push(Error::key(place(field), field, what)),
        }
    }
    if errors.is_empty() { Ok(Read { settings, notes }) } else { Err(errors) }
}

fn setting(key: &'static Key, value: Value, lines: &HashMap<String, usize>, field: &str) -> file::Setting {
    file::Setting { key, value, line: file::line_of(lines, field) }
}

fn wrong_kind(tree: &Json) -> Option<String> {
    let field = |name: &str| tree[name].as_str().unwrap_or_default();
    let (version, kind) = (field("apiVersion"), field("kind"));
    (version != format!("{GROUP}v1alpha1") || kind != KIND)
        .then(|| format!("is {kind:?} of apiVersion {version:?}; only {KIND} of {GROUP}v1alpha1 is known"))
}

/// The fields that say something, by path, and those that kube-proxy does not have. A name in wrong case is taken, as
/// kube-proxy's lenient decoder does.
fn known(tree: &Json) -> (HashMap<&'static str, Json>, Vec<String>) {
    let (mut values, mut unknown) = (HashMap::new(), Vec::new());
    let mut rest: Vec<(String, &Json)> = vec![(String::new(), tree)];
    while let Some((path, value)) = rest.pop() {
        if let Some((name, _)) = FIELDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(&path)) {
            if *name != path {
                unknown.push(format!("{path} (taken for {name})"));
            }
            if !says_nothing(value) {
                values.insert(*name, value.clone());
            }
        } else if let Json::Object(below) = value {
            let join = |name: &str| if path.is_empty() { name.into() } else { format!("{path}.{name}") };
            rest.extend(below.iter().map(|(name, value)| (join(name), value)));
        } else if !section(&path) {
            unknown.push(path);
        }
    }
    unknown.sort();
    (values, unknown)
}

/// `iptables:` with nothing below.
fn section(path: &str) -> bool {
    FIELDS.iter().any(|(name, _)| name.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// kubeadm writes each field that it does not set, with its zero value. A time of zero says something where there is a default.
fn says_nothing(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::String(text) => text.is_empty(),
        Json::Array(items) => items.is_empty(),
        Json::Object(fields) => fields.values().all(says_nothing),
        Json::Bool(_) | Json::Number(_) => false,
    }
}

/// One line for all fields that have no use here, with why.
fn ignored(file: &str, values: &HashMap<&'static str, Json>) -> Option<Note> {
    let off =
        |name: &str| matches!(&values[name], Json::Bool(false)) || values[name] == 0 || values[name] == "0s";
    let said = FIELDS.iter().filter_map(|(name, what)| match what {
        Do::Ignore(why) if values.contains_key(name) && !off(name) => Some(format!("{name} ({why})")),
        _ => None,
    });
    let said: Vec<String> = said.collect();
    (!said.is_empty()).then(|| Note::Info(format!("{file}: accepted and ignored: {}", said.join(", "))))
}

#[cfg(test)]
mod tests;
