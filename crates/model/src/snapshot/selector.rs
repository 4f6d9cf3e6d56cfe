//! Label selectors as `kubectl get -l` takes them: `a=b,c!=d,e in (f, g),!h`.

use std::collections::BTreeMap;

/// Requirements that all must hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Requirement {
    key: Box<str>,
    /// One of these; any value at all when there are none.
    values: Vec<Box<str>>,
    /// The label must not be so.
    not: bool,
}

impl Selector {
    /// From text; `None` when it makes no sense. Empty text selects everything.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text.trim();
        let mut all = Vec::new();
        while !rest.is_empty() {
            // A comma within parentheses does not end a requirement.
            let mut depth = 0;
            let end = rest.find(|c| {
                match c {
                    '(' => depth += 1,
                    ')' => depth -= 1,
                    _ => {}
                }
                c == ',' && depth == 0
            });
            let (one, next) = end.map_or((rest, ""), |at| (&rest[..at], &rest[at + 1..]));
            if end.is_some() && next.trim().is_empty() {
                return None;
            }
            all.push(Requirement::parse(one.trim())?);
            rest = next;
        }
        Some(Self(all))
    }

    /// Whether labels are selected.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|r| r.matches(labels))
    }
}

impl Requirement {
    fn parse(text: &str) -> Option<Self> {
        if let Some(key) = text.strip_prefix('!') {
            return Self::new(key, &[], true);
        }
        for (operator, not) in [("!=", true), ("==", false), ("=", false)] {
            if let Some((key, value)) = text.split_once(operator) {
                return Self::new(key, &[value], not);
            }
        }
        let Some((key, set)) = text.split_once(char::is_whitespace) else {
            return Self::new(text, &[], false);
        };
        let (operator, values) = set.split_once('(')?;
        let values: Vec<&str> = values.strip_suffix(')')?.split(',').collect();
        match operator.trim() {
            "in" => Self::new(key, &values, false),
            "notin" => Self::new(key, &values, true),
            _ => None,
        }
    }

    fn new(key: &str, values: &[&str], not: bool) -> Option<Self> {
        let key = key.trim();
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
        let values: Vec<Box<str>> = values.iter().map(|v| v.trim().into()).collect();
        let good = !key.is_empty() && key.chars().all(word) && values.iter().all(|v| v.chars().all(word));
        good.then(|| Self { key: key.into(), values, not })
    }

    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let is = labels
            .get(&*self.key)
            .is_some_and(|value| self.values.is_empty() || self.values.iter().any(|v| **v == **value));
        is != self.not
    }
}

#[cfg(test)]
mod tests {
    use super::Selector;

    #[test]
    fn selectors_choose_as_kubectl_does() {
        let labels = [("zone", "a"), ("disk/kind", "ssd"), ("gpu", "")];
        let labels = labels.map(|(k, v)| (k.to_string(), v.to_string())).into();
        for (text, want) in [
            ("", true),
            ("zone", true),
            ("!zone", false),
            ("!other", true),
            ("zone=a", true),
            ("zone == a", true),
            ("zone=b", false),
            ("zone!=b", true),
            ("other!=b", true),
            ("gpu=", true),
            ("zone in (a, b)", true),
            ("zone in (c)", false),
            ("zone notin (a,b)", false),
            ("other notin (a)", true),
            ("zone in (a,b),disk/kind=ssd,!other", true),
            ("zone in (a,b),disk/kind=hdd", false),
        ] {
            assert_eq!(Selector::parse(text).unwrap().matches(&labels), want, "{text}");
        }
        for bad in ["zone in a", "=a", "zone in (a", "zone near (a)", "zone=a,", "a b c", "!"] {
            assert_eq!(Selector::parse(bad), None, "{bad}");
        }
    }
}
