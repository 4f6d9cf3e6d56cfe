//! `v1/Namespace`.

use super::Meta;
use serde::{Deserialize, Serialize};

/// A Namespace.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// Name and labels.
    pub metadata: Meta,
}
