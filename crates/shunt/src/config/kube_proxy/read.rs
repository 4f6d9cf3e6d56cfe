//! Fields by type; one of another type is an error that names it.

use serde_json::Value as Json;
use std::collections::HashMap;
use std::time::Duration;

/// The fields that say something.
pub(super) struct Fields {
    values: HashMap<&'static str, Json>,
    /// Field and what is wrong with it.
    pub(super) errors: Vec<(String, String)>,
}

impl Fields {
    pub(super) fn new(values: HashMap<&'static str, Json>) -> Self {
        Self { values, errors: Vec::new() }
    }

    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        self.get(name, "text", |v| v.as_str().map(|text| text.trim().to_owned()))
    }

    pub(super) fn bool(&mut self, name: &'static str) -> Option<bool> {
        self.get(name, "true or false", Json::as_bool)
    }

    pub(super) fn number(&mut self, name: &'static str) -> Option<i64> {
        self.get(name, "a number", Json::as_i64)
    }

    pub(super) fn list(&mut self, name: &'static str) -> Option<Vec<String>> {
        let item = |v: &Json| v.as_str().map(String::from);
        self.get(name, "a list of texts", |v| v.as_array()?.iter().map(item).collect())
    }

    /// Whether a field says anything.
    pub(super) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// A Go duration as we write it; `None` also for zero, which means "as it is".
    pub(super) fn duration(&mut self, name: &'static str) -> Option<String> {
        self.get(name, "a duration, such as 24h0m0s", |v| go_duration(v.as_str()?)).flatten()
    }

    /// The switches of a map.
    pub(super) fn switches(&mut self, name: &'static str) -> Vec<(String, bool)> {
        let pair = |(name, v): (&String, &Json)| Some((name.clone(), v.as_bool()?));
        self.get(name, "names with true or false", |v| v.as_object()?.iter().map(pair).collect())
            .unwrap_or_default()
    }

    fn get<T>(&mut self, name: &str, what: &str, read: impl Fn(&Json) -> Option<T>) -> Option<T> {
        let value = self.values.get(name)?;
        let read = read(value);
        if read.is_none() {
            self.errors.push((name.into(), format!("{value} is not {what}")));
        }
        read
    }
}

/// Of what Go prints (`24h0m0s`, `1.5s`); `Some(None)` for zero.
fn go_duration(text: &str) -> Option<Option<String>> {
    if super::super::value::duration(text).is_some() {
        return Some(Some(text.into()));
    }
    let duration: jiff::SignedDuration = text.parse().ok()?;
    let duration = Duration::try_from(duration).ok()?;
    let millis = duration.as_millis();
    Some(
        (millis > 0)
            .then(|| if millis % 1000 == 0 { format!("{}s", millis / 1000) } else { format!("{millis}ms") }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gos_durations_are_read_and_zero_says_nothing() {
        for (text, ours) in [
            ("24h0m0s", Some(Some("24h0m0s"))),
            ("1.5s", Some(Some("1500ms"))),
            ("0s", Some(None)),
            ("0h0m0s", Some(None)),
            ("soon", None),
            ("-1s", None),
        ] {
            assert_eq!(go_duration(text), ours.map(|o: Option<&str>| o.map(String::from)), "{text}");
        }
    }
}
