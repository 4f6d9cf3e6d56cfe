use super::*;
use crate::sources::Object;
use axum::Router;
use axum::body::Body as HttpBody;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use futures::stream;
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

/// Answers of an API server for services, one for each request; then silence. Other kinds are empty.
#[derive(Clone, Default)]
struct Api {
    lists: Arc<Mutex<Vec<String>>>,
    watches: Arc<Mutex<Vec<String>>>,
    asked: Arc<Mutex<Vec<HashMap<String, String>>>>,
    /// What was asked of pods.
    pods: Arc<Mutex<Vec<HashMap<String, String>>>>,
    /// What was asked of namespaces, which nobody may list until the second try.
    namespaces: Arc<Mutex<Vec<HashMap<String, String>>>>,
    /// With what ServiceCIDRs are refused.
    cidrs: Arc<Mutex<Option<u16>>>,
}

impl Api {
    async fn serve(self) -> Client {
        let app = Router::new()
            .route("/api/v1/services", get(services))
            .route("/apis/discovery.k8s.io/v1/endpointslices", get(nothing))
            .route("/api/v1/nodes", get(nothing))
            .route("/api/v1/pods", get(pods))
            .route("/api/v1/namespaces", get(namespaces))
            .route("/apis/networking.k8s.io/v1/servicecidrs", get(cidrs))
            .with_state(self);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap()
    }
}

/// The text, then an open connection.
fn held(text: String) -> HttpBody {
    let first = stream::iter([Ok::<_, Infallible>(text)]);
    HttpBody::from_stream(first.chain(stream::pending()))
}

async fn services(State(api): State<Api>, Query(query): Query<HashMap<String, String>>) -> HttpBody {
    let watch = query.contains_key("watch");
    api.asked.lock().unwrap().push(query);
    let answers = if watch { &api.watches } else { &api.lists };
    let mut answers = answers.lock().unwrap();
    match answers.is_empty() {
        true => held(String::new()),
        false if watch && answers.len() == 1 => held(answers.remove(0)),
        false => HttpBody::from(answers.remove(0)),
    }
}

/// An API that keeps a kind from us, or does not have it, once it is told to.
async fn cidrs(State(api): State<Api>, query: Query<HashMap<String, String>>) -> axum::response::Response {
    use axum::response::IntoResponse;
    let refusal = *api.cidrs.lock().unwrap();
    let Some(code) = refusal else { return nothing(State(api), query).await.into_response() };
    let text = format!(
        r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"not for you","code":{code}}}"#
    );
    (axum::http::StatusCode::from_u16(code).unwrap(), text).into_response()
}

async fn pods(State(api): State<Api>, Query(query): Query<HashMap<String, String>>) -> HttpBody {
    api.pods.lock().unwrap().push(query.clone());
    nothing(State(api), Query(query)).await
}

async fn namespaces(
    State(api): State<Api>,
    Query(query): Query<HashMap<String, String>>,
) -> (StatusCode, HttpBody) {
    let asked = {
        let mut asked = api.namespaces.lock().unwrap();
        asked.push(query.clone());
        asked.len()
    };
    if asked > 1 {
        return (StatusCode::OK, nothing(State(api), Query(query)).await);
    }
    let status = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"namespaces is forbidden: User x","reason":"Forbidden","code":403}"#;
    (StatusCode::FORBIDDEN, HttpBody::from(status))
}

async fn nothing(State(_): State<Api>, Query(query): Query<HashMap<String, String>>) -> HttpBody {
    if query.contains_key("watch") { held(String::new()) } else { HttpBody::from(list("1", &[])) }
}

async fn watch_n1(client: Client, events: Sender) {
    super::watch(client, &Wanted { node: "n1".into(), ..Wanted::default() }, events).await;
}

fn service(name: &str, version: &str, ports: &str) -> String {
    format!(
        r#"{{"metadata":{{"name":"{name}","namespace":"shop","resourceVersion":"{version}"}},"spec":{{"ports":{ports}}}}}"#
    )
}

fn list(version: &str, items: &[String]) -> String {
    let items = items.join(",");
    format!(
        r#"{{"apiVersion":"v1","kind":"List","metadata":{{"resourceVersion":"{version}"}},"items":[{items}]}}"#
    )
}

fn event(kind: &str, object: &str) -> String {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")
}

/// What is told of services, as words, until `count` are there.
async fn told(events: &mut mpsc::Receiver<Event>, count: usize) -> Vec<String> {
    let mut words = Vec::new();
    while words.len() < count {
        let next = tokio::time::timeout(std::time::Duration::from_secs(20), events.recv());
        words.extend(match next.await.unwrap_or_else(|_| panic!("no more than {words:?}")).unwrap() {
            Event::ListBegins(Kind::Service) => Some("begin".into()),
            Event::ListEnds(Kind::Service) => Some("end".into()),
            Event::Apply(Object::Service(s)) => Some(format!("+{}", s.metadata.key())),
            Event::Seen(Kind::Service, namespace, name) => Some(format!("={namespace}/{name}")),
            Event::Delete(Kind::Service, namespace, name) => Some(format!("-{namespace}/{name}")),
            Event::Problems { about, problems } => Some(format!("{about}: {} problems", problems.len())),
            Event::Connection(Kind::Service, Err(_)) => Some("down".into()),
            // A full list says so by its end.
            Event::Connection(Kind::Service, Ok(())) if words.last().is_some_and(|w| w == "down") => {
                Some("up".into())
            }
            _ => None,
        });
    }
    words
}

#[tokio::test]
async fn a_malformed_object_is_told_and_the_watch_goes_on() {
    let api = Api::default();
    api.lists.lock().unwrap().push(list("5", &[service("a", "1", "[]"), service("b", "2", "\"x\"")]));
    let watch = [
        event("MODIFIED", &service("b", "6", "[]")),
        event("ADDED", &service("c", "7", "{}")),
        event("DELETED", &service("a", "8", "[]")),
    ];
    api.watches.lock().unwrap().push(watch.concat());
    let (sender, mut events) = mpsc::channel(64);
    let client = api.clone().serve().await;
    let task = tokio::spawn(watch_n1(client, sender));
    assert_eq!(
        told(&mut events, 10).await,
        [
            "begin",
            "+shop/a",
            "=shop/b",
            "Service shop/b: 1 problems",
            "end",
            "+shop/b",
            "Service shop/b: 0 problems",
            "=shop/c",
            "Service shop/c: 1 problems",
            "-shop/a"
        ]
    );
    let asked = api.asked.lock().unwrap();
    assert_eq!(asked[0]["labelSelector"], "!service.kubernetes.io/service-proxy-name");
    assert_eq!(asked[1]["allowWatchBookmarks"], "true");
    assert_eq!(asked[1]["resourceVersion"], "5");
    drop(asked);
    task.abort();
}

#[tokio::test]
async fn a_watch_that_ends_resumes_at_its_bookmark_and_one_too_old_lists_again() {
    let api = Api::default();
    api.lists
        .lock()
        .unwrap()
        .extend([list("5", &[service("a", "1", "[]")]), list("20", &[service("z", "19", "[]")])]);
    let bookmark = r#"{"apiVersion":"v1","kind":"Service","metadata":{"resourceVersion":"9"}}"#;
    let gone = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old","reason":"Expired","code":410}"#;
    api.watches.lock().unwrap().extend([event("BOOKMARK", bookmark), event("ERROR", gone), String::new()]);
    let (sender, mut events) = mpsc::channel(64);
    let client = api.clone().serve().await;
    let task = tokio::spawn(watch_n1(client, sender));
    let words = told(&mut events, 6).await;
    assert_eq!(
        words,
        ["begin", "+shop/a", "end", "begin", "+shop/z", "end"],
        "an API that forgets is not down"
    );
    while !api.asked.lock().unwrap().iter().any(|q| q.get("resourceVersion").is_some_and(|v| v == "20")) {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let asked = api.asked.lock().unwrap();
    let versions: Vec<_> =
        asked.iter().filter_map(|q| q.get("resourceVersion").map(String::as_str)).collect();
    assert_eq!(versions, ["5", "9", "20"]);
    drop(asked);
    task.abort();
}

#[tokio::test]
async fn a_malformed_object_that_is_gone_by_the_next_list_is_no_problem_any_more() {
    let api = Api::default();
    let malformed = |names: &[&str]| names.iter().map(|n| service(n, "1", "{}")).collect::<Vec<_>>();
    api.lists.lock().unwrap().extend([list("5", &malformed(&["a", "b"])), list("9", &malformed(&["b"]))]);
    let gone = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old","reason":"Expired","code":410}"#;
    api.watches.lock().unwrap().extend([event("ERROR", gone), String::new()]);
    let (sender, mut events) = mpsc::channel(64);
    let client = api.clone().serve().await;
    let task = tokio::spawn(watch_n1(client, sender));
    let words = told(&mut events, 11).await;
    assert_eq!(
        words[6..],
        ["begin", "=shop/b", "Service shop/b: 1 problems", "end", "Service shop/a: 0 problems"],
        "{words:?}"
    );
    task.abort();
}

#[test]
fn the_services_of_a_named_proxy_are_asked_for_by_its_label() {
    let wanted = |proxy: &str| Wanted { proxy: proxy.into(), ..Wanted::default() }.services();
    assert_eq!(wanted(""), "!service.kubernetes.io/service-proxy-name");
    assert_eq!(wanted("shunt"), "service.kubernetes.io/service-proxy-name=shunt");
}

#[tokio::test]
async fn pods_of_this_node_are_watched_only_where_host_ports_are_on() {
    for pods in [false, true] {
        let api = Api::default();
        let (sender, mut events) = mpsc::channel(64);
        let client = api.clone().serve().await;
        let wanted = Wanted { node: "n1".into(), pods, ..Wanted::default() };
        let task = tokio::spawn(async move { super::watch(client, &wanted, sender).await });
        let mut ended = Vec::new();
        let wait = std::time::Duration::from_secs(if pods { 20 } else { 1 });
        while ended.len() < 3 + usize::from(pods) {
            match tokio::time::timeout(wait, events.recv()).await {
                Ok(Some(Event::ListEnds(kind))) => ended.push(kind),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        assert_eq!(ended.contains(&Kind::Pod), pods, "{ended:?}");
        if pods {
            let asked = api.pods.lock().unwrap();
            assert_eq!(asked[0]["fieldSelector"], "spec.nodeName=n1");
        }
        task.abort();
    }
}

#[tokio::test]
async fn an_api_without_service_cidrs_has_none_and_one_that_keeps_them_from_us_says_so() {
    for (code, want) in [(404, "none"), (403, "forbidden")] {
        let api = Api::default();
        *api.cidrs.lock().unwrap() = Some(code);
        let (sender, mut events) = mpsc::channel(64);
        let task = tokio::spawn(watch_n1(api.serve().await, sender));
        let told = loop {
            let next = tokio::time::timeout(std::time::Duration::from_secs(20), events.recv());
            match next.await.unwrap().unwrap() {
                Event::ListEnds(Kind::ServiceCidr) => break "none",
                Event::Connection(Kind::ServiceCidr, Err(error)) => panic!("{code}: {error}"),
                Event::Forbidden(Kind::ServiceCidr, error) => {
                    assert!(error.contains("not for you"), "{error}");
                    break "forbidden";
                }
                _ => {}
            }
        };
        assert_eq!(told, want);
        task.abort();
    }
}

#[tokio::test]
async fn a_watch_that_stands_again_is_told_though_no_object_changes() {
    let api = Api::default();
    api.lists.lock().unwrap().push(list("5", &[]));
    let broken = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"oh","reason":"InternalError","code":500}"#;
    api.watches.lock().unwrap().extend([event("ERROR", broken), String::new()]);
    let (sender, mut events) = mpsc::channel(64);
    let client = api.clone().serve().await;
    let task = tokio::spawn(watch_n1(client, sender));
    let mut states = Vec::new();
    while states.len() < 3 {
        let next = tokio::time::timeout(std::time::Duration::from_secs(20), events.recv());
        let next = next.await.unwrap_or_else(|_| panic!("no more than {states:?}")).unwrap();
        if let Event::Connection(Kind::Service, state) = next {
            states.push(state.is_ok());
        }
    }
    assert_eq!(states, [true, false, true]);
    task.abort();
}

#[tokio::test]
async fn an_api_that_is_away_is_not_told_to_be_back_at_each_try() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let (sender, mut events) = mpsc::channel(64);
    let client = Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
    let task = tokio::spawn(watch_n1(client, sender));
    assert_eq!(told(&mut events, 6).await, ["begin", "down", "begin", "down", "begin", "down"]);
    task.abort();
}

#[tokio::test]
async fn a_kind_that_may_not_be_read_is_told_apart_from_an_api_that_is_away_and_holds_up_no_other() {
    let api = Api::default();
    api.lists.lock().unwrap().push(list("5", &[]));
    let (sender, mut events) = mpsc::channel(64);
    let client = api.clone().serve().await;
    let wanted = Wanted { node: "n1".into(), namespaces: "a/b".into(), ..Wanted::default() };
    let task = tokio::spawn(async move { super::watch(client, &wanted, sender).await });
    let (mut refusals, mut ended) = (Vec::new(), Vec::new());
    while ended.len() < 5 {
        let next = tokio::time::timeout(std::time::Duration::from_secs(20), events.recv());
        match next.await.unwrap_or_else(|_| panic!("no more than {ended:?}")).unwrap() {
            Event::Forbidden(kind, error) => refusals.push((kind, error)),
            Event::Connection(kind, Err(error)) => panic!("{kind:?} is not away: {error}"),
            Event::ListEnds(kind) => ended.push(kind),
            _ => {}
        }
    }
    assert_eq!(refusals, [(Kind::Namespace, "namespaces is forbidden: User x".into())]);
    assert!(ended.contains(&Kind::Namespace), "it is asked for again: {ended:?}");
    assert_eq!(api.namespaces.lock().unwrap()[0]["labelSelector"], "a/b");
    task.abort();
}

#[tokio::test]
async fn namespaces_are_watched_only_where_a_label_of_theirs_counts() {
    let api = Api::default();
    api.lists.lock().unwrap().push(list("5", &[]));
    let (sender, mut events) = mpsc::channel(64);
    let client = api.clone().serve().await;
    let task = tokio::spawn(watch_n1(client, sender));
    told(&mut events, 2).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(api.namespaces.lock().unwrap().len(), 0);
    task.abort();
}
