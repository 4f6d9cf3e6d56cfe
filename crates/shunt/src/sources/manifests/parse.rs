//! One file: documents, lists, objects, and what is wrong with any of them.

use crate::sources::Object;
use serde_json::Value as Json;
use shunt_model::Problem;
use shunt_model::objects::Kind;
use std::path::Path;

/// What a file holds.
#[derive(Default)]
pub(super) struct Parsed {
    pub(super) objects: Vec<Object>,
    pub(super) problems: Vec<Problem>,
}

impl Parsed {
    fn problem(&mut self, at: &str, what: impl Into<String>, todo: &str) {
        self.problems.push(Problem { object: at.into(), what: what.into(), todo: todo.into() });
    }

    fn document(&mut self, at: &str, json: Json) {
        match json["kind"].as_str() {
            _ if json.is_null() => {}
            Some(
                "List" | "ServiceList" | "EndpointSliceList" | "NodeList" | "PodList" | "ServiceCIDRList"
                | "NamespaceList",
            ) => {
                let Json::Object(mut list) = json else { return };
                let Some(Json::Array(items)) = list.remove("items") else {
                    return self.problem(at, "a List without items", "give it items");
                };
                items.into_iter().for_each(|item| self.document(at, item));
            }
            Some(kind) => self.object(at, kind.to_owned(), json),
            None => self.problem(at, "no kind", "write apiVersion, kind and metadata as for kubectl"),
        }
    }

    fn object(&mut self, at: &str, kind: String, json: Json) {
        let api = json["apiVersion"].as_str().unwrap_or_default();
        let kind = match (kind.as_str(), api) {
            ("Service", "v1" | "") => Kind::Service,
            ("EndpointSlice", "discovery.k8s.io/v1" | "") => Kind::EndpointSlice,
            ("Node", "v1" | "") => Kind::Node,
            ("Pod", "v1" | "") => Kind::Pod,
            ("ServiceCIDR", "networking.k8s.io/v1" | "") => Kind::ServiceCidr,
            ("Namespace", "v1" | "") => Kind::Namespace,
            // Directories of manifests are often a whole application's.
            ("Service" | "EndpointSlice" | "Node" | "Pod" | "ServiceCIDR" | "Namespace", _) => {
                return self.problem(
                    at,
                    format!("{kind} of apiVersion {api:?}"),
                    "use v1, discovery.k8s.io/v1 for an EndpointSlice, networking.k8s.io/v1 for a ServiceCIDR",
                );
            }
            _ => return,
        };
        let name = json["metadata"]["name"].as_str().unwrap_or("without a name").to_owned();
        match Object::from_json(kind, json) {
            Ok(object) => self.objects.push(object),
            Err(what) => {
                let at = format!("{at}: {} {name}", kind.name());
                self.problem(
                    &at,
                    what,
                    "correct the field; until then the object's last good state is served",
                );
            }
        }
    }
}

/// Reads a file.
pub(super) fn file(path: &Path) -> Parsed {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&name, &text),
        Err(error) => {
            let mut parsed = Parsed::default();
            parsed.problem(&name, error.to_string(), "make the file readable");
            parsed
        }
    }
}

pub(super) fn parse(name: &str, text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    for (line, document) in documents(text) {
        match serde_saphyr::from_str::<Json>(&document) {
            Ok(json) => parsed.document(&format!("{name}:{line}"), json),
            Err(error) => {
                let within = error.location().map_or(1, |l| l.line() as usize);
                let at = format!("{name}:{}", line + within.saturating_sub(1));
                let error = error.to_string();
                let what = error.lines().next().unwrap_or_default();
                parsed.problem(
                    &at,
                    format!("is not YAML: {what}"),
                    "correct this document; the others are served",
                );
            }
        }
    }
    parsed
}

/// The documents of a stream with the line each begins at. A marker line ends a document also within a block scalar,
/// as YAML has it, so a broken document cannot swallow the next one.
fn documents(text: &str) -> Vec<(usize, String)> {
    let mut documents = Vec::new();
    let (mut first, mut lines) = (1, String::new());
    for (number, line) in text.lines().enumerate() {
        if line == "---" || line.starts_with("--- ") || line == "..." {
            documents.push((first, std::mem::take(&mut lines)));
            first = number + 2;
        } else {
            lines.push_str(line);
            lines.push('\n');
        }
    }
    documents.push((first, lines));
    let blank = |d: &str| d.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with('#'));
    documents.retain(|(_, document)| !blank(document));
    documents
}
