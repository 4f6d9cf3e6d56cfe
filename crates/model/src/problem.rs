//! What is wrong with an object, said once and kept for as long as it is true.

use crate::objects::Kind;
use std::fmt;

/// Something in an object that could not be honoured. It spoils what it names and nothing else, and is gone from
/// [`crate::Model::problems`] as soon as the object is mended.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub struct Problem {
    /// `Kind namespace/name`.
    pub object: String,
    /// What is wrong, with the value and its field.
    pub what: String,
    /// What a person can do about it.
    pub todo: String,
}

impl Problem {
    /// A problem of the object `name` (`namespace/name`).
    pub fn new(kind: Kind, name: &str, what: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { object: format!("{} {name}", kind.name()), what: what.into(), todo: todo.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.object, self.what, self.todo)
    }
}
