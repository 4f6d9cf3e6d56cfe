//! The Kubernetes API as a source: one watch for each kind, each on its own with bookmarks, resume and relists.

mod answered;
mod backoff;
mod client;
mod malformed;
mod object;

pub use client::{Access, connect, url};

use super::{Event, Sender};
use backoff::Soon;
use futures::{StreamExt, TryStreamExt};
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource};
use malformed::Malformed;
use object::{Body, Namespaces, Nodes, Pods, ServiceCidrs, Services, Slices, Watched};
use shunt_model::objects::Kind;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// What is watched.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Wanted {
    /// This node's name.
    pub node: String,
    /// Services labelled for a proxy of this name; those without the label when empty.
    pub proxy: String,
    /// This node's pods too.
    pub pods: bool,
    /// Namespaces that have a label of this key; none when empty.
    pub namespaces: String,
}

impl Wanted {
    /// The label selector of Services.
    fn services(&self) -> String {
        const LABEL: &str = "service.kubernetes.io/service-proxy-name";
        if self.proxy.is_empty() { format!("!{LABEL}") } else { format!("{LABEL}={}", self.proxy) }
    }
}

/// Watches every kind that is wanted until the agent stops listening.
pub async fn watch(client: Client, wanted: &Wanted, events: Sender) {
    let services = watcher::Config::default().labels(&wanted.services());
    let slices = watcher::Config::default().labels("!service.kubernetes.io/headless");
    let nodes = watcher::Config::default().fields(&format!("metadata.name={}", wanted.node));
    let pods = watcher::Config::default().fields(&format!("spec.nodeName={}", wanted.node));
    let namespaces = watcher::Config::default().labels(&wanted.namespaces);
    let cidrs = watcher::Config::default();
    tokio::join!(
        follow::<Services>(client.clone(), services, events.clone()),
        follow::<Slices>(client.clone(), slices, events.clone()),
        follow::<Nodes>(client.clone(), nodes, events.clone()),
        follow::<ServiceCidrs>(client.clone(), cidrs, events.clone()),
        async {
            if wanted.pods {
                follow::<Pods>(client.clone(), pods, events.clone()).await;
            }
        },
        async {
            if !wanted.namespaces.is_empty() {
                follow::<Namespaces>(client.clone(), namespaces, events.clone()).await;
            }
        },
    );
}

/// How soon an API that does not have a kind is asked again.
const NOT_THERE: Duration = Duration::from_secs(300);

/// Follows a kind until nobody listens.
async fn follow<B: Body>(client: Client, config: watcher::Config, events: Sender)
where
    Watched<B>: Resource<DynamicType = ()>,
{
    while listen::<B>(client.clone(), config.clone(), &events).await == Listened::NoSuchKind {
        // An older API: there is none, for now.
        for event in [Event::ListBegins(B::KIND), Event::ListEnds(B::KIND)] {
            if events.send(event).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(NOT_THERE).await;
    }
}

/// Why a kind is followed no longer.
#[derive(PartialEq, Eq)]
enum Listened {
    /// Nobody wants to hear.
    NoMore,
    /// The API does not know a kind that can be done without.
    NoSuchKind,
}

/// Lists and watches a kind, again and again.
async fn listen<B: Body>(client: Client, config: watcher::Config, events: &Sender) -> Listened
where
    Watched<B>: Resource<DynamicType = ()>,
{
    let answered = Arc::new(Notify::new());
    let api: Api<Watched<B>> = Api::all(answered::telling(client, answered.clone()));
    let mut stream = watcher::watcher(api, config).backoff(Soon::default()).boxed();
    let (mut down, mut malformed) = (false, Malformed::default());
    loop {
        let mut said = Vec::new();
        tokio::select! {
            // An answer came before whatever the server then said in it.
            biased;
            // Only this tells that the API is back: a watcher begins a list before it has reached anybody, and a watch
            // that stands again has nothing to say until an object changes.
            () = answered.notified() => {
                said.extend(std::mem::take(&mut down).then_some(Event::Connection(B::KIND, Ok(()))));
            }
            next = stream.try_next() => match next {
                Ok(Some(event)) => said = translate(event, &mut malformed),
                Ok(None) => return Listened::NoMore,
                // The API answers, it only forgets: a list follows.
                Err(watcher::Error::WatchError(status)) if status.code == 410 => {
                    tracing::debug!(kind = B::KIND.name(), "the watch is too old; listing again");
                }
                Err(error) if B::OPTIONAL && is_unknown(&error) => return Listened::NoSuchKind,
                Err(error) => {
                    down = true;
                    said.push(broken(B::KIND, &error));
                }
            },
        }
        for event in said {
            if events.send(event).await.is_err() {
                return Listened::NoMore;
            }
        }
    }
}

/// A watcher's event in our words.
fn translate<B: Body>(event: watcher::Event<Watched<B>>, malformed: &mut Malformed) -> Vec<Event> {
    match event {
        watcher::Event::Init => {
            malformed.list_begins();
            vec![Event::ListBegins(B::KIND)]
        }
        watcher::Event::InitDone => {
            let mut said = vec![Event::ListEnds(B::KIND), Event::Connection(B::KIND, Ok(()))];
            said.extend(malformed.list_ends());
            said
        }
        watcher::Event::InitApply(object) | watcher::Event::Apply(object) => applied(object, malformed),
        watcher::Event::Delete(object) => {
            let (namespace, name) = object.name();
            let over = malformed.over(object.about());
            std::iter::once(Event::Delete(B::KIND, namespace, name)).chain(over).collect()
        }
    }
}

/// A malformed object is a problem of its own; what is known of it stays.
fn applied<B: Body>(object: Watched<B>, malformed: &mut Malformed) -> Vec<Event> {
    let (about, (namespace, name)) = (object.about(), object.name());
    match object.body {
        Ok(body) => {
            let over = malformed.over(about);
            std::iter::once(Event::Apply(body.into_object())).chain(over).collect()
        }
        // The end of a list takes what was not in it for gone.
        Err(what) => vec![Event::Seen(B::KIND, namespace, name), malformed.is(about, &what)],
    }
}

/// Whether the API does not have the kind.
fn is_unknown(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == 404)
}

/// What an error means: the API is away, or does not let us.
fn broken(kind: Kind, error: &watcher::Error) -> Event {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    };
    match status.filter(|status| status.code == 403) {
        Some(status) => Event::Forbidden(kind, status.message.clone()),
        None => Event::Connection(kind, Err(chain(error))),
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
