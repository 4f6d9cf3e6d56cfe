//! Answers: JSON in one piece or streamed.

use crate::api::error::ApiError;
use bytes::Bytes;
use futures::Stream;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Response, StatusCode,
    body::Frame,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde_json::Value;
use std::convert::Infallible;

/// A body in one piece or streamed.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;
/// A whole answer.
pub type Answer = Response<Body>;

/// An answer with a body of any type.
pub fn plain(code: u16, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()).boxed_unsync());
    *answer.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// A JSON answer from text that is JSON already.
pub fn bytes(code: u16, body: impl Into<Bytes>) -> Answer {
    plain(code, "application/json", body)
}

/// A JSON answer.
pub fn json(code: u16, value: &Value) -> Answer {
    bytes(code, value.to_string())
}

/// The answer for an error.
pub fn failure(error: &ApiError) -> Answer {
    json(error.code, &error.status())
}

/// A JSON answer in pieces.
pub fn stream(pieces: impl Stream<Item = Bytes> + Send + 'static) -> Answer {
    use futures::StreamExt;
    let frames = pieces.map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
    let mut answer = Response::new(StreamBody::new(frames).boxed_unsync());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
