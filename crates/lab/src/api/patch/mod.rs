//! The four kinds of patch.

mod json;
mod strategic;

use super::{
    error::{ApiError, Result},
    kinds::Kind,
};
use serde_json::{Map, Value};

/// How the body of a PATCH changes the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 7396.
    Merge,
    /// Kubernetes' merge with merge keys and directives.
    Strategic,
    /// RFC 6902.
    Json,
    /// Server-side apply: create, or merge by merge keys.
    Apply,
}

impl PatchType {
    /// The type that a `Content-Type` names.
    pub fn of(content_type: &str) -> Option<Self> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/merge-patch+json" => Some(Self::Merge),
            "application/strategic-merge-patch+json" => Some(Self::Strategic),
            "application/json-patch+json" => Some(Self::Json),
            "application/apply-patch+yaml" => Some(Self::Apply),
            _ => None,
        }
    }
}

/// Changes `value`, an object of `kind`.
///
/// # Errors
/// 400 when the patch does not parse, 422 when a JSON patch does not fit.
pub fn apply(kind: Kind, how: PatchType, patch: &Value, value: &mut Value) -> Result<()> {
    if how != PatchType::Json && !patch.is_object() {
        return Err(ApiError::bad_request("the patch is not a JSON object"));
    }
    match how {
        PatchType::Merge => merge(value, patch),
        PatchType::Strategic => strategic::merge(kind, value, patch),
        PatchType::Apply => strategic::apply(kind, value, patch),
        PatchType::Json => json::apply(value, patch)?,
    }
    Ok(())
}

/// RFC 7396: objects merge, null removes, anything else replaces.
fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    for (name, patch) in fields {
        if patch.is_null() {
            super::admit::remove(value, name);
        } else {
            merge(&mut value[name], patch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn merge_patch_replaces_lists_and_removes_nulls() {
        let mut value = json!({"a": {"b": 1, "c": [1, 2]}, "d": 1});
        merge(&mut value, &json!({"a": {"b": null, "c": [3]}, "e": {"f": {"g": null}}}));
        assert_eq!(value, json!({"a": {"c": [3]}, "d": 1, "e": {"f": {}}}));
    }
}
