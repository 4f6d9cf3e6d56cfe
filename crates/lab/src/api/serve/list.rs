//! Lists: paged, selected, streamed in chunks from the shared JSON texts.

use super::{
    answer::{self, Answer},
    request::Query,
};
use crate::api::{
    error::{ApiError, Result},
    kinds::Kind,
    object::{Key, Object},
    selectors::Selector,
    shared::Shared,
    table::{self, Include},
};
use bytes::{BufMut, Bytes, BytesMut};
use futures::{Stream, stream};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

/// Bytes in one piece of a streamed list, about.
const PIECE: usize = 64 << 10;

/// Where the next page begins, and how much is left.
pub struct More {
    token: String,
    remaining: Option<usize>,
}

/// The selectors of a request.
pub fn selector(kind: Kind, query: &Query) -> Result<Selector> {
    Selector::parse(kind, query.get("labelSelector"), query.get("fieldSelector"))
}

/// Answers a list request.
pub fn answer(
    shared: &Shared,
    kind: Kind,
    namespace: &str,
    query: &Query,
    table: Option<Include>,
) -> Result<Answer> {
    shared.lists.fetch_add(1, Ordering::Relaxed);
    let selector = selector(kind, query)?;
    let limit =
        query.number("limit").filter(|l| *l > 0).and_then(|l| usize::try_from(l).ok()).unwrap_or(usize::MAX);
    let (version, objects, more) = {
        let store = shared.store();
        let from = start(kind, query, |version| store.lost(kind, version))?;
        let version = from.as_ref().map_or(store.version(), |(version, _)| *version);
        if query.get("resourceVersionMatch") == "Exact"
            && query.number("resourceVersion") != Some(store.version())
        {
            return Err(ApiError::expired(
                "the API remembers changes, not old states: only the current version can be listed",
            ));
        }
        let mut all = store.range(kind, namespace, from.map(|f| f.1)).filter(|o| selector.matches(&o.meta));
        let page: Vec<Object> = all.by_ref().take(limit).cloned().collect();
        let left = if limit == usize::MAX { 0 } else { all.count() };
        let more = page.last().filter(|_| left > 0).map(|last| More {
            token: format!("{version}:{}/{}", last.meta.key.0, last.meta.key.1),
            // As a real API server: the count is only told when it costs nothing.
            remaining: selector.is_empty().then_some(left),
        });
        (version, page, more)
    };
    if let Some(include) = table {
        let mut table = table::render(kind, objects.iter().map(Object::value), include);
        table["metadata"] = list_meta(version, more.as_ref());
        return Ok(answer::json(200, &table));
    }
    Ok(answer::stream(pieces(kind, version, more, objects.into_iter().map(|o| o.json).collect())))
}

/// The version and key that a continue token stands for.
///
/// Later pages are read from the current state but tell the first page's version, so a watch from there brings every
/// change that fell between two pages.
fn start(kind: Kind, query: &Query, lost: impl Fn(u64) -> bool) -> Result<Option<(u64, Key)>> {
    let token = query.get("continue");
    if token.is_empty() {
        return Ok(None);
    }
    let parsed = token.split_once(':').and_then(|(version, key)| {
        let (namespace, name) = key.split_once('/')?;
        Some((version.parse().ok()?, (namespace.into(), name.into())))
    });
    let (version, key) = parsed.ok_or_else(|| ApiError::bad_request("continue key is not valid"))?;
    if lost(version) {
        let plural = kind.info().plural;
        let message = format!(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list \
             of {plural} without the continue parameter."
        );
        return Err(ApiError::expired(&message));
    }
    Ok(Some((version, key)))
}

fn list_meta(version: u64, more: Option<&More>) -> Value {
    let mut meta = json!({"resourceVersion": version.to_string()});
    if let Some(more) = more {
        meta["continue"] = more.token.clone().into();
        if let Some(remaining) = more.remaining {
            meta["remainingItemCount"] = remaining.into();
        }
    }
    meta
}

/// The list object around the objects' texts, in pieces.
pub fn pieces(
    kind: Kind,
    version: u64,
    more: Option<More>,
    objects: Vec<Bytes>,
) -> impl Stream<Item = Bytes> + Send {
    let info = kind.info();
    let head = format!(
        r#"{{"kind":"{}List","apiVersion":"{}","metadata":{},"items":["#,
        info.kind,
        info.api_version(),
        list_meta(version, more.as_ref())
    );
    let mut objects = objects.into_iter();
    let mut open = Some(head);
    let mut first = true;
    stream::iter(std::iter::from_fn(move || {
        let mut piece = BytesMut::with_capacity(PIECE + PIECE / 4);
        piece.put_slice(open.take()?.as_bytes());
        while piece.len() < PIECE {
            let Some(object) = objects.next() else {
                piece.put_slice(b"]}\n");
                return Some(piece.freeze());
            };
            if !std::mem::take(&mut first) {
                piece.put_u8(b',');
            }
            piece.put_slice(&object);
        }
        open = Some(String::new());
        Some(piece.freeze())
    }))
}
