//! What a check found.

use serde::Serialize;

/// How it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// As it should be.
    Pass,
    /// It works, with something to know; or it cannot be told.
    Warn,
    /// The configuration does not work here.
    Fail,
}

impl Verdict {
    /// The word in listings.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        }
    }
}

/// One check.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Row {
    /// What was looked at: `kernel`, `mtu`, `xdp`, `network`.
    pub check: String,
    /// Of which device or node; empty for this node as a whole.
    pub about: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do; empty where there is nothing to do.
    pub todo: String,
}

impl Row {
    /// A check that is as it should be.
    #[must_use]
    pub fn pass(check: &str, about: &str, found: impl Into<String>) -> Self {
        Self::new(check, about, Verdict::Pass, found.into(), String::new())
    }

    /// Something to know.
    #[must_use]
    pub fn warn(check: &str, about: &str, found: impl Into<String>, todo: impl Into<String>) -> Self {
        Self::new(check, about, Verdict::Warn, found.into(), todo.into())
    }

    /// Something that does not work.
    #[must_use]
    pub fn fail(check: &str, about: &str, found: impl Into<String>, todo: impl Into<String>) -> Self {
        Self::new(check, about, Verdict::Fail, found.into(), todo.into())
    }

    fn new(check: &str, about: &str, verdict: Verdict, found: String, todo: String) -> Self {
        Self { check: check.into(), about: about.into(), verdict, found, todo }
    }
}
