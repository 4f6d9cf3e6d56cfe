//! Errors as the Kubernetes API says them: a `Status` object with a code, a reason and details.

use super::kinds::{Kind, KindInfo};
use serde_json::{Value, json};

/// A refused request.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable reason, as in `Status.reason`.
    pub reason: &'static str,
    /// What a person reads.
    pub message: String,
    /// `Status.details`.
    pub details: Value,
}

/// The result of a request.
pub type Result<T, E = ApiError> = std::result::Result<T, E>;

impl ApiError {
    fn new(code: u16, reason: &'static str, message: String) -> Self {
        Self { code, reason, message, details: Value::Null }
    }

    fn about(mut self, kind: &KindInfo, name: &str) -> Self {
        self.details = json!({"name": name, "group": kind.group, "kind": kind.plural});
        self
    }

    /// 404: no such object.
    pub fn not_found(kind: Kind, name: &str) -> Self {
        let info = kind.info();
        Self::new(404, "NotFound", format!("{} \"{name}\" not found", info.qualified())).about(info, name)
    }

    /// 404: no such path or resource.
    pub fn no_resource() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource".into())
    }

    /// 409: create of a name that is taken.
    pub fn exists(kind: Kind, name: &str) -> Self {
        let info = kind.info();
        Self::new(409, "AlreadyExists", format!("{} \"{name}\" already exists", info.qualified()))
            .about(info, name)
    }

    /// 409: the resource version sent is not the current one, or the uid is another's.
    pub fn conflict(kind: Kind, name: &str, why: &str) -> Self {
        let info = kind.info();
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", info.qualified());
        Self::new(409, "Conflict", message).about(info, name)
    }

    /// 403: whoever asks may not.
    pub fn forbidden(kind: Kind, verb: &str) -> Self {
        let info = kind.info();
        let what = format!(
            "{0} is forbidden: User \"lab\" cannot {verb} resource \"{1}\" in API group \"{2}\" at the cluster scope",
            info.qualified(),
            info.plural,
            info.group
        );
        Self::new(403, "Forbidden", what).about(info, "")
    }

    /// 410: the resource version is older than what the API remembers.
    pub fn expired(message: &str) -> Self {
        Self::new(410, "Expired", message.into())
    }

    /// 400: the request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message.into())
    }

    /// 405: the verb is not served here.
    pub fn method() -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource".into(),
        )
    }

    /// 415: the body's content type is not served.
    pub fn media_type(got: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format ({got}); this API speaks JSON and YAML"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 422: the object breaks rules; one cause per broken field.
    pub fn invalid(kind: Kind, name: &str, causes: &[Cause]) -> Self {
        let info = kind.info();
        let list: Vec<String> = causes.iter().map(Cause::text).collect();
        let text = if list.len() == 1 { list[0].clone() } else { format!("[{}]", list.join(", ")) };
        let mut error = Self::new(422, "Invalid", format!("{} \"{name}\" is invalid: {text}", info.kind));
        let causes: Vec<Value> = causes
            .iter()
            .map(|c| json!({"reason": c.reason, "message": c.message, "field": c.field}))
            .collect();
        error.details = json!({"name": name, "group": info.group, "kind": info.kind, "causes": causes});
        error
    }

    /// The `Status` object for this error.
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }
}

/// One broken field of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueInvalid`, `FieldValueRequired`, ...
    pub reason: &'static str,
    /// Path of the field.
    pub field: String,
    /// What is wrong with it, with the field's value.
    pub message: String,
}

impl Cause {
    /// A value that breaks a rule.
    pub fn invalid(field: impl Into<String>, value: &Value, why: &str) -> Self {
        Self {
            reason: "FieldValueInvalid",
            field: field.into(),
            message: format!("Invalid value: {value}: {why}"),
        }
    }

    /// A value that is missing.
    pub fn required(field: impl Into<String>, why: &str) -> Self {
        let message = if why.is_empty() { "Required value".into() } else { format!("Required value: {why}") };
        Self { reason: "FieldValueRequired", field: field.into(), message }
    }

    /// A value that must be unique and is not.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self {
            reason: "FieldValueDuplicate",
            field: field.into(),
            message: format!("Duplicate value: {value}"),
        }
    }

    /// A value outside the list of allowed ones.
    pub fn unsupported(field: impl Into<String>, value: &Value, allowed: &[&str]) -> Self {
        let allowed: Vec<String> = allowed.iter().map(|a| format!("\"{a}\"")).collect();
        let message = format!("Unsupported value: {value}: supported values: {}", allowed.join(", "));
        Self { reason: "FieldValueNotSupported", field: field.into(), message }
    }

    fn text(&self) -> String {
        format!("{}: {}", self.field, self.message)
    }
}
