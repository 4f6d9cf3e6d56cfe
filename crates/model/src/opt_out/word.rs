//! What the label of one object says.

use crate::Problem;
use crate::objects::{Kind, Meta};

/// The value of the label that opts out: the socket path is disabled.
pub const OUT: &str = "disabled";
/// The value that opts a pod in again where its namespace has opted out.
pub const IN: &str = "enabled";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Word {
    Nothing,
    Out,
    In,
}

/// A word, and what is wrong with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Said {
    pub(super) word: Word,
    pub(super) problem: Option<Problem>,
}

impl Said {
    pub(super) fn new(kind: Kind, name: &str, meta: &Meta, label: &str) -> Self {
        let word = match meta.label(label) {
            None => Word::Nothing,
            Some(OUT) => Word::Out,
            Some(IN) => Word::In,
            Some(other) => {
                let what = format!("label {label}: {other:?} is unknown");
                let todo = format!("use {OUT} or {IN}; until then it counts as not there");
                return Self { word: Word::Nothing, problem: Some(Problem::new(kind, name, what, todo)) };
            }
        };
        Self { word, problem: None }
    }
}
