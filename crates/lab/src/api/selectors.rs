//! Label and field selectors, as they stand in a query string.

use super::{
    error::{ApiError, Result},
    kinds::Kind,
    object::{Meta, selectable},
};

/// One requirement on a label.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Label {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// One requirement on a field: name, wanted value, and whether it must be equal.
type Field = (String, String, bool);

/// A parsed pair of selectors. The empty one matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    labels: Vec<Label>,
    fields: Vec<Field>,
}

impl Selector {
    /// Parses `labelSelector` and `fieldSelector` of a request for `kind`.
    ///
    /// # Errors
    /// 400 when a selector does not parse or names a field that `kind` cannot be selected by.
    pub fn parse(kind: Kind, labels: &str, fields: &str) -> Result<Self> {
        let labels = split_top(labels).into_iter().map(label).collect::<Result<_>>()?;
        let fields: Vec<Field> = split_top(fields).into_iter().map(field).collect::<Result<_>>()?;
        let known = |name: &str| {
            matches!(name, "metadata.name" | "metadata.namespace")
                || selectable(kind).iter().any(|(f, _)| *f == name)
        };
        if let Some((name, _, _)) = fields.iter().find(|(name, _, _)| !known(name)) {
            return Err(ApiError::bad_request(format!("field label not supported: {name}")));
        }
        Ok(Self { labels, fields })
    }

    /// Whether everything matches.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether an object meets every requirement.
    pub fn matches(&self, meta: &Meta) -> bool {
        self.labels.iter().all(|l| l.matches(meta)) && self.fields.iter().all(|f| field_matches(f, meta))
    }
}

impl Label {
    fn matches(&self, meta: &Meta) -> bool {
        match self {
            Label::In(key, values) => meta.labels.get(key).is_some_and(|v| values.contains(v)),
            Label::NotIn(key, values) => meta.labels.get(key).is_none_or(|v| !values.contains(v)),
            Label::Exists(key) => meta.labels.contains_key(key),
            Label::Absent(key) => !meta.labels.contains_key(key),
        }
    }
}

fn field_matches((name, want, equal): &Field, meta: &Meta) -> bool {
    let have = match name.as_str() {
        "metadata.name" => &*meta.key.1,
        "metadata.namespace" => &*meta.key.0,
        other => meta.fields.iter().find(|(f, _)| *f == other).map_or("", |(_, v)| v.as_str()),
    };
    (have == want) == *equal
}

/// Splits at the commas that are not inside parentheses.
fn split_top(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0_i32, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts.retain(|p| !p.is_empty());
    parts
}

fn label(text: &str) -> Result<Label> {
    let bad = || ApiError::bad_request(format!("unable to parse requirement: {text:?}"));
    let parsed = if let Some(open) = text.find('(') {
        let values = text[open + 1..].strip_suffix(')').ok_or_else(bad)?;
        let values = values.split(',').map(|v| v.trim().to_owned()).collect();
        match text[..open].split_whitespace().collect::<Vec<_>>()[..] {
            [key, "in"] => Label::In(key.into(), values),
            [key, "notin"] => Label::NotIn(key.into(), values),
            _ => return Err(bad()),
        }
    } else if let Some((key, value)) = text.split_once("!=") {
        Label::NotIn(key.trim().into(), vec![value.trim().into()])
    } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        Label::In(key.trim().into(), vec![value.trim().into()])
    } else if let Some(key) = text.strip_prefix('!') {
        Label::Absent(key.trim().into())
    } else {
        Label::Exists(text.into())
    };
    let (Label::In(key, _) | Label::NotIn(key, _) | Label::Exists(key) | Label::Absent(key)) = &parsed;
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if key.is_empty() || !key.chars().all(legal) { Err(bad()) } else { Ok(parsed) }
}

fn field(text: &str) -> Result<Field> {
    let split =
        |separator| text.split_once(separator).map(|(k, v)| (k.trim().to_owned(), v.trim().to_owned()));
    if let Some((key, value)) = split("!=") {
        return Ok((key, value, false));
    }
    let (key, value) = split("==").or_else(|| split("=")).ok_or_else(|| {
        ApiError::bad_request(format!("invalid field selector {text:?}: it needs =, == or !="))
    })?;
    Ok((key, value, true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::object::Object;
    use serde_json::json;

    fn meta() -> Object {
        let pod = json!({"metadata": {"name": "a", "namespace": "n", "labels": {"app": "web", "tier": "x"}},
            "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}});
        Object::new(Kind::Pod, &pod, 1)
    }

    #[test]
    fn label_selectors_have_every_operator() {
        let cases = [
            ("app=web", true),
            ("app==web", true),
            ("app!=web", false),
            ("other!=web", true),
            ("app in (a, web)", true),
            ("app notin (a,web),tier", false),
            ("other notin (a)", true),
            ("tier", true),
            ("!tier", false),
            ("!other,app=web", true),
            ("app=web,tier in (x,y),!z", true),
            ("", true),
            ("app=", false),
        ];
        for (text, want) in cases {
            let selector = Selector::parse(Kind::Pod, text, "").unwrap();
            assert_eq!(selector.matches(&meta().meta), want, "{text}");
        }
    }

    #[test]
    fn field_selectors_are_equality_on_known_fields() {
        let cases = [
            ("metadata.name=a", true),
            ("metadata.namespace!=n", false),
            ("spec.nodeName==n1", true),
            ("status.phase!=Running", false),
            ("spec.nodeName=n1,status.phase=Running", true),
        ];
        for (text, want) in cases {
            let selector = Selector::parse(Kind::Pod, "", text).unwrap();
            assert_eq!(selector.matches(&meta().meta), want, "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["app in a", "app near (a)", "=x", "a b"] {
            assert_eq!(Selector::parse(Kind::Pod, text, "").unwrap_err().code, 400, "{text}");
        }
        assert_eq!(Selector::parse(Kind::Pod, "", "spec.colour=red").unwrap_err().code, 400);
        assert_eq!(Selector::parse(Kind::Pod, "", "spec.nodeName").unwrap_err().code, 400);
    }
}
