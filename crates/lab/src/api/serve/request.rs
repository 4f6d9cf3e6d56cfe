//! What a URL means: which resource, which object, which query.

use crate::api::kinds::Kind;
use std::collections::HashMap;

/// A resource path, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Kind.
    pub kind: Kind,
    /// Namespace; empty for cluster-wide kinds and for all namespaces.
    pub namespace: String,
    /// Name, when one object is meant.
    pub name: Option<String>,
    /// Subresource, when one is meant.
    pub sub: Option<String>,
}

/// Takes `/api/v1/...` or `/apis/<group>/<version>/...` apart.
pub fn place(path: &str) -> Option<Place> {
    let parts: Vec<String> = path.split('/').filter(|p| !p.is_empty()).map(unescape).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let (group, version, rest) = match &parts[..] {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let (namespace, plural, rest) = match rest {
        // A third part is the resource, except below a namespace object itself.
        ["namespaces", namespace, plural, rest @ ..] if !matches!(*plural, "status" | "finalize") => {
            (*namespace, *plural, rest)
        }
        [plural, rest @ ..] => ("", *plural, rest),
        [] => return None,
    };
    let kind = Kind::by_plural(group, version, plural)?;
    if kind.info().namespaced == namespace.is_empty() && (!namespace.is_empty() || !rest.is_empty()) {
        return None;
    }
    let (name, sub) = match rest {
        [] => (None, None),
        [name] => (Some((*name).to_owned()), None),
        [name, sub] => (Some((*name).to_owned()), Some((*sub).to_owned())),
        _ => return None,
    };
    Some(Place { kind, namespace: namespace.to_owned(), name, sub })
}

/// The query of a URL.
#[derive(Debug, Default)]
pub struct Query(HashMap<String, String>);

impl Query {
    /// Takes a query string apart; of a repeated key the last value holds.
    pub fn parse(query: Option<&str>) -> Self {
        let pair = |part: &str| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            (unescape(key), unescape(value))
        };
        Self(query.unwrap_or_default().split('&').filter(|p| !p.is_empty()).map(pair).collect())
    }

    /// A value, or empty.
    pub fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    /// Whether a boolean is set.
    pub fn is(&self, key: &str) -> bool {
        matches!(self.get(key), "true" | "1" | "True")
    }

    /// A number, when one is there.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.get(key).parse().ok()
    }
}

/// Undoes percent and plus escapes; what is not one stands for itself.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).and_then(|h| u8::from_str_radix(h, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_kinds_namespaces_names_and_subresources() {
        let cases = [
            ("/api/v1/services", Some((Kind::Service, "", None, None))),
            ("/api/v1/namespaces/a/services/b/status", Some((Kind::Service, "a", Some("b"), Some("status")))),
            ("/api/v1/namespaces/a", Some((Kind::Namespace, "", Some("a"), None))),
            ("/api/v1/namespaces/a/status", Some((Kind::Namespace, "", Some("a"), Some("status")))),
            (
                "/apis/discovery.k8s.io/v1/namespaces/a/endpointslices",
                Some((Kind::EndpointSlice, "a", None, None)),
            ),
            ("/api/v1/nodes/n1", Some((Kind::Node, "", Some("n1"), None))),
            ("/api/v1/namespaces/a/nodes", None),
            ("/api/v1/services/b", None),
            ("/apis/apps/v1/deployments", None),
        ];
        for (path, want) in cases {
            let got = place(path);
            let got =
                got.as_ref().map(|p| (p.kind, p.namespace.as_str(), p.name.as_deref(), p.sub.as_deref()));
            assert_eq!(got, want, "{path}");
        }
    }

    #[test]
    fn queries_are_unescaped() {
        let query = Query::parse(Some("labelSelector=a%20in+%28b%2Cc%29&watch=1&limit=5&odd=%zz"));
        assert_eq!(query.get("labelSelector"), "a in (b,c)");
        assert!(query.is("watch"));
        assert_eq!(query.number("limit"), Some(5));
        assert_eq!(query.get("odd"), "%zz");
    }
}
