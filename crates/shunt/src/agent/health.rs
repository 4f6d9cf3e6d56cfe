//! What load balancers and the kubelet are told: the agent's condition, and the health checks of services.

use super::Agent;
use super::sync::Progress;
use crate::config::Config;
use crate::server::Condition;
use crate::server::health_ports::Clash;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use shunt_model::NodeCondition;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How often the loop goes round when nothing happens, and the least time between two beats.
pub(super) const BEAT: Duration = Duration::from_secs(5);

/// While starting up.
pub(super) fn first(config: &Config) -> Condition {
    let families = ["ipv4.enabled", "ipv6.enabled"].map(|key| config.resolved.bool(key));
    Condition { patience: config.health_patience(), families, ..Condition::default() }
}

impl Agent {
    /// Lets the servers see how things are.
    pub(super) fn publish_condition(&self) {
        let node = self.model.node_condition();
        let manifests = self.config.path("manifests").is_some();
        self.condition.send_if_modified(|now| {
            let new = Condition {
                beat: beat(now.beat, Instant::now()),
                ..condition(now, &self.progress, node, manifests)
            };
            std::mem::replace(now, new) != new
        });
    }

    /// Lets the health checks of services follow what the last sync changed.
    pub(super) fn update_health_ports(&mut self) {
        let changed = self.model.take_health_checks();
        if self.config.resolved.bool("nodePort.enableHealthCheck") {
            changed.into_iter().for_each(|(service, check)| self.health_ports.set(&service, check));
            self.health_ports.set_addresses(self.model.node_port_addresses());
        }
    }
}

/// The loop went round; a fresh beat stands, so that a busy loop does not publish each round.
fn beat(last: Option<Instant>, now: Instant) -> Option<Instant> {
    last.filter(|last| now.saturating_duration_since(*last) < BEAT).or(Some(now))
}

/// The condition that follows from how far the maps are and what the Node object says.
fn condition(now: &Condition, progress: &Progress, node: NodeCondition, manifests: bool) -> Condition {
    // What waits for the first list waits for the API, which must not make a node unhealthy.
    let queued = progress.queued.filter(|_| progress.synced);
    let last = i64::try_from(progress.last).ok().filter(|_| progress.synced);
    let last_updated = last.and_then(|seconds| Timestamp::from_second(seconds).ok());
    // Manifests need not have a Node.
    let eligible = node.eligible() || (node == NodeCondition::Unknown && manifests);
    Condition { queued, last_updated, eligible, ..*now }
}

/// Where clashes of ports are told: the log and, with an API server, an Event of the Service, with kube-proxy's words.
pub(super) fn tell_clashes(client: Option<Client>, node: &str) -> mpsc::UnboundedSender<Clash> {
    let (sender, mut clashes) = mpsc::unbounded_channel::<Clash>();
    let reporter = Reporter { controller: "shunt".into(), instance: Some(node.into()) };
    let recorder = client.map(|client| Recorder::new(client, reporter));
    let node = node.to_owned();
    tokio::spawn(async move {
        while let Some(clash) = clashes.recv().await {
            let problem = clash.problem();
            tracing::warn!(object = %problem.object, todo = %problem.todo, "{}", problem.what);
            let Some(recorder) = &recorder else { continue };
            if let Err(error) = recorder.publish(&event(&node, &clash), &reference(&clash)).await {
                tracing::debug!(%error, "no Event for a health check that cannot listen");
            }
        }
    });
    sender
}

fn event(node: &str, clash: &Clash) -> Event {
    let Clash { service, at, error } = clash;
    let port = at.port();
    Event {
        type_: EventType::Warning,
        reason: "FailedToStartServiceHealthcheck".into(),
        note: Some(format!(
            "node {node} failed to start healthcheck {service:?} on port {port}: {at}: {error}"
        )),
        action: "Listen".into(),
        secondary: None,
    }
}

fn reference(clash: &Clash) -> ObjectReference {
    let (namespace, name) = clash.service.split_once('/').unwrap_or(("default", &clash.service));
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Service".into()),
        namespace: Some(namespace.into()),
        name: Some(name.into()),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(progress: &Progress, node: NodeCondition, manifests: bool) -> Condition {
        condition(&Condition::default(), progress, node, manifests)
    }

    #[test]
    fn nothing_waits_before_the_first_sync_since_the_api_may_be_away() {
        let now = Instant::now();
        let mut progress = Progress::default();
        (progress.queued, progress.last) = (Some(now), 7);
        assert_eq!(of(&progress, NodeCondition::Starting, false), Condition::default());
        progress.synced = true;
        let then = of(&progress, NodeCondition::Starting, false);
        assert_eq!((then.queued, then.last_updated), (Some(now), Timestamp::from_second(7).ok()));
    }

    #[test]
    fn each_round_of_the_loop_is_a_beat_but_not_more_than_one_in_a_few_seconds() {
        let now = Instant::now();
        assert_eq!(beat(None, now), Some(now));
        assert_eq!(beat(Some(now), now + BEAT / 2), Some(now));
        assert_eq!(beat(Some(now), now + BEAT), Some(now + BEAT));
    }

    #[test]
    fn an_unknown_node_gets_no_new_traffic_unless_manifests_leave_it_out() {
        let eligible = |node, manifests| of(&Progress::default(), node, manifests).eligible;
        assert!(eligible(NodeCondition::Eligible, false) && eligible(NodeCondition::Unknown, true));
        assert!(!eligible(NodeCondition::Unknown, false));
        assert!(!eligible(NodeCondition::Deleting, true) && !eligible(NodeCondition::ToBeDeleted, true));
    }

    #[test]
    fn an_event_of_a_clash_has_kube_proxys_reason_and_names_node_service_and_port() {
        let clash = Clash {
            service: "shop/web".into(),
            at: "192.0.2.1:31000".parse().unwrap(),
            error: "Address in use".into(),
        };
        let event = event("n1", &clash);
        assert_eq!(
            (event.reason.as_str(), event.action.as_str()),
            ("FailedToStartServiceHealthcheck", "Listen")
        );
        let note = event.note.unwrap();
        assert!(
            note.starts_with(r#"node n1 failed to start healthcheck "shop/web" on port 31000: "#),
            "{note}"
        );
        let reference = reference(&clash);
        assert_eq!((reference.namespace.as_deref(), reference.name.as_deref()), (Some("shop"), Some("web")));
    }

    /// An API server that takes everything, and keeps what it was asked.
    async fn api() -> (Client, mpsc::UnboundedReceiver<(String, serde_json::Value)>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let take = move |request: axum::extract::Request| async move {
            let asked = format!("{} {}", request.method(), request.uri().path());
            let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
            sender.send((asked, serde_json::from_slice(&body).unwrap())).unwrap();
            (axum::http::StatusCode::CREATED, body)
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, axum::Router::new().fallback(take)).into_future());
        let access = crate::sources::kube::Access::Host(url, 0);
        (crate::sources::kube::connect(&access, &Default::default()).await.unwrap(), receiver)
    }

    #[tokio::test]
    async fn a_clash_becomes_a_warning_event_of_the_service() {
        let (client, mut asked) = api().await;
        let at = "192.0.2.1:31000".parse().unwrap();
        let clashes = tell_clashes(Some(client), "n1");
        clashes.send(Clash { service: "shop/web".into(), at, error: "Address in use".into() }).unwrap();
        let (request, event) = asked.recv().await.unwrap();
        assert_eq!(request, "POST /apis/events.k8s.io/v1/namespaces/shop/events");
        assert_eq!(event["type"], "Warning");
        assert_eq!(event["reason"], "FailedToStartServiceHealthcheck");
        assert_eq!(
            (&event["regarding"]["kind"], &event["regarding"]["name"]),
            (&"Service".into(), &"web".into())
        );
    }
}
