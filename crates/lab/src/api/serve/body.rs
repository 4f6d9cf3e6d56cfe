//! Request bodies: JSON, or YAML where a client may send it.

use crate::api::error::{ApiError, Result};
use http_body_util::{BodyExt, Limited};
use hyper::{body::Incoming, header::CONTENT_TYPE, http::request::Parts};
use serde_json::Value;

/// The largest body taken, as in a real API server.
const LIMIT: usize = 3 << 20;

/// Reads the whole body; an empty one is null.
pub async fn read(head: &Parts, incoming: Incoming) -> Result<Value> {
    let body = Limited::new(incoming, LIMIT).collect().await;
    let body =
        body.map_err(|e| ApiError::bad_request(format!("the body could not be read: {e}")))?.to_bytes();
    if body.is_empty() {
        return Ok(Value::Null);
    }
    let kind = content_type(head);
    let bad = |e: String| ApiError::bad_request(format!("the body does not parse: {e}"));
    if kind.contains("yaml") {
        let text = std::str::from_utf8(&body).map_err(|e| bad(e.to_string()))?;
        return serde_saphyr::from_str(text).map_err(|e| bad(e.to_string()));
    }
    if !kind.is_empty() && !kind.contains("json") && kind != "*/*" {
        return Err(ApiError::media_type(kind));
    }
    serde_json::from_slice(&body).map_err(|e| bad(e.to_string()))
}

/// The `Content-Type` of a request, or empty.
pub fn content_type(head: &Parts) -> &str {
    head.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default()
}
