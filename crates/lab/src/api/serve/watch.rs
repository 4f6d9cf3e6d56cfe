//! Watches: replay of the past from a version on, then changes as they come, with bookmarks and faults.

use super::{
    answer::{self, Answer},
    list,
    request::Query,
};
use crate::api::{
    error::{ApiError, Result},
    faults::{FaultState, until},
    history::{Event, What},
    kinds::Kind,
    object::Object,
    selectors::Selector,
    shared::Shared,
    table::{self, Include},
};
use bytes::{BufMut, Bytes, BytesMut};
use futures::{Stream, stream};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch::Receiver,
    time::{Instant, sleep, sleep_until, timeout_at},
};

/// Changes in one piece of the answer at most.
const BATCH: usize = 256;
/// How long a watch lasts that does not ask for a limit; a real API server's choice lies between 30 and 60 minutes.
const LONGEST: Duration = Duration::from_secs(40 * 60);

/// One watch in progress.
struct Watch {
    shared: Arc<Shared>,
    kind: Kind,
    namespace: String,
    selector: Selector,
    table: Option<Include>,
    /// Changes up to here have been sent.
    version: u64,
    /// What is sent before any change: the state at the start.
    initial: std::vec::IntoIter<Object>,
    /// A bookmark is due after the initial state.
    announce_end: bool,
    bookmarks: bool,
    changed: Receiver<u64>,
    faults: Receiver<FaultState>,
    drops_seen: u64,
    ends: Instant,
    next_bookmark: Instant,
    over: bool,
}

/// Answers a watch request.
pub fn answer(
    shared: &Arc<Shared>,
    kind: Kind,
    namespace: &str,
    query: &Query,
    table: Option<Include>,
) -> Result<Answer> {
    let selector = list::selector(kind, query)?;
    let asked = query.get("resourceVersion");
    let since = if asked.is_empty() { 0 } else { parse_version(asked)? };
    let mut initial = Vec::new();
    let mut version = since;
    // Subscribed before the state is read, so that no change falls between the two.
    let (changed, faults) = (shared.subscribe(kind), shared.faults.subscribe());
    if since == 0 || query.is("sendInitialEvents") {
        let store = shared.store();
        version = store.version();
        initial = store.range(kind, namespace, None).filter(|o| selector.matches(&o.meta)).cloned().collect();
    }
    if query.get("sendInitialEvents") == "false" {
        initial = Vec::new();
    }
    let seconds = query.number("timeoutSeconds").filter(|s| *s > 0);
    let drops_seen = faults.borrow().drop_watches;
    let watch = Watch {
        kind,
        namespace: namespace.to_owned(),
        selector,
        table,
        version,
        initial: initial.into_iter(),
        announce_end: query.is("sendInitialEvents"),
        bookmarks: query.is("allowWatchBookmarks"),
        changed,
        faults,
        drops_seen,
        ends: Instant::now() + seconds.map_or(LONGEST, Duration::from_secs),
        next_bookmark: Instant::now() + shared.bookmark_every,
        over: false,
        shared: shared.clone(),
    };
    Ok(answer::stream(watch.pieces()))
}

fn parse_version(text: &str) -> Result<u64> {
    text.parse().map_err(|_| ApiError::bad_request(format!("invalid resource version {text:?}")))
}

impl Watch {
    fn pieces(self) -> impl Stream<Item = Bytes> + Send {
        stream::unfold(self, |mut watch| async move {
            let piece = watch.next().await?;
            Some((piece, watch))
        })
    }

    /// The next piece of the answer, or `None` at its end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.over {
                return None;
            }
            if let Some(piece) = self.initial_piece() {
                return Some(piece);
            }
            self.slow_down().await;
            // Seen before reading, so that a change after the read wakes the wait below.
            self.changed.borrow_and_update();
            if let Some(piece) = self.changes() {
                return Some(piece);
            }
            if let Some(last) = self.wait().await {
                return Some(last).filter(|l| !l.is_empty());
            }
        }
    }

    fn initial_piece(&mut self) -> Option<Bytes> {
        let mut piece = BytesMut::new();
        let batch: Vec<Object> = self.initial.by_ref().take(BATCH).collect();
        for object in batch {
            put(&mut piece, "ADDED", &self.text(&object));
        }
        if self.initial.len() == 0 && std::mem::take(&mut self.announce_end) {
            put(&mut piece, "BOOKMARK", &self.bookmark(true));
        }
        (!piece.is_empty()).then(|| piece.freeze())
    }

    /// The next batch of changes as text; an error event when some are forgotten.
    fn changes(&mut self) -> Option<Bytes> {
        // The newest version goes with the events: what comes later is not skipped by it.
        let (events, newest) = {
            let store = self.shared.store();
            (store.since(self.kind, self.version, BATCH), store.version())
        };
        let mut piece = BytesMut::new();
        let Some(events) = events else {
            self.over = true;
            let message = format!("too old resource version: {} ({newest})", self.version);
            put(&mut piece, "ERROR", ApiError::expired(&message).status().to_string().as_bytes());
            return Some(piece.freeze());
        };
        let full = events.len() == BATCH;
        for event in &events {
            self.version = event.version;
            if let Some(what) = self.seen_as(event) {
                put(&mut piece, what, &self.text(&event.object));
            }
        }
        if full && piece.is_empty() {
            return self.changes();
        }
        // A resume from a version ahead of ours stays there.
        if !full {
            self.version = self.version.max(newest);
        }
        (!piece.is_empty()).then(|| piece.freeze())
    }

    /// What a change looks like through the selector and the namespace.
    fn seen_as(&self, event: &Event) -> Option<&'static str> {
        if !self.namespace.is_empty() && *event.object.meta.key.0 != *self.namespace {
            return None;
        }
        let before = event.before.as_ref().is_some_and(|m| self.selector.matches(m));
        let after = event.what != What::Deleted && self.selector.matches(&event.object.meta);
        match (before, after) {
            (false, false) => None,
            (false, true) => Some("ADDED"),
            (true, true) => Some("MODIFIED"),
            (true, false) => Some("DELETED"),
        }
    }

    /// Waits for something to do. `Some` is the last or a bookmark's piece; an empty one ends the watch.
    async fn wait(&mut self) -> Option<Bytes> {
        let bookmark_at = if self.bookmarks { self.next_bookmark.min(self.ends) } else { self.ends };
        let drops_seen = self.drops_seen;
        let dropped = until(&mut self.faults, |f| f.drop_watches != drops_seen || f.closed);
        let woken = async {
            tokio::select! {
                changed = self.changed.changed() => changed.is_ok(),
                () = dropped => false,
            }
        };
        match timeout_at(bookmark_at, woken).await {
            Ok(true) => None,
            Ok(false) => {
                self.over = true;
                Some(Bytes::new())
            }
            Err(_) => {
                self.over = Instant::now() >= self.ends;
                self.next_bookmark = Instant::now() + self.shared.bookmark_every;
                let mut piece = BytesMut::new();
                if self.bookmarks {
                    put(&mut piece, "BOOKMARK", &self.bookmark(false));
                }
                Some(piece.freeze())
            }
        }
    }

    async fn slow_down(&self) {
        let delay = self.faults.borrow().delay;
        if !delay.is_zero() {
            tokio::select! { () = sleep(delay) => {} () = sleep_until(self.ends) => {} }
        }
    }

    fn text(&self, object: &Object) -> Bytes {
        match self.table {
            Some(include) => table::render(self.kind, [object.value()], include).to_string().into(),
            None => object.json.clone(),
        }
    }

    fn bookmark(&self, end_of_initial: bool) -> Bytes {
        let info = self.kind.info();
        let mut object: Value = json!({"kind": info.kind, "apiVersion": info.api_version(),
            "metadata": {"resourceVersion": self.version.to_string()}});
        if end_of_initial {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        object.to_string().into()
    }
}

fn put(piece: &mut BytesMut, what: &str, object: &[u8]) {
    piece.reserve(object.len() + 40);
    piece.put_slice(br#"{"type":""#);
    piece.put_slice(what.as_bytes());
    piece.put_slice(br#"","object":"#);
    piece.put_slice(object);
    piece.put_slice(b"}\n");
}
