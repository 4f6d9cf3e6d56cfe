//! kube-proxy's feature gates: two of them are about something that is ours too.

use super::Note;

/// A setting that a gate asks for: our key and its value.
pub type Asked = (&'static str, String);

/// What gates ask for, and one warning about those that mean nothing here.
#[must_use]
pub fn gates(gates: &[(String, bool)]) -> (Vec<Asked>, Option<Note>) {
    let (mut settings, mut others) = (Vec::new(), Vec::new());
    for (name, on) in gates {
        match name.as_str() {
            // KEP-5707: spec.externalIPs is served only where it is asked for.
            "AllowServiceExternalIPs" => settings.push(("externalIPs.enabled", on.to_string())),
            // KEP-6032: whether NodePorts answer on loopback; `nodePort.addresses` says the same.
            "KubeProxyNFTablesLocalhostNodePorts" => {}
            _ => others.push(name.as_str()),
        }
    }
    let note =
        || Note::Warning(format!("feature gates without a meaning here are ignored: {}", others.join(", ")));
    let note = (!others.is_empty()).then(note);
    (settings, note)
}

/// `A=true,B=false`.
///
/// # Errors
/// The part that is not a name and a switch.
pub fn parse(text: &str) -> Result<Vec<(String, bool)>, String> {
    let parts = text.split(',').map(str::trim).filter(|p| !p.is_empty());
    let gate = |part: &str| {
        let (name, on) = part.split_once('=')?;
        Some((name.trim().to_owned(), on.trim().parse().ok()?))
    };
    parts.map(|part| gate(part).ok_or_else(|| format!("{part:?} is not NAME=true or NAME=false"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_that_are_ours_become_settings_and_the_others_one_warning() {
        let asked = parse("AllowServiceExternalIPs=false, Foo=true,Bar=false").unwrap();
        let (settings, note) = gates(&asked);
        assert_eq!(settings, [("externalIPs.enabled", "false".to_owned())]);
        assert!(matches!(note, Some(Note::Warning(text)) if text.ends_with("ignored: Foo, Bar")));
        assert_eq!(gates(&parse("").unwrap()), (Vec::new(), None));
        assert!(parse("Foo").unwrap_err().contains("\"Foo\" is not NAME=true"));
    }
}
