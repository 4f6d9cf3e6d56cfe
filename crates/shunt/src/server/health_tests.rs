use super::super::test_client::get;
use super::*;
use std::time::Duration;

const THEN: &str = "2026-01-02T03:04:05.123456789Z";
const NOW: &str = "2026-01-02T03:05:00Z";

fn condition() -> Condition {
    Condition { last_updated: THEN.parse().ok(), ..Condition::default() }
}

fn late() -> Condition {
    Condition { queued: Instant::now().checked_sub(Duration::from_secs(61)), ..condition() }
}

fn hung() -> Condition {
    Condition { beat: Instant::now().checked_sub(Duration::from_secs(61)), ..condition() }
}

fn asked(condition: Condition, node: Option<bool>) -> (u16, String) {
    let (status, body) = answer(&condition, node, condition.healthy(Instant::now()), NOW.parse().unwrap());
    (status.as_u16(), body)
}

#[test]
fn a_healthy_node_says_that_it_was_updated_just_now() {
    let body = r#"{"lastUpdated":"2026-01-02T03:05:00Z","currentTime":"2026-01-02T03:05:00Z","nodeEligible":true,"healthy":true,"status":{"IPv4":{"lastUpdated":"2026-01-02T03:04:05.123456789Z","healthy":true},"IPv6":{"lastUpdated":"2026-01-02T03:04:05.123456789Z","healthy":true}}}"#;
    assert_eq!(asked(condition(), Some(true)), (200, body.into()));
}

#[test]
fn a_node_that_is_not_eligible_is_503_for_healthz_while_its_proxy_stays_healthy() {
    let body = r#"{"lastUpdated":"2026-01-02T03:04:05.123456789Z","currentTime":"2026-01-02T03:05:00Z","nodeEligible":false,"healthy":true,"status":{"IPv4":{"lastUpdated":"2026-01-02T03:04:05.123456789Z","healthy":true},"IPv6":{"lastUpdated":"2026-01-02T03:04:05.123456789Z","healthy":true}}}"#;
    assert_eq!(asked(condition(), Some(false)), (503, body.into()));
}

#[test]
fn livez_knows_nothing_of_the_node() {
    let body = r#"{"lastUpdated":"2026-01-02T03:05:00Z","currentTime":"2026-01-02T03:05:00Z","healthy":true,"status":{"IPv4":{"lastUpdated":"2026-01-02T03:04:05.123456789Z","healthy":true}}}"#;
    let not_eligible = Condition { eligible: false, families: [true, false], ..condition() };
    assert_eq!(asked(not_eligible, None), (200, body.into()));
}

#[test]
fn an_update_that_waits_too_long_is_503_with_the_time_of_the_last_good_one() {
    let body = r#"{"lastUpdated":"2026-01-02T03:04:05.123456789Z","currentTime":"2026-01-02T03:05:00Z","healthy":false,"status":{"IPv4":{"lastUpdated":"2026-01-02T03:04:05.123456789Z","healthy":false},"IPv6":{"lastUpdated":"2026-01-02T03:04:05.123456789Z","healthy":false}}}"#;
    assert_eq!(asked(late(), None), (503, body.into()));
}

#[test]
fn starting_up_is_healthy_and_has_no_status_yet() {
    let body = r#"{"lastUpdated":"2026-01-02T03:05:00Z","currentTime":"2026-01-02T03:05:00Z","nodeEligible":true,"healthy":true}"#;
    assert_eq!(asked(Condition::default(), Some(true)), (200, body.into()));
}

#[tokio::test]
async fn healthz_and_livez_answer_over_http_as_kube_proxy_does_and_count_their_codes() {
    let (sender, condition_receiver) = watch::channel(condition());
    let metrics = Arc::new(Metrics::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, router(condition_receiver, metrics.clone())).into_future());
    for (now, healthz, livez) in [
        (condition(), 200, 200),
        (Condition { eligible: false, ..condition() }, 503, 200),
        (late(), 503, 503),
        (hung(), 503, 503),
        (Condition::default(), 200, 200),
    ] {
        sender.send(now).unwrap();
        for (path, status) in [("/healthz", healthz), ("/livez", livez)] {
            let answer = get(at, path).await;
            assert_eq!(answer.status, status, "{path} {now:?}");
            assert_eq!(answer.header("content-type"), Some("application/json"));
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
            let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            assert_eq!(body.get("nodeEligible").is_some(), path == "/healthz", "{body}");
        }
    }
    assert_eq!(get(at, "/other").await.status, 404);
    let count = |family: &super::super::kube_proxy_metrics::Coded, code| {
        family.get_or_create(&[("code", code)]).get()
    };
    let codes = ["200", "503"];
    assert_eq!(codes.map(|c| count(&metrics.kube_proxy.healthz, c)), [2, 3]);
    assert_eq!(codes.map(|c| count(&metrics.kube_proxy.livez, c)), [3, 2]);
}
