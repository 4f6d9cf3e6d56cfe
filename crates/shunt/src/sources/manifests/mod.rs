//! A directory of manifests as a source: the same kinds in YAML files, followed live.

mod follow;
mod parse;

pub use follow::watch;

use super::{Event, Object};
use parse::Parsed;
use shunt_model::Problem;
use shunt_model::objects::Kind;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Kind, namespace, name.
type Name = (Kind, String, String);

/// Time of the last change and length.
type Stamp = (SystemTime, u64);

/// A file that never comes to rest is read after so many looks.
const RESTLESS: u32 = 100;

/// What is known of a file.
#[derive(Default)]
struct File {
    /// Changes when the file does.
    stamp: Option<Stamp>,
    /// Looks in a row that saw it change.
    restless: u32,
    objects: BTreeMap<Name, Object>,
    problems: Vec<Problem>,
}

/// The directory as last read.
pub(crate) struct Directory {
    root: PathBuf,
    files: BTreeMap<PathBuf, File>,
    served: BTreeMap<Name, Object>,
    reported: BTreeMap<String, Vec<Problem>>,
    listed: bool,
    /// What the last look saw.
    looked: BTreeMap<PathBuf, Stamp>,
    /// Something changed between the last two looks.
    unsettled: bool,
}

impl Directory {
    pub(crate) fn new(root: &Path) -> Self {
        let (files, served, reported) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let looked = BTreeMap::new();
        Self { root: root.into(), files, served, reported, listed: false, looked, unsettled: false }
    }

    /// Whether a file was changing at the last scan, so that another is due soon.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.unsettled
    }

    /// Reads what changed and has come to rest since the last call; answers what the agent must know. The initial lists are
    /// made as soon as every file rests.
    pub(crate) fn scan(&mut self) -> Vec<Event> {
        let mut problems: BTreeMap<String, Vec<Problem>> = BTreeMap::new();
        match yaml_files(&self.root) {
            Ok(found) => self.read(found),
            // Nothing is known, so nothing is listed or removed.
            Err(error) => {
                let about = self.root.display().to_string();
                let todo = "create the directory or set --manifests".into();
                let problem = Problem { object: about.clone(), what: error.to_string(), todo };
                return self.news(BTreeMap::from([(about, vec![problem])]));
            }
        }
        let mut now: BTreeMap<Name, Object> = BTreeMap::new();
        for (path, file) in &self.files {
            let about = path.display().to_string();
            let said = problems.entry(about.clone()).or_default();
            said.extend(file.problems.iter().cloned());
            for (name, object) in &file.objects {
                if now.contains_key(name) {
                    said.push(twice(&about, name));
                } else {
                    now.insert(name.clone(), object.clone());
                }
            }
        }
        let mut events = self.changes(now);
        events.extend(self.news(problems));
        events
    }

    /// Reads files that are new or changed and forgets those that are gone, each when two looks saw the same: one that is
    /// being written is empty, or half of itself, and one that is being replaced may not be there for a moment.
    fn read(&mut self, found: BTreeMap<PathBuf, Stamp>) {
        let looked = std::mem::replace(&mut self.looked, found.clone());
        self.unsettled = looked.keys().any(|path| !found.contains_key(path));
        self.files.retain(|path, _| found.contains_key(path) || looked.contains_key(path));
        for (path, stamp) in found {
            let file = self.files.entry(path.clone()).or_default();
            if file.stamp == Some(stamp) {
                continue;
            }
            if looked.get(&path) != Some(&stamp) && file.restless < RESTLESS {
                file.restless += 1;
                self.unsettled = true;
                continue;
            }
            file.restless = 0;
            let Parsed { objects, problems } = parse::file(&path);
            // A document that does not parse may be any of those that the file had: they are served on until it does.
            if problems.is_empty() {
                file.objects.clear();
            }
            for object in objects {
                let (namespace, name) = object.name();
                file.objects.insert((object.kind(), namespace, name), object);
            }
            file.problems = problems;
            file.stamp = Some(stamp);
        }
    }

    fn changes(&mut self, now: BTreeMap<Name, Object>) -> Vec<Event> {
        let mut events = Vec::new();
        // A list without what a file is about to have would remove it.
        if !self.listed && self.unsettled {
            return events;
        }
        if !std::mem::replace(&mut self.listed, true) {
            for kind in Kind::ALL {
                events.push(Event::ListBegins(kind));
                events.extend(now.values().filter(|o| o.kind() == kind).cloned().map(Event::Apply));
                events.push(Event::ListEnds(kind));
            }
        } else {
            let changed = now.iter().filter(|(name, object)| self.served.get(name) != Some(object));
            events.extend(changed.map(|(_, object)| Event::Apply(object.clone())));
            let gone = self.served.keys().filter(|name| !now.contains_key(name));
            events.extend(
                gone.map(|(kind, namespace, name)| Event::Delete(*kind, namespace.clone(), name.clone())),
            );
        }
        self.served = now;
        events
    }

    /// Problems that are new or over.
    fn news(&mut self, mut now: BTreeMap<String, Vec<Problem>>) -> Vec<Event> {
        now.retain(|_, problems| !problems.is_empty());
        let mut events = Vec::new();
        for (about, problems) in &now {
            if self.reported.get(about) != Some(problems) {
                events.push(Event::Problems { about: about.clone(), problems: problems.clone() });
            }
        }
        for about in self.reported.keys().filter(|about| !now.contains_key(*about)) {
            events.push(Event::Problems { about: about.clone(), problems: Vec::new() });
        }
        self.reported = now;
        events
    }
}

fn twice(file: &str, (kind, namespace, name): &Name) -> Problem {
    let object = format!("{} {namespace}/{name}", kind.name());
    let what = format!("{file} has it too; the first file by name counts");
    Problem { object, what, todo: "keep it in one file".into() }
}

/// The directory's YAML files (and JSON, which is YAML), not below it.
fn yaml_files(root: &Path) -> std::io::Result<BTreeMap<PathBuf, Stamp>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(root)? {
        let path = entry?.path();
        let known = path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
        // Follows links: a mounted ConfigMap is made of them. One that vanishes meanwhile is gone.
        let Ok(meta) = std::fs::metadata(&path) else { continue };
        if known && meta.is_file() {
            files.insert(path, (meta.modified().unwrap_or(SystemTime::UNIX_EPOCH), meta.len()));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests;
