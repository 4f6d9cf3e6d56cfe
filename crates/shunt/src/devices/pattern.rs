//! The `devices` key: names, `eth+` for every name that begins so, `!eth3` for none of these.

/// Patterns of device names.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Patterns {
    with: Vec<String>,
    without: Vec<String>,
}

impl Patterns {
    /// From the items of the list.
    #[must_use]
    pub fn new(items: &[String]) -> Self {
        let (without, with) = items.iter().map(|i| i.trim().to_owned()).partition(|i| i.starts_with('!'));
        let without: Vec<String> = without;
        Self { with, without: without.iter().map(|i| i[1..].to_owned()).collect() }
    }

    /// Whether a link is excluded by name: it is neither a device nor a pod interface.
    #[must_use]
    pub fn excludes(&self, name: &str) -> bool {
        self.without.iter().any(|p| matches(p, name))
    }

    /// Whether a link is listed; `None` when the list leaves it to detection.
    #[must_use]
    pub fn says(&self, name: &str) -> Option<bool> {
        if self.excludes(name) {
            return Some(false);
        }
        // With exclusions alone the rest is found as ever.
        (!self.with.is_empty()).then(|| self.with.iter().any(|p| matches(p, name)))
    }

    /// Names without wildcard, which are missed when there is no such link.
    pub fn exact(&self) -> impl Iterator<Item = &str> {
        self.with.iter().map(String::as_str).filter(|p| !p.ends_with('+'))
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('+') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_say_yes_no_or_nothing() {
        let patterns =
            |items: &[&str]| Patterns::new(&items.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(patterns(&[]).says("eth0"), None);
        assert_eq!(patterns(&["eth+"]).says("eth0"), Some(true));
        assert_eq!(patterns(&["eth+"]).says("ens3"), Some(false));
        assert_eq!(patterns(&["eth+", "!eth3"]).says("eth3"), Some(false));
        assert_eq!(patterns(&["!eth3"]).says("eth0"), None);
        assert!(patterns(&["eth+", "!eth3"]).excludes("eth3") && !patterns(&["eth+"]).excludes("ens3"));
        assert_eq!(patterns(&["ens3", "eth+"]).exact().collect::<Vec<_>>(), ["ens3"]);
    }
}
