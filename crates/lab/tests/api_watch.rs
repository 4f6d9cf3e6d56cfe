//! Lists and watches over HTTP: paging, resume, selectors, bookmarks, 410, and the faults.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod api_support;

use api_support::{Stream, config, eventually, server};
use serde_json::{Value, json};
use shunt_lab::api::{Kind, Options, Window};
use std::time::{Duration, Instant};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|i| i["metadata"]["name"].as_str().unwrap()).collect()
}

#[test]
fn pages_cover_the_list_once_and_a_watch_from_their_version_brings_what_fell_between() {
    let server = server(Options::default());
    for n in 0..5 {
        server.handle().put(config(&format!("c{n}"), json!({}))).unwrap();
    }
    let (_, first) = server.get(&format!("{MAPS}?limit=2"));
    assert_eq!((names(&first), &first["metadata"]["remainingItemCount"]), (vec!["c0", "c1"], &json!(3)));
    server.handle().put(config("c00", json!({}))).unwrap();
    let token = first["metadata"]["continue"].as_str().unwrap();
    let (_, second) = server.get(&format!("{MAPS}?limit=2&continue={token}"));
    assert_eq!(names(&second), ["c2", "c3"]);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let token = second["metadata"]["continue"].as_str().unwrap();
    let (_, last) = server.get(&format!("{MAPS}?limit=2&continue={token}"));
    assert_eq!((names(&last), last["metadata"].get("continue")), (vec!["c4"], None));
    let version = last["metadata"]["resourceVersion"].as_str().unwrap();
    assert_eq!(server.watch(&format!("{MAPS}?watch=1&resourceVersion={version}")).brief(), "ADDED c00");
    server.handle().expire();
    let (code, status) = server.get(&format!("{MAPS}?limit=2&continue={token}"));
    assert_eq!((code, &status["reason"]), (410, &json!("Expired")));
}

#[test]
fn a_resumed_watch_misses_nothing_and_repeats_nothing() {
    let server = server(Options::default());
    let handle = server.handle();
    handle.put(config("a", json!({}))).unwrap();
    let (_, list) = server.get(MAPS);
    let version = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut watch = server.watch(&format!("{MAPS}?watch=true&resourceVersion={version}"));
    handle.put(config("b", json!({}))).unwrap();
    let (what, object) = watch.event().unwrap();
    assert_eq!((what.as_str(), &object["metadata"]["name"]), ("ADDED", &json!("b")));
    drop(watch);
    handle.put(config("b", json!({"x": "1"}))).unwrap();
    handle.delete(Kind::ConfigMap, "default", "a").unwrap();
    let version = object["metadata"]["resourceVersion"].as_str().unwrap();
    let mut watch = server.watch(&format!("{MAPS}?watch=true&resourceVersion={version}"));
    assert_eq!([watch.brief(), watch.brief()], ["MODIFIED b", "DELETED a"]);
}

#[test]
fn a_watch_without_a_version_begins_with_the_state() {
    let server = server(Options::default());
    server.handle().put(config("a", json!({}))).unwrap();
    let mut watch = server.watch(&format!("{MAPS}?watch=true"));
    server.handle().put(config("b", json!({}))).unwrap();
    assert_eq!([watch.brief(), watch.brief()], ["ADDED a", "ADDED b"]);
    let mut list = server.watch(&format!(
        "{MAPS}?watch=true&sendInitialEvents=true&allowWatchBookmarks=true\
        &resourceVersionMatch=NotOlderThan"
    ));
    assert_eq!([list.brief(), list.brief()], ["ADDED a", "ADDED b"]);
    let (what, object) = list.event().unwrap();
    assert_eq!(
        (what.as_str(), &object["metadata"]["annotations"]["k8s.io/initial-events-end"]),
        ("BOOKMARK", &json!("true"))
    );
}

#[test]
fn selectors_turn_changes_into_arrivals_and_departures() {
    let server = server(Options::default());
    let handle = server.handle();
    let mut watch = server.watch(&format!("{MAPS}?watch=true&labelSelector=app%20in%20(web,db),!off"));
    let put = |labels: Value| handle.put(config("a", labels)).unwrap();
    put(json!({"app": "other"}));
    put(json!({"app": "web"}));
    put(json!({"app": "db"}));
    put(json!({"app": "db", "off": ""}));
    put(json!({"app": "db"}));
    handle.delete(Kind::ConfigMap, "default", "a").unwrap();
    let seen: Vec<String> = (0..5).map(|_| watch.brief()).collect();
    assert_eq!(seen, ["ADDED a", "MODIFIED a", "DELETED a", "ADDED a", "DELETED a"]);
    handle.put(config("b", json!({}))).unwrap();
    let (_, list) = server.get(&format!("{MAPS}?fieldSelector=metadata.name!=b"));
    assert_eq!(names(&list), Vec::<&str>::new());
    assert_eq!(server.get(&format!("{MAPS}?fieldSelector=spec.x=b")).0, 400);
}

#[test]
fn bookmarks_tell_the_version_while_nothing_happens_and_the_time_limit_ends_a_watch() {
    let server = server(Options { bookmark_every: Duration::from_millis(200), ..Options::default() });
    let path = format!(
        "{MAPS}?watch=true&allowWatchBookmarks=true&timeoutSeconds=1&resourceVersion={}",
        server.handle().version()
    );
    let (start, mut watch) = (Instant::now(), server.watch(&path));
    // A change of another kind: the bookmark must move on with it.
    let version =
        server.handle().put(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})).unwrap();
    let mut last = 0;
    while let Some((what, object)) = watch.event() {
        assert_eq!((what.as_str(), &object["kind"]), ("BOOKMARK", &json!("ConfigMap")));
        last = object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    }
    assert_eq!(last, version);
    assert!(start.elapsed() >= Duration::from_millis(900), "the watch lived for the second it asked for");
}

#[test]
fn a_forgotten_past_is_410_for_running_and_for_resumed_watches() {
    let server = server(Options { window: Window { events: 3, bytes: 1 << 20 }, ..Options::default() });
    let handle = server.handle();
    let old = handle.version();
    let mut running = server.watch(&format!("{MAPS}?watch=true&resourceVersion={old}"));
    for n in 0..4 {
        handle.put(config(&format!("c{n}"), json!({}))).unwrap();
    }
    let mut late = server.watch(&format!("{MAPS}?watch=true&resourceVersion={old}"));
    let (what, status) = late.event().unwrap();
    assert_eq!(
        (what.as_str(), &status["code"], &status["reason"]),
        ("ERROR", &json!(410), &json!("Expired"))
    );
    assert!(late.event().is_none(), "the watch ends after the error");
    let now = handle.version();
    let mut fresh = server.watch(&format!("{MAPS}?watch=true&resourceVersion={now}"));
    handle.expire();
    assert_eq!(fresh.event().unwrap().0, "ERROR");
    // The first one has seen some or none of the four, but then also the end.
    while running.event().is_some_and(|(what, _)| what != "ERROR") {}
    assert!(running.event().is_none());
}

#[test]
fn a_stopped_api_refuses_and_cuts_and_a_resumed_one_answers_on_the_same_port() {
    let server = server(Options::default());
    let mut watch = server.watch(&format!("{MAPS}?watch=true"));
    server.handle().stop();
    assert!(watch.event().is_none(), "the connection was cut");
    eventually("connections are refused", || {
        let tried = Stream::open(server.address, "GET", "/healthz", "", "");
        tried.err().is_some_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused)
    });
    server.handle().resume();
    eventually("it answers again", || Stream::open(server.address, "GET", "/healthz", "", "").is_ok());
    assert_eq!(server.get(MAPS).0, 200);
}

#[test]
fn watches_can_be_dropped_and_answers_slowed() {
    let server = server(Options::default());
    let mut watch = server.watch(&format!("{MAPS}?watch=true"));
    server.handle().drop_watches();
    assert!(watch.event().is_none());
    server.handle().slow(Duration::from_millis(300));
    let start = Instant::now();
    assert_eq!(server.get(MAPS).0, 200);
    assert!(start.elapsed() >= Duration::from_millis(300));
    server.handle().slow(Duration::ZERO);
}

#[test]
fn a_forbidden_kind_can_be_neither_listed_nor_watched_and_ends_its_watches() {
    let server = server(Options::default());
    let mut watch = server.watch(&format!("{MAPS}?watch=1"));
    server.handle().forbid(&[Kind::ConfigMap]);
    assert!(watch.event().is_none(), "the watch is over");
    for query in ["", "?watch=1"] {
        let (code, status) = server.get(&format!("{MAPS}{query}"));
        assert_eq!((code, &status["reason"]), (403, &json!("Forbidden")), "{status}");
    }
    assert_eq!(server.get("/api/v1/namespaces/default/services").0, 200);
    server.handle().forbid(&[]);
    assert_eq!(server.get(MAPS).0, 200);
}
