//! Values of keys: parsing and checking.

use super::keys::{Key, Kind};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ipnet::IpNet;
use serde::Serialize;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// Words that stand for addresses.
const KEYWORDS: [&str; 3] = ["primary", "localhost", "all"];

/// A checked value.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// Of a switch.
    Bool(bool),
    /// Of a number.
    Number(u64),
    /// Of everything else that is one thing.
    Text(String),
    /// Of lists.
    List(Vec<String>),
}

impl Value {
    /// Parses and checks a value written as text; items of a list stand between commas.
    ///
    /// # Errors
    /// What is wrong, with the allowed values.
    pub fn parse(key: &Key, text: &str) -> Result<Self, String> {
        let text = text.trim();
        let wrong = || format!("{text:?} is not allowed; allowed: {}", key.allowed());
        let parsed = match key.kind {
            Kind::Bool => text.parse().ok().map(Self::Bool),
            Kind::Number(min, max) => text.parse().ok().filter(|n| (min..=max).contains(n)).map(Self::Number),
            Kind::PortRange => port_range(text).map(|_| Self::Text(text.into())),
            Kind::Socket if text.is_empty() => Some(Self::Text(String::new())),
            Kind::Socket => text.parse::<SocketAddr>().ok().map(|_| Self::Text(text.into())),
            Kind::Address | Kind::Score | Kind::Label if text.is_empty() => Some(Self::Text(String::new())),
            Kind::Address => text.parse::<std::net::IpAddr>().ok().map(|_| Self::Text(text.into())),
            Kind::Score => score(text).map(|_| Self::Text(text.into())),
            Kind::Label => is_label(text).then(|| Self::Text(text.into())),
            Kind::Duration => duration(text).map(|_| Self::Text(text.into())),
            Kind::Text => Some(Self::Text(text.into())),
            Kind::Seed => seed(text).map(|_| Self::Text(text.into())),
            Kind::OneOf(words, _) if words.contains(&text) => Some(Self::Text(text.into())),
            Kind::OneOf(words, later) if later.contains(&text) => {
                return Err(format!("{text:?} is not in this version; it does: {}", words.join(", ")));
            }
            Kind::OneOf(..) => None,
            Kind::List | Kind::Nets | Kind::Ranges => {
                let items = text.split(',').map(str::trim).filter(|i| !i.is_empty()).map(String::from);
                return Self::list(key, items.collect());
            }
        };
        parsed.ok_or_else(wrong)
    }

    /// Checks the items of a list.
    ///
    /// # Errors
    /// What is wrong, with the allowed values; also when the key takes no list.
    pub fn list(key: &Key, items: Vec<String>) -> Result<Self, String> {
        let bad = match key.kind {
            Kind::List => None,
            Kind::Nets => items.iter().find(|i| range(i).is_none()),
            Kind::Ranges => items.iter().find(|i| !KEYWORDS.contains(&i.as_str()) && range(i).is_none()),
            _ => return Err(format!("a list is not allowed; allowed: {}", key.allowed())),
        };
        match bad {
            Some(item) => Err(format!("{item:?} is not allowed; allowed: {}", key.allowed())),
            None => Ok(Self::List(items)),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(v) => v.fmt(f),
            Self::Number(v) => v.fmt(f),
            Self::Text(v) => v.fmt(f),
            Self::List(v) => v.join(",").fmt(f),
        }
    }
}

/// An address range; a lone address is a range of one.
pub(super) fn range(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse().ok().map(|addr: std::net::IpAddr| addr.into()))
}

/// An `oom_score_adj`.
pub(super) fn score(text: &str) -> Option<i16> {
    text.parse().ok().filter(|n| (-1000..=1000).contains(n))
}

/// `30000-32767`.
pub(super) fn port_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-')?;
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first > 0 && first <= last).then_some((first, last))
}

/// Whether Kubernetes takes a text for the key of a label: a name, and before it, if at all, a DNS name and a slash.
fn is_label(text: &str) -> bool {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    let word = |text: &str, most: usize, inside: fn(u8) -> bool| {
        let ends = text.bytes().next().into_iter().chain(text.bytes().next_back());
        (1..=most).contains(&text.len())
            && ends.into_iter().all(|c| c.is_ascii_alphanumeric())
            && text.bytes().all(|c| c.is_ascii_alphanumeric() || inside(c))
    };
    let part = |part: &str| word(part, 63, |c| c == b'-') && !part.bytes().any(|c| c.is_ascii_uppercase());
    word(name, 63, |c| b"-_.".contains(&c)) && prefix.is_none_or(|p| p.len() <= 253 && p.split('.').all(part))
}

/// `90s`, `2h13m20s`, `500ms`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut sum) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |n| digits + n);
        let millis = match &rest[digits..unit] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        sum = sum.checked_add(Duration::from_millis(number.checked_mul(millis)?))?;
        rest = &rest[unit..];
    }
    (!sum.is_zero()).then_some(sum)
}

/// Twelve bytes in base64.
#[must_use]
pub fn seed(text: &str) -> Option<[u8; 12]> {
    BASE64_STANDARD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::find;

    #[test]
    fn wrong_values_are_named_with_the_allowed_ones() {
        for (path, text, says) in [
            ("ipv6.enabled", "maybe", "true or false"),
            ("k8sServicePort", "70000", "1 to 65535"),
            ("nodePort.range", "32767-30000", "two ports"),
            ("loadBalancer.algorithm", "roundrobin", "random"),
            ("loadBalancer.mode", "annotation", "not in this version"),
            ("loadBalancer.dsrDispatch", "gue", "opt, ipip, geneve"),
            ("maglev.tableSize", "1000", "251, 509"),
            ("maglev.hashSeed", "c2hvcnQ=", "twelve bytes in base64"),
            ("nodePort.addresses", "10.0.0.0/33", "10.0.0.0/33"),
            ("flows.tcpSynTimeout", "60", "90s"),
            ("flows.tcpSynTimeout", "0s", "90s"),
            ("clusterCIDR", "10.244.0.0/16,all", "\"all\" is not allowed; allowed: a list of address ranges"),
            ("nodePort.addresses", "everywhere", "primary, localhost, all"),
            ("bindAddress", "eth0", "an IP address"),
            ("oomScoreAdj", "-1001", "-1000 to 1000"),
            ("kubeProxyReplacementHealthzBindAddr", "10256", "0.0.0.0:10256"),
            ("socketLB.optOutLabel", "shunt.io/socket-lb=disabled", "the key of a label"),
        ] {
            let error = Value::parse(find(path).unwrap(), text).unwrap_err();
            assert!(error.contains(says), "{path}={text}: {error}");
        }
    }

    #[test]
    fn a_label_is_what_kubernetes_takes_for_the_key_of_one() {
        for good in ["shunt.io/socket-lb", "a", "A_b.c-9", "x-1.example.com/Name"] {
            assert!(is_label(good), "{good}");
        }
        for bad in
            ["/a", "a/", "a/b/c", "-a", "a-", "Shunt.io/a", "shunt..io/a", "a b", "a,b", &"x".repeat(64)]
        {
            assert!(!is_label(bad), "{bad}");
        }
    }

    #[test]
    fn times_add_up() {
        assert_eq!(duration("2h13m20s"), Some(Duration::from_secs(8000)));
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("5"), None);
        assert_eq!(duration("s"), None);
    }
}
