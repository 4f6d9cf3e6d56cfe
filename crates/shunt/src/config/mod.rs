//! Configuration: layers of settings, each key with where its value came from.

mod file;
pub mod keys;
pub mod kube_proxy;
mod node_port_addresses;
mod typed;
mod value;
mod yaml;

pub use node_port_addresses::NodePortAddresses;
pub use typed::Config;
pub use value::Value;

use keys::{KEYS, Key};
use kube_proxy::Note;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Something wrong in a layer: where, which key, what, and what is allowed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct Error {
    place: String,
    key: Option<String>,
    what: String,
}

impl Error {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), key: None, what: what.into() }
    }

    fn key(place: impl Into<String>, key: &str, what: impl Into<String>) -> Self {
        Self { place: place.into(), key: Some(key.into()), what: what.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{}: {key}: {}", self.place, self.what),
            None => write!(f, "{}: {}", self.place, self.what),
        }
    }
}

fn unknown(path: &str) -> String {
    match keys::suggest(path) {
        Some(near) => format!("unknown key; did you mean {near}?"),
        None => "unknown key; `shunt config view` lists all".into(),
    }
}

/// Where a value came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A `KubeProxyConfiguration`, at a line.
    KubeProxy(PathBuf, usize),
    /// A file, at a line.
    File(PathBuf, usize),
    /// An environment variable.
    Environment(String),
    /// `--set`.
    Set,
    /// A flag of its own.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::KubeProxy(path, line) => write!(f, "kube-proxy config {}:{line}", path.display()),
            Self::File(path, line) => write!(f, "file {}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Set => f.write_str("--set"),
            Self::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}

/// What is said beside the defaults, the weakest first.
#[derive(Clone, Default, Debug)]
pub struct Layers {
    /// A `KubeProxyConfiguration`.
    pub kube_proxy: Option<PathBuf>,
    /// `shunt.yaml`, or a `KubeProxyConfiguration`.
    pub file: Option<PathBuf>,
    /// Environment variables; those that do not start with `SHUNT_` are ignored.
    pub environment: Vec<(String, String)>,
    /// `key=value` of `--set`, in order.
    pub set: Vec<String>,
    /// Flags of their own: path of the key, name of the flag, value.
    pub flags: Vec<(&'static str, &'static str, String)>,
}

/// Variables that are no keys: they say where to find the rest, or belong to commands.
const OTHER_VARIABLES: [&str; 5] =
    ["SHUNT_CONFIG", "SHUNT_KUBE_PROXY_CONFIG", "SHUNT_LOG", "SHUNT_LOG_FORMAT", "SHUNT_BIN"];

/// Whether a variable is one of those that Kubernetes gives to each pod for a Service: `X_SERVICE_HOST`, `X_SERVICE_PORT`
/// and `X_PORT=tcp://host:port`. What a pod's own manifest sets in their place is another value, and counts.
fn is_service_link(name: &str, text: &str, variables: &[(String, String)]) -> bool {
    let link = |service: &str| {
        let has = |end| variables.iter().find(|(n, _)| n.strip_prefix(service) == Some(end));
        has("_SERVICE_HOST").and(has("_PORT")).map(|(_, url)| url.as_str()).filter(|url| url.contains("://"))
    };
    match name.strip_suffix("_SERVICE_HOST").or_else(|| name.strip_suffix("_SERVICE_PORT")) {
        Some(service) => link(service).is_some_and(|url| url.contains(text)),
        None => name.strip_suffix("_PORT").and_then(link) == Some(text),
    }
}

/// Every key with its value and origin.
#[derive(Clone, Debug)]
pub struct Resolved(BTreeMap<&'static str, (Value, Origin)>, Vec<Note>);

/// A line of `config view`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Shown {
    /// Path of the key.
    pub key: String,
    /// Its value.
    pub value: serde_json::Value,
    /// Where that came from.
    pub origin: String,
}

impl Resolved {
    /// Puts the layers over the defaults.
    ///
    /// # Errors
    /// Everything that is wrong in any layer.
    pub fn new(layers: &Layers) -> Result<Self, Vec<Error>> {
        let mut resolved = Self::defaults();
        let mut errors = Vec::new();
        if let Err(wrong) = resolved.add_files(layers) {
            errors.extend(wrong);
        }
        resolved.add_environment(&layers.environment, &mut errors);
        for text in &layers.set {
            match text.split_once('=') {
                Some((path, value)) => resolved.add(path.trim(), value, Origin::Set, &mut errors),
                None => errors.push(Error::new("--set", format!("{text:?} is not key=value"))),
            }
        }
        for (path, flag, value) in &layers.flags {
            resolved.add(path, value, Origin::Flag((*flag).into()), &mut errors);
        }
        if errors.is_empty() { Ok(resolved) } else { Err(errors) }
    }

    /// Only the defaults.
    #[must_use]
    pub fn defaults() -> Self {
        let value = |key: &Key| Value::parse(key, key.default).expect("a test parses every default");
        Self(KEYS.iter().map(|key| (key.path, (value(key), Origin::Default))).collect(), Vec::new())
    }

    /// What is worth a line in the log about how this came to be.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.1
    }

    fn add_files(&mut self, layers: &Layers) -> Result<(), Vec<Error>> {
        let read = |path: &Path| {
            std::fs::read_to_string(path)
                .map_err(|e| vec![Error::new(path.display().to_string(), format!("cannot be read: {e}"))])
        };
        let text = layers.file.as_deref().map(read).transpose()?;
        let file = layers.file.as_deref().zip(text).into_iter();
        let (theirs, ours): (Vec<_>, Vec<_>) = file.partition(|(_, text)| kube_proxy::recognise(text));
        if let Some(path) = layers.kube_proxy.as_deref() {
            if !theirs.is_empty() {
                let what =
                    "gives a KubeProxyConfiguration, and --kube-proxy-config another one; leave one out";
                return Err(vec![Error::new("--config", what)]);
            }
            self.add_kube_proxy(path, &read(path)?)?;
        }
        theirs.into_iter().try_for_each(|(path, text)| self.add_kube_proxy(path, &text))?;
        for (path, text) in ours {
            let settings = file::parse(&path.display().to_string(), &text)?;
            self.add_settings(settings, |line| Origin::File(path.into(), line));
        }
        Ok(())
    }

    fn add_kube_proxy(&mut self, path: &Path, text: &str) -> Result<(), Vec<Error>> {
        let cpus = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
        let read = kube_proxy::parse(path, text, cpus)?;
        self.1.extend(read.notes);
        self.add_settings(read.settings, |line| Origin::KubeProxy(path.into(), line));
        Ok(())
    }

    fn add_settings(&mut self, settings: Vec<file::Setting>, origin: impl Fn(usize) -> Origin) {
        for setting in settings {
            self.0.insert(setting.key.path, (setting.value, origin(setting.line)));
        }
    }

    fn add_environment(&mut self, variables: &[(String, String)], errors: &mut Vec<Error>) {
        for (name, text) in variables {
            if !name.starts_with("SHUNT_") || OTHER_VARIABLES.contains(&name.as_str()) {
                continue;
            }
            // A cluster injects SHUNT_*_SERVICE_HOST and the like for a Service named shunt: not ours to refuse.
            let Some(key) = KEYS.iter().find(|k| k.variable() == *name) else {
                tracing::warn!(variable = %name, "unknown variable ignored");
                continue;
            };
            if is_service_link(name, text, variables) {
                tracing::info!(variable = %name, "ignored: Kubernetes sets it for a Service of that name");
                continue;
            }
            self.add(key.path, text, Origin::Environment(name.clone()), errors);
        }
    }

    fn add(&mut self, path: &str, text: &str, origin: Origin, errors: &mut Vec<Error>) {
        let Some(key) = keys::find(path) else {
            errors.push(Error::key(origin.to_string(), path, unknown(path)));
            return;
        };
        match Value::parse(key, text) {
            Ok(value) => {
                self.0.insert(key.path, (value, origin));
            }
            Err(what) => errors.push(Error::key(origin.to_string(), path, what)),
        }
    }

    /// Every key in the order of the table.
    #[must_use]
    pub fn shown(&self) -> Vec<Shown> {
        let line = |key: &Key| {
            let (value, origin) = &self.0[key.path];
            let value = serde_json::to_value(value).unwrap_or_default();
            Shown { key: key.path.into(), value, origin: origin.to_string() }
        };
        KEYS.iter().map(line).collect()
    }

    fn value(&self, path: &str) -> &Value {
        &self.0[path].0
    }
}

#[cfg(test)]
mod tests;
